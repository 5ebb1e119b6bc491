"""Llama and Qwen2: a prompt, and what the model writes after it, as transformers' `generate`."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

import entracte
from tests.recipes import words
from tests.recipes.harness import compiled, run

LENGTH, COUNT = 12, 5
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
PROMPT = "a red cat"


def tiny(kind: str, tokenizer, **more):
    torch.manual_seed(5)
    size = {**SMALL, "vocab_size": len(tokenizer), **more}
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**size, tie_word_embeddings=False)).eval()
    return Qwen2ForCausalLM(Qwen2Config(**size, tie_word_embeddings=True)).eval()


def generated(model, tokenizer, prompt: str = PROMPT, **more) -> list[int]:
    given = tokenizer(prompt, return_tensors="pt")
    made = model.generate(**given, max_new_tokens=COUNT + 1, do_sample=False, **more)
    return made[0, given.input_ids.shape[1] :].tolist()


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_prompt_is_continued(tmp_path, kind, precision):
    tokenizer = words.bytes_bpe()
    model = tiny(kind, tokenizer)
    model.save_pretrained(tmp_path / "folder")
    tokenizer.save_pretrained(tmp_path / "folder")
    want = generated(model, tokenizer)
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"pipeline.options.length={LENGTH}",
        f"pipeline.options.tokens={COUNT}", precision=precision,
    )  # fmt: skip
    assert run(built, {"prompt": PROMPT}, "text").reshape(-1).tolist() == want
