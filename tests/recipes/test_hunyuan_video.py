"""HunyuanVideoPipeline: folder in, video out, as diffusers makes it."""

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

STEPS, FRAMES, LATENTS = 2, 21, (1, 4, 6, 4, 8)


def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words: the instruction is over a hundred of them."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        "<pad>",
        "a",
        "red",
        "cat",
        "b",
        "video",
        "the",
        "of",
        ".",
        ",",
    ]
    made = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="<pad>", padding_side="right",
    )  # fmt: skip


def tiny(has_guidance: bool) -> HunyuanVideoPipeline:
    torch.manual_seed(13)
    llama = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, pad_token_id=3, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    clip = CLIPTextConfig(
        vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=77, bos_token_id=62, eos_token_id=63,
        pad_token_id=63,
    )  # fmt: skip
    net = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=1, text_embed_dim=16,
        pooled_projection_dim=8, rope_axes_dim=(2, 2, 4), guidance_embeds=has_guidance,
    )  # fmt: skip
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        spatial_compression_ratio=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 3,
        up_block_types=("HunyuanVideoUpBlock3D",) * 3,
    )
    pipe = HunyuanVideoPipeline(
        LlamaModel(llama).eval(), tokenizer(), net, vae, FlowMatchEulerDiscreteScheduler(shift=7.0),
        CLIPTextModel(clip).eval(), words.clip(77),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize(
    ("precision", "is_guided"),
    [
        pytest.param("fp32", False, marks=pytest.mark.slow),
        pytest.param("fp16", True, marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_video(tmp_path, precision, is_guided):
    pipe = tiny(has_guidance=True)
    pipe.save_pretrained(tmp_path / "folder")
    second = {"negative_prompt": "b", "true_cfg_scale": 3.0} if is_guided else {}
    want = pipe(
        "a red cat", latents=normal(3, *LATENTS), guidance_scale=4.0, num_inference_steps=STEPS,
        num_frames=FRAMES, height=16, width=32, max_sequence_length=24, output_type="pt", **second,
    ).frames  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        "pipeline.options.height=16", "pipeline.options.width=32",
        f"pipeline.options.frames={FRAMES}", "pipeline.options.length=24",
        f"pipeline.options.guided={is_guided}",
        precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "seed": 3, "guidance": 4.0}
    given |= {"negative": "b", "true_guidance": 3.0} if is_guided else {}
    made = (run(built, given, "video") / 2 + 0.5).clip(0, 1)
    # diffusers has frames first, and cuts off at 0 and 1.
    check(made.swapaxes(1, 2), want, precision)
