"""Llama and Qwen2: a prompt, and what the model writes after it, as transformers' `generate`."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

import entracte
from entracte.errors import ConfigError
from tests.recipes import words
from tests.recipes.harness import compiled, run

LENGTH, COUNT = 12, 5
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
PROMPT = "a red cat"
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 4.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip


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
    free = generated(model, tokenizer)
    assert len({*free}) > 3 and generated(model, tokenizer, "b") != free
    if kind == "qwen2":  # the third ends it
        model.generation_config.eos_token_id = [free[2], 1]
    want = generated(model, tokenizer)
    assert len(want) == (3 if kind == "qwen2" else COUNT + 1)
    model.save_pretrained(tmp_path / "folder")
    tokenizer.save_pretrained(tmp_path / "folder")
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"pipeline.options.length={LENGTH}",
        f"pipeline.options.tokens={COUNT}", precision=precision,
    )  # fmt: skip
    assert run(built, {"prompt": PROMPT}, "text").reshape(-1).tolist() == want
    # One set of weights.
    assert {c.graph for c in built.plan.chunks} == {"prefill"}


@torch.no_grad()
@pytest.mark.slow
def test_a_prompt_that_fills_its_places_and_its_text(tmp_path):
    tokenizer = words.bytes_bpe()
    model = tiny("llama", tokenizer, rope_parameters=LLAMA3, head_dim=16)
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path / "folder")
    prompt = "a red cat and b"
    count = len(tokenizer(prompt).input_ids)
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"pipeline.options.length={count}",
        f"pipeline.options.tokens={COUNT}",
    )  # fmt: skip
    want = tokenizer.decode(generated(model, tokenizer, prompt), skip_special_tokens=True)
    file = tmp_path / "text.txt"
    entracte.run_build(built.folder, {"prompt": prompt}, out={"text": file})
    assert file.read_text("utf-8") == want + "\n"


def test_a_window_that_is_left_is_refused(tmp_path):
    tokenizer = words.bytes_bpe()
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    model = tiny("qwen2", tokenizer, **window)
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path / "folder")
    with pytest.raises(ConfigError, match="attends to the last 8 tokens"):
        compiled(tmp_path / "folder", tmp_path / "build")
