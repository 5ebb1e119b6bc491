"""Transformers that denoise pictures."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, among, given, grid, kept, normal, turns, zeros

_STEP = given(500)
_PART = given(0.5)
_TEXT = normal(1, 5, 16)
_PICTURE = normal(1, 4, 8, 8)
_TOKENS = {
    "hidden_states": normal(1, 12, 8), "encoder_hidden_states": _TEXT, "timestep": _PART,
    "img_ids": grid(1, 3, 4), "txt_ids": zeros(5, 3),
}  # fmt: skip
_FLUX = {
    "in_channels": 8, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
    "num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
_HEADS = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2}
_COGVIEW = {
    "in_channels": 4, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16,
    "num_attention_heads": 2, "text_embed_dim": 16, "time_embed_dim": 16, "condition_dim": 8,
    "pos_embed_max_size": 8, "sample_size": 8,
}  # fmt: skip
_SIZES = {
    "original_size": given((64.0, 64.0)), "target_size": given((64.0, 64.0)),
    "crop_coords": given((0.0, 0.0)),
}  # fmt: skip

IMAGE = {
    "AuraFlowTransformer2DModel": Tiny(
        {
            "sample_size": 8, "in_channels": 4, "num_mmdit_layers": 1, "num_single_dit_layers": 1,
            "attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 16,
            "caption_projection_dim": 16, "pos_embed_max_size": 16,
        },
        {"hidden_states": _PICTURE, "encoder_hidden_states": _TEXT, "timestep": _PART},
    ),
    "BriaTransformer2DModel": Tiny(_FLUX, _TOKENS),
    "BriaFiboTransformer2DModel": Tiny(
        {**_FLUX, "text_encoder_dim": 16},
        {**_TOKENS, "text_encoder_layers": [_TEXT, _TEXT]},
    ),
    "BriaFibo2Transformer2DModel": Tiny(
        {
            "in_channels": 4, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2,
            "cap_feat_dim": 16, "injection_layer_ids": (1,), "perceiver_num_layers": 1,
            "min_num_gist_tokens": 4, "max_num_gist_tokens": 8, "gist_step": 2,
            "gist_min_text_len": 4, "gist_max_text_len": 16, "axes_dims": (4, 6, 6),
            "axes_lens": (32, 16, 16),
        },
        {
            "hidden_states": _PICTURE, "timestep": _PART,
            "encoder_hidden_states": normal(1, 2, 5, 16),
        },
    ),
    "ChromaTransformer2DModel": Tiny(
        {
            **_FLUX, "approximator_num_channels": 8, "approximator_hidden_dim": 16,
            "approximator_layers": 1,
        },
        {**_TOKENS, "attention_mask": kept(17, 16, "float32")},
    ),
    "CogView3PlusTransformer2DModel": Tiny(
        _COGVIEW,
        {
            "hidden_states": _PICTURE, "encoder_hidden_states": _TEXT, "timestep": _STEP,
            **_SIZES,
        },
    ),
    "CogView4Transformer2DModel": Tiny(
        {**_COGVIEW, "rope_axes_dim": (8, 8)},
        {
            "hidden_states": _PICTURE, "encoder_hidden_states": _TEXT, "timestep": _STEP,
            **_SIZES,
        },
    ),
    "DiTTransformer2DModel": Tiny(
        {**_HEADS, "sample_size": 8, "num_embeds_ada_norm": 10, "norm_num_groups": 4},
        {"hidden_states": _PICTURE, "timestep": _STEP, "class_labels": among(10, 1)},
    ),
    "DreamLiteTransformer2DModel": Tiny(
        {**_HEADS, "in_channels": 16, "norm_num_groups": 4, "cross_attention_dim": 16},
        {"hidden_states": normal(1, 16, 4, 6), "encoder_hidden_states": _TEXT},
    ),
    "ErnieImageTransformer2DModel": Tiny(
        {
            "hidden_size": 32, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 32,
            "in_channels": 4, "out_channels": 4, "text_in_dim": 16, "rope_axes_dim": (4, 6, 6),
        },
        {
            "hidden_states": normal(1, 4, 4, 6), "timestep": _STEP, "text_bth": _TEXT,
            "text_lens": given(4),
        },
    ),
    "FluxTransformer2DModel": Tiny(
        {**_FLUX, "pooled_projection_dim": 16}, {**_TOKENS, "pooled_projections": normal(1, 16)}
    ),
    "Flux2Transformer2DModel": Tiny(
        {
            **_FLUX, "axes_dims_rope": (4, 4, 4, 4), "timestep_guidance_channels": 16,
        },
        {
            **_TOKENS, "img_ids": grid(1, 3, 4, 1), "txt_ids": grid(1, 1, 1, 5),
            "guidance": given(4.0),
        },
    ),
    "Flux3Transformer2DModel": Tiny(
        {
            **_FLUX, "axes_dims_rope": (4, 4, 4, 4), "timestep_channels": 16,
            "cond_in_channels": 8,
        },
        {**_TOKENS, "img_ids": grid(1, 3, 4, 1), "txt_ids": grid(1, 1, 1, 5)},
    ),
    "GlmImageTransformer2DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "text_embed_dim": 16, "time_embed_dim": 16,
            "condition_dim": 8, "prior_vq_quantizer_codebook_size": 32,
        },
        {
            "hidden_states": _PICTURE, "encoder_hidden_states": _TEXT,
            "prior_token_id": among(32, 1, 16), "prior_token_drop": given(False),
            "timestep": _STEP, "target_size": given((64.0, 64.0)),
            "crop_coords": given((0.0, 0.0)),
        },
    ),
    "HiDreamImageTransformer2DModel": Tiny(
        {
            "patch_size": 2, "in_channels": 4, "num_layers": 1, "num_single_layers": 1,
            "attention_head_dim": 16, "num_attention_heads": 2, "caption_channels": [16, 16],
            "text_emb_dim": 16, "axes_dims_rope": (8, 4, 4), "max_resolution": (8, 8),
            "llama_layers": [0, 1], "force_inference_output": True,
        },
        {
            "hidden_states": _PICTURE, "timesteps": _STEP, "encoder_hidden_states_t5": _TEXT,
            "encoder_hidden_states_llama3": normal(2, 1, 5, 16), "pooled_embeds": normal(1, 16),
        },
    ),
    "HunyuanDiT2DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "patch_size": 2,
            "sample_size": 8, "hidden_size": 16, "num_layers": 2, "cross_attention_dim": 16,
            "cross_attention_dim_t5": 16, "pooled_projection_dim": 16, "text_len": 5,
            "text_len_t5": 6,
        },
        {
            "hidden_states": _PICTURE, "timestep": given(500.0), "encoder_hidden_states": _TEXT,
            "text_embedding_mask": kept(5, 4), "encoder_hidden_states_t5": normal(1, 6, 16),
            "text_embedding_mask_t5": kept(6, 4),
            "image_meta_size": given((64.0, 64.0, 64.0, 64.0, 0.0, 0.0)), "style": given(0),
            "image_rotary_emb": (normal(16, 8), normal(16, 8)),
        },
    ),
    "HunyuanImageTransformer2DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 16, "num_layers": 1, "num_single_layers": 1,
            "num_refiner_layers": 1, "text_embed_dim": 16, "rope_axes_dim": (8, 8),
        },
        {
            "hidden_states": normal(1, 4, 4, 6), "timestep": given(500.0),
            "encoder_hidden_states": _TEXT, "encoder_attention_mask": kept(5, 4),
        },
    ),
    "Ideogram4Transformer2DModel": Tiny(
        {
            "in_channels": 8, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "intermediate_size": 32, "adaln_dim": 8,
            "llm_features_dim": 16, "mrope_section": (3, 3, 2),
        },
        {
            "hidden_states": normal(1, 17, 8), "timestep": _PART,
            "encoder_hidden_states": normal(1, 17, 16), "position_ids": among(12, 1, 17, 3),
            "segment_ids": kept(17, 17), "indicator": kept(17, 5),
        },
    ),
    "Krea2Transformer2DModel": Tiny(
        {
            "in_channels": 8, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32,
            "timestep_embed_dim": 16, "text_hidden_dim": 16, "num_text_layers": 2,
            "text_num_attention_heads": 2, "text_num_key_value_heads": 2,
            "text_intermediate_size": 32, "num_layerwise_text_blocks": 1,
            "num_refiner_text_blocks": 1, "axes_dims_rope": (4, 6, 6),
        },
        {
            "hidden_states": normal(1, 12, 8), "encoder_hidden_states": normal(1, 5, 2, 16),
            "timestep": _PART, "position_ids": among(12, 17, 3),
            "encoder_attention_mask": kept(5, 4, "bool"),
        },
    ),
    "LongCatImageTransformer2DModel": Tiny(
        {**_FLUX, "pooled_projection_dim": 16}, _TOKENS
    ),
    "Lumina2Transformer2DModel": Tiny(
        {
            "sample_size": 8, "in_channels": 4, "hidden_size": 32, "num_layers": 2,
            "num_refiner_layers": 1, "num_attention_heads": 2, "num_kv_heads": 1,
            "multiple_of": 16, "axes_dim_rope": (4, 6, 6), "axes_lens": (16, 16, 16),
            "cap_feat_dim": 16,
        },
        {
            "hidden_states": _PICTURE, "timestep": _PART, "encoder_hidden_states": _TEXT,
            "encoder_attention_mask": kept(5, 4, "bool"),
        },
    ),
    "LuminaNextDiT2DModel": Tiny(
        {
            "sample_size": 8, "in_channels": 4, "hidden_size": 32, "num_layers": 2,
            "num_attention_heads": 2, "num_kv_heads": 1, "multiple_of": 16,
            "cross_attention_dim": 16,
        },
        {
            "hidden_states": _PICTURE, "timestep": _PART, "encoder_hidden_states": _TEXT,
            "encoder_mask": kept(5, 4), "cross_attention_kwargs": {},
            "image_rotary_emb": turns(4, 4, 8),
        },
    ),
    "NucleusMoEImageTransformer2DModel": Tiny(
        {
            "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": (4, 6, 6),
            "num_experts": 4, "moe_intermediate_dim": 16,
            "dense_moe_strategy": "leave_first_block_dense", "capacity_factors": 2.0,
        },
        {
            "hidden_states": normal(1, 12, 16), "img_shapes": [(1, 3, 4)],
            "encoder_hidden_states": _TEXT, "encoder_hidden_states_mask": kept(5, 4),
            "timestep": _PART,
        },
    ),
    "OmniGenTransformer2DModel": Tiny(
        {
            "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2,
            "intermediate_size": 32, "num_layers": 2, "pad_token_id": 0, "vocab_size": 32,
            "max_position_embeddings": 64, "original_max_position_embeddings": 64,
            "pos_embed_max_size": 8, "time_step_dim": 16,
            "rope_scaling": {"long_factor": [1.0] * 8, "short_factor": [1.0] * 8},
        },
        {
            "hidden_states": _PICTURE, "timestep": _PART, "input_ids": among(32, 1, 5),
            "input_img_latents": [], "input_image_sizes": {},
            "attention_mask": zeros(1, 22, 22),
            "position_ids": given(tuple(range(22))),
        },
    ),
    "OvisImageTransformer2DModel": Tiny({**_FLUX, "out_channels": 8}, _TOKENS),
    "PRXTransformer2DModel": Tiny(
        {
            "in_channels": 4, "context_in_dim": 16, "hidden_size": 16, "num_heads": 2,
            "depth": 2, "axes_dim": [4, 4],
        },
        {
            "hidden_states": _PICTURE, "timestep": _PART, "encoder_hidden_states": _TEXT,
            "attention_mask": kept(5, 4, "bool"),
        },
    ),
    "PixArtTransformer2DModel": Tiny(
        {
            **_HEADS, "cross_attention_dim": 16, "sample_size": 8, "caption_channels": 16,
            "use_additional_conditions": False,
        },
        {
            "hidden_states": _PICTURE, "encoder_hidden_states": _TEXT, "timestep": _STEP,
            "encoder_attention_mask": kept(5, 4),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        },
    ),
    "PriorTransformer": Tiny(
        {
            **_HEADS, "embedding_dim": 16, "num_embeddings": 5, "additional_embeddings": 4,
        },
        {
            "hidden_states": normal(1, 16), "timestep": _STEP, "proj_embedding": normal(1, 16),
            "encoder_hidden_states": _TEXT, "attention_mask": kept(5, 4, "bool"),
        },
    ),
    "QwenImageTransformer2DModel": Tiny(
        {
            "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": (4, 6, 6),
        },
        {
            "hidden_states": normal(1, 12, 16), "encoder_hidden_states": _TEXT,
            "encoder_hidden_states_mask": kept(5, 4), "timestep": _PART,
            "img_shapes": [[(1, 3, 4)]],
        },
    ),
    "QwenImage21Transformer2DModel": Tiny(
        {
            "in_channels": 8, "out_channels": 8, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "context_in_dim": 16, "axes_dims_rope": (4, 6, 6),
        },
        {
            "hidden_states": normal(1, 12, 8), "encoder_hidden_states": _TEXT,
            "timestep": _PART, "img_shapes": [[(1, 3, 4)]],
            "img_mask": given((False,) * 5 + (True,) * 3, type="bool"),
            "encoder_hidden_states_mask": kept(5, 5),
        },
    ),
    "SD3Transformer2DModel": Tiny(
        {
            "sample_size": 8, "in_channels": 4, "num_layers": 2, "attention_head_dim": 8,
            "num_attention_heads": 2, "joint_attention_dim": 16, "caption_projection_dim": 16,
            "pooled_projection_dim": 16, "out_channels": 4, "pos_embed_max_size": 8,
            "qk_norm": "rms_norm",
        },
        {
            "hidden_states": _PICTURE, "encoder_hidden_states": _TEXT,
            "pooled_projections": normal(1, 16), "timestep": _STEP,
        },
    ),
    "SanaTransformer2DModel": Tiny(
        {
            **_HEADS, "in_channels": 4, "out_channels": 4, "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8, "cross_attention_dim": 16, "caption_channels": 16,
            "sample_size": 8,
        },
        {
            "hidden_states": _PICTURE, "encoder_hidden_states": _TEXT, "timestep": _STEP,
            "encoder_attention_mask": kept(5, 4),
        },
    ),
    "Transformer2DModel": Tiny(
        {**_HEADS, "in_channels": 16, "norm_num_groups": 4, "cross_attention_dim": 16},
        {"hidden_states": normal(1, 16, 4, 6), "encoder_hidden_states": _TEXT},
    ),
    "ZImageTransformer2DModel": Tiny(
        {
            "in_channels": 4, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2,
            "n_kv_heads": 2, "cap_feat_dim": 16, "axes_dims": [4, 6, 6],
            "axes_lens": [64, 16, 16],
        },
        {
            "x": [normal(4, 1, 8, 8)], "t": _PART, "cap_feats": [normal(5, 16)],
        },
    ),
}  # fmt: skip
