"""A prompt that a language model writes out before it is encoded: Open-Sora Plan with its refiner.
It writes as transformers' `generate` does, and a loop composed by hand of the library and whole
models goes on."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from entracte.graphs.recipes import refiner
from tests.recipes import words
from tests.recipes.harness import check, compiled, run
from tests.recipes.test_open_sora_plan import GIVEN, LATENTS, STEPS, WORDS, of_text

MARKS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
COUNT, PLACES = 7, 700


def written(folder) -> str:
    """Saves a tiny LLaMA beside the other models; what it writes of the prompt."""
    torch.manual_seed(3)
    tokenizer = words.bytes_bpe(*MARKS)
    end = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.3,
        vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=end, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    # Only small letters and spaces, which the text encoder's tokenizer has.
    letters = tokenizer(" abcdefghijklmnopqrstuvwxyz").input_ids
    others = [i for i in range(len(tokenizer)) if i not in letters]
    model.lm_head.weight.data[others] = 0.0
    place = folder / "prompt_refiner"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    index = folder / "model_index.json"
    found = json.loads(index.read_text()) | {"prompt_refiner": ["transformers", "LlamaForCausalLM"]}
    index.write_text(json.dumps(found))
    asked = tokenizer(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
        "December 2023\nToday Date: 26 Jul 2024\n\nYou are a caption refiner.<|eot_id|>"
        '<|start_header_id|>user<|end_header_id|>\n\nRefine the sentence: "a red cat" to contain '
        'subject description, action, scene description. " "(Optional: camera language, light and '
        "shadow, atmosphere) and conceive some additional actions to make the sentence more "
        'dynamic. " "Make sure it is a fluent sentence, not nonsense.<|eot_id|><|start_header_id|>'
        "assistant<|end_header_id|>\n\n", return_tensors="pt",
    )  # fmt: skip
    made = model.generate(**asked, max_new_tokens=COUNT, do_sample=False)
    return tokenizer.decode(made[0, asked.input_ids.shape[1] :], skip_special_tokens=True)


@torch.no_grad()
@pytest.mark.slow
def test_a_prompt_is_written_out_before_it_is_encoded(tmp_path):
    tiny = of_text(tmp_path / "folder")
    text = written(tmp_path / "folder").strip()
    assert len(set(text)) > 2
    built = compiled(
        tmp_path / "folder", tmp_path / "build", *WORDS, f"sampler.steps={STEPS}",
        "+pipeline.options.refiner=true", f"+pipeline.options.refiner_length={PLACES}",
        f"+pipeline.options.refiner_tokens={COUNT}",
        "+pipeline.over.stages.refiner_prefill.compression=none",
        "+pipeline.over.stages.refiner_step.compression=none",
    )  # fmt: skip
    plain = tiny.states

    def states(asked):
        return plain(asked.replace("a red cat", text))

    tiny.states = states
    check(run(built, GIVEN, "video"), tiny.sample(LATENTS), "fp32")


def test_the_instruction_is_the_chat_template_written_out():
    whole = refiner._BEGIN + "{}" + refiner._END
    assert whole.count("<|eot_id|>") == 2 and whole.count("<|start_header_id|>") == 3
    assert whole.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
