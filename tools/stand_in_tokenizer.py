"""Writes graphs/weights/stand_in/tokenizer.json: a tokenizer for pipelines with random weights.

Every byte of a text is a token, </s> ends it and <pad> is 0, as in T5; its ids mean nothing to a
published text encoder. It lets a pipeline run from text to video without any download.

    python -m tools.stand_in_tokenizer
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

FILE = Path(__file__).resolve().parent.parent / "graphs" / "weights" / "stand_in" / "tokenizer.json"
PAD, END = 0, 1


def build() -> Tokenizer:
    """Bytes are 2 to 257, in the order of the characters that stand for them."""
    marks = {"<pad>": PAD, "</s>": END}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = marks | {letter: i for i, letter in enumerate(letters, start=len(marks))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    return tokenizer


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    build().save(str(FILE))
