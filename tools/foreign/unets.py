"""UNets."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, among, given, normal

_STEP = given(500)
_TEXT = normal(1, 5, 16)
_TWO = {
    "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
    "cross_attention_dim": 16, "attention_head_dim": 8,
}  # fmt: skip
_CROSS = {
    **_TWO, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
_CROSS_3D = {
    **_TWO, "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
}  # fmt: skip

UNETS = {
    "DreamLiteUNetModel": Tiny(
        {
            **_TWO, "block_out_channels": (16, 16, 16), "attention_head_dim": 2,
            "num_attention_heads": None, "transformer_layers_per_block": 1, "ff_mult": 2,
        },
        {"sample": normal(1, 4, 8, 12), "timestep": _STEP, "encoder_hidden_states": _TEXT},
    ),
    "I2VGenXLUNet": Tiny(
        {**_CROSS_3D, "num_attention_heads": 2},
        {
            "sample": normal(1, 4, 2, 8, 12), "timestep": _STEP, "fps": given(8),
            "image_latents": normal(1, 4, 2, 8, 12), "image_embeddings": normal(1, 16),
            "encoder_hidden_states": _TEXT,
        },
    ),
    "Kandinsky3UNet": Tiny(
        {
            "time_embedding_dim": 16, "groups": 4, "attention_head_dim": 8,
            "layers_per_block": 2, "block_out_channels": (8, 8, 16, 16), "cross_attention_dim": 16,
            "encoder_hid_dim": 16,
        },
        {
            "sample": normal(1, 4, 32, 48), "timestep": _STEP, "encoder_hidden_states": _TEXT,
            "encoder_attention_mask": given((1.0, 1.0, 1.0, 1.0, 0.0)),
        },
    ),
    "StableCascadeUNet": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 8,
            "conditioning_dim": 16, "block_out_channels": (16, 16), "num_attention_heads": (2, 2),
            "down_num_layers_per_block": (1, 1), "up_num_layers_per_block": (1, 1),
            "clip_text_in_channels": 16, "clip_text_pooled_in_channels": 16,
            "clip_image_in_channels": 16, "switch_level": (False,),
        },
        {
            "sample": normal(1, 4, 4, 6), "timestep_ratio": given(0.5),
            "clip_text_pooled": normal(1, 1, 16), "clip_text": _TEXT,
            "clip_img": normal(1, 1, 16),
        },
    ),
    "UNet1DModel": Tiny(
        {"sample_size": 64, "block_out_channels": (32, 32, 64), "extra_in_channels": 64},
        {"sample": normal(1, 2, 64), "timestep": given(1)},
    ),
    "UNet2DConditionModel": Tiny(
        _CROSS, {"sample": normal(1, 4, 8, 12), "timestep": _STEP, "encoder_hidden_states": _TEXT}
    ),
    "UNet2DConditionModel (SDXL)": Tiny(
        {
            **_CROSS, "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 32, "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        },
        {
            "sample": normal(1, 4, 8, 12), "timestep": _STEP, "encoder_hidden_states": _TEXT,
            "added_cond_kwargs": {
                "text_embeds": normal(1, 8), "time_ids": given((8.0, 12.0, 0.0, 0.0, 8.0, 12.0)),
            },
        },
    ),
    "UNet2DModel": Tiny(
        {
            "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
            "attention_head_dim": 8, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        },
        {"sample": normal(1, 3, 8, 12), "timestep": _STEP},
    ),
    "UNet3DConditionModel": Tiny(
        _CROSS_3D,
        {"sample": normal(1, 4, 2, 8, 12), "timestep": _STEP, "encoder_hidden_states": _TEXT},
    ),
    "UNetMotionModel": Tiny(
        {
            "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
            "cross_attention_dim": 16, "num_attention_heads": 2, "motion_num_attention_heads": 2,
            "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
            "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
        },
        {
            "sample": normal(1, 4, 2, 8, 12), "timestep": _STEP,
            "encoder_hidden_states": normal(2, 5, 16),
        },
    ),
    "UNetSpatioTemporalConditionModel": Tiny(
        {
            "block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 16,
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            "num_attention_heads": (2, 2), "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 24, "num_frames": 2,
        },
        {
            "sample": normal(1, 2, 8, 8, 12), "timestep": _STEP,
            "encoder_hidden_states": normal(1, 1, 16), "added_time_ids": given((7.0, 127.0, 0.02)),
        },
    ),
    "UVit2DModel": Tiny(
        {
            "hidden_size": 16, "cond_embed_dim": 16, "micro_cond_encode_dim": 4,
            "micro_cond_embed_dim": 20, "encoder_hidden_size": 16, "vocab_size": 32,
            "codebook_size": 31, "in_channels": 16, "block_out_channels": 16,
            "num_res_blocks": 1, "block_num_heads": 2, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 32,
        },
        {
            "input_ids": among(32, 1, 4, 6), "encoder_hidden_states": _TEXT,
            "pooled_text_emb": normal(1, 16), "micro_conds": given((8.0, 12.0, 0.0, 0.0, 6.0)),
        },
    ),
}  # fmt: skip
