"""The demo's tokenizer: a Unigram model of the world's words, with letters as a fall-back."""

from __future__ import annotations

import string

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from tools.train_tiny import world

LENGTH = 16
PAD, END, UNKNOWN = 0, 1, 2


def build() -> Tokenizer:
    """A tokenizer that pads to 16 and ends every text with </s>, as T5's does.

    The vocabulary is written down, not trained: every word of the captions is one piece, any
    other word falls apart into letters. Nothing a user types is refused.
    """
    words = sorted({word for line in world.every_wording() for word in line.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [(f"▁{word}", -2.0) for word in words if len(word) > 1 or word == "a"]
    known = {piece for piece, _ in pieces}
    letters = ["▁", *string.ascii_lowercase, *string.digits]
    pieces += [(letter, -10.0) for letter in letters if letter not in known]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=UNKNOWN, byte_fallback=False))
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
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", END)]
    )
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=PAD, pad_token="<pad>")
    return tokenizer
