"""The demo's tokenizer: byte-pair encoding trained on the world's captions."""

from __future__ import annotations

import string

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from tools.train_tiny import world

LENGTH = 16
PAD, END, UNKNOWN = 0, 1, 2
_MOST_PIECES = 200
"""More than the captions have merges for, so every word of theirs becomes one piece."""


def build() -> Tokenizer:
    """Train the tokenizer; it pads to 16 and ends every text with </s>, as T5's does.

    Letters and digits are pieces of their own, so nothing a user types is refused. Training
    is deterministic: the captions are sorted and the merges follow from their counts.
    """
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^a-z0-9\s]+"), " "),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = BpeTrainer(
        vocab_size=_MOST_PIECES,
        min_frequency=1,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=["▁", *string.ascii_lowercase, *string.digits],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(world.every_wording()), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=PAD, pad_token="<pad>")
    return tokenizer
