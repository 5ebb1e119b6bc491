"""Small tokenizers, as libraries save them."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5TokenizerFast


def clip(length: int) -> CLIPTokenizer:
    """Letters, alone and at a word's end, and two merges: 64 ids."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{c}</w>" for c in letters), "re", "red</w>"]
    free = [f"<{i}>" for i in range(62 - len(words))]
    names = [*words, *free, "<|startoftext|>", "<|endoftext|>"]
    merges = [("r", "e"), ("re", "d</w>")]
    return CLIPTokenizer(
        vocab={name: i for i, name in enumerate(names)}, merges=merges, model_max_length=length
    )


def t5(length: int) -> T5TokenizerFast:
    """Letters and spaces, by their probability: 32 ids."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0)]
    pieces += [(chr(c), -3.0) for c in range(ord("a"), ord("z") + 1)]
    pieces += [("▁a", -2.5), ("red", -4.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(
        tokenizer_object=made, model_max_length=length, extra_ids=0, pad_token="<pad>",
        eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip


def bytes_bpe(*marks: str) -> PreTrainedTokenizerFast:
    """Bytes and two merges, then an end and other marks: ids from 258 on."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, "re", "red"]
    model = models.BPE({name: k for k, name in enumerate(names)}, [("r", "e"), ("re", "d")])
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", *marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def whole(*names: str) -> PreTrainedTokenizerFast:
    """Whole words, behind a mark; others are <unk>."""
    known = ["<pad>", "<unk>", "<bos>", *names]
    made = Tokenizer(models.WordLevel({n: i for i, n in enumerate(known)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>",
        padding_side="right",
    )  # fmt: skip
