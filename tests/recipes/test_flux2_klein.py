"""Flux2KleinPipeline: guided, and distilled."""

import pytest
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

HEIGHT, WIDTH, STEPS, LENGTH, LAYERS = 16, 24, 3, 40, (1, 2, 3)
# Of Qwen3's template what one message without thinking goes through.
TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + "
    "'<|im_end|>' + '\n' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\n' }}{%- if enable_thinking is false %}"
    "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)


@torch.no_grad()
def tiny(is_distilled: bool) -> Flux2KleinPipeline:
    torch.manual_seed(16)
    qwen = Qwen3Config(
        vocab_size=24, hidden_size=16, intermediate_size=32, num_hidden_layers=4, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=48, timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    for name, weight in transformer.named_parameters():
        if "modulation" in name:  # else the text hardly matters
            weight.mul_(10)
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    tokenizer = words.whole("a", "red", "cat", "b", "user", "assistant", "think", "im_start",
                            "im_end", "<|", "|>", "|><", "</", "<", ">", "></")  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    pipe = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae, text_encoder=Qwen3ForCausalLM(qwen).eval(), tokenizer=tokenizer,
        transformer=transformer, is_distilled=is_distilled,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize(
    ("is_distilled", "precision"),
    [
        pytest.param(False, "fp32", marks=pytest.mark.slow),
        pytest.param(True, "fp32", marks=pytest.mark.slow),
        pytest.param(False, "fp16", marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_picture(tmp_path, is_distilled, precision):
    pipe = tiny(is_distilled)
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        prompt="a red cat", latents=normal(3, 1, 16, HEIGHT // 4, WIDTH // 4), guidance_scale=3.0,
        num_inference_steps=STEPS, max_sequence_length=LENGTH, height=HEIGHT, width=WIDTH,
        text_encoder_out_layers=LAYERS, output_type="pt",
    ).images  # fmt: skip
    options = {"length": LENGTH, "height": HEIGHT, "width": WIDTH}
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{k}={v}" for k, v in options.items()),
        f"+pipeline.options.layers={list(LAYERS)}", precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "seed": 3} | ({} if is_distilled else {"guidance": 3.0})
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)
