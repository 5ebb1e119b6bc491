"""Transformers that denoise videos."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, given, kept, normal

_STEP = given(500)
_TEXT = normal(1, 5, 16)
_CLIP = normal(1, 4, 2, 4, 6)
_CALL = {"hidden_states": _CLIP, "timestep": _STEP, "encoder_hidden_states": _TEXT}
_WAN = {
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4,
    "text_dim": 16, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "rope_max_seq_len": 32,
}  # fmt: skip
_WAN_PLAIN = {k: v for k, v in _WAN.items() if k != "rope_max_seq_len"}
_HUNYUAN = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16,
    "num_layers": 1, "num_refiner_layers": 1, "text_embed_dim": 16, "rope_axes_dim": (4, 6, 6),
}  # fmt: skip
_HUNYUAN_PLAIN = {k: v for k, v in _HUNYUAN.items() if k != "num_refiner_layers"}
_COG = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4,
    "time_embed_dim": 8, "text_embed_dim": 16, "num_layers": 2, "sample_width": 6,
    "sample_height": 4, "sample_frames": 5, "max_text_seq_length": 5,
}  # fmt: skip
_SANA = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 12,
    "num_layers": 2, "num_cross_attention_heads": 2, "cross_attention_head_dim": 12,
    "cross_attention_dim": 24, "caption_channels": 16, "sample_size": 4,
}  # fmt: skip

VIDEO = {
    "AllegroTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2,
            "cross_attention_dim": 24, "sample_height": 4, "sample_width": 6,
            "sample_frames": 2, "caption_channels": 16,
        },
        {
            **_CALL, "attention_mask": normal(1, 2, 4, 6), "encoder_attention_mask": kept(5, 4),
        },
    ),
    "AnyFlowTransformer3DModel": Tiny(
        _WAN,
        {
            **_CALL, "hidden_states": normal(1, 2, 4, 4, 6), "timestep": given((500, 500)),
            "r_timestep": given((400, 400)),
        },
    ),
    "AnyFlowFARTransformer3DModel": Tiny(
        {**_WAN, "chunk_partition": (1, 1)},
        {
            **_CALL, "hidden_states": normal(1, 2, 4, 4, 8), "timestep": given((500, 500)),
            "r_timestep": given((400, 400)), "chunk_partition": (1, 1),
        },
    ),
    "ChronoEditTransformer3DModel": Tiny(_WAN, _CALL),
    "CogVideoXTransformer3DModel": Tiny(
        _COG, {**_CALL, "hidden_states": normal(1, 2, 4, 4, 6)}
    ),
    "ConsisIDTransformer3DModel": Tiny(
        {
            **_COG, "num_attention_heads": 3, "is_train_face": True, "cross_attn_interval": 1,
            "cross_attn_dim_head": 8, "cross_attn_num_heads": 2, "LFE_id_dim": 8,
            "LFE_vit_dim": 8, "LFE_depth": 2, "LFE_dim_head": 8, "LFE_num_heads": 2,
            "LFE_num_id_token": 2, "LFE_num_querie": 4, "LFE_output_dim": 32, "LFE_ff_mult": 2,
            "LFE_num_scale": 2,
        },
        {
            **_CALL, "hidden_states": normal(1, 2, 4, 4, 6), "id_cond": normal(1, 8),
            "id_vit_hidden": [normal(1, 6, 8), normal(1, 6, 8)],
        },
    ),
    "CosmosTransformer3DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 16, "num_layers": 2, "text_embed_dim": 16,
            "adaln_lora_dim": 8, "max_size": (4, 8, 8),
            "concat_padding_mask": False,  # it is resized by torchvision
        },
        {**_CALL, "fps": 16},
    ),
    "EasyAnimateTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4,
            "out_channels": 4, "patch_size": 2, "sample_width": 6, "sample_height": 4,
            "num_layers": 2, "mmdit_layers": 1, "time_embed_dim": 8, "text_embed_dim": 16,
        },
        _CALL,
    ),
    "HeliosTransformer3DModel": Tiny(
        {**_WAN_PLAIN, "rope_dim": (4, 4, 4)},
        {
            **_CALL, "indices_hidden_states": given((3, 4)),
            "indices_latents_history_short": given((2,)),
            "indices_latents_history_mid": given((0, 1)),
            "indices_latents_history_long": given((0, 1, 2, 3)),
            "latents_history_short": normal(1, 4, 1, 4, 6),
            "latents_history_mid": normal(1, 4, 2, 4, 8),
            "latents_history_long": normal(1, 4, 4, 8, 8),
        },
    ),
    "HunyuanVideoTransformer3DModel": Tiny(
        {**_HUNYUAN, "num_single_layers": 1, "pooled_projection_dim": 8},
        {
            **_CALL, "encoder_attention_mask": kept(5, 4), "pooled_projections": normal(1, 8),
            "guidance": given(6.0),
        },
    ),
    "HunyuanVideo15Transformer3DModel": Tiny(
        {
            **_HUNYUAN, "text_embed_2_dim": 8, "image_embed_dim": 8, "patch_size": 2,
        },
        {
            **_CALL, "timestep": given(500.0), "encoder_attention_mask": kept(5, 4),
            "encoder_hidden_states_2": normal(1, 3, 8), "encoder_attention_mask_2": kept(3, 2),
            "image_embeds": normal(1, 4, 8),
        },
    ),
    "HunyuanVideoFramepackTransformer3DModel": Tiny(
        {
            **_HUNYUAN, "num_single_layers": 1, "pooled_projection_dim": 8,
            "has_image_proj": True, "image_proj_dim": 8, "has_clean_x_embedder": True,
        },
        {
            **_CALL, "encoder_attention_mask": kept(5, 4), "pooled_projections": normal(1, 8),
            "image_embeds": normal(1, 4, 8), "indices_latents": given(7, 8),
            "guidance": given(6.0), "latents_clean": normal(1, 4, 2, 4, 6),
            "indices_latents_clean": given(0, 9), "latents_history_2x": normal(1, 4, 2, 4, 6),
            "indices_latents_history_2x": given(5, 6),
            "latents_history_4x": normal(1, 4, 4, 4, 6),
            "indices_latents_history_4x": given(1, 2, 3, 4),
        },
    ),
    "JoyImageEditTransformer3DModel": Tiny(
        {
            "in_channels": 4, "hidden_size": 32, "num_attention_heads": 2, "text_dim": 16,
            "num_layers": 2, "rope_dim_list": [4, 6, 6],
        },
        {**_CALL, "hidden_states": normal(1, 2, 4, 1, 4, 6)},
    ),
    "JoyImageEditPlusTransformer3DModel": Tiny(
        {
            "in_channels": 4, "hidden_size": 32, "num_attention_heads": 2, "text_dim": 16,
            "num_layers": 2, "rope_dim_list": [4, 6, 6],
        },
        {
            **_CALL, "hidden_states": normal(1, 12, 4, 1, 2, 2),
            "encoder_hidden_states_mask": kept(5, 4), "shape_list": [[(1, 2, 3), (1, 2, 3)]],
        },
    ),
    "Kandinsky5Transformer3DModel": Tiny(
        {
            "in_text_dim": 16, "in_text_dim2": 8, "time_dim": 16, "model_dim": 32, "ff_dim": 32,
            "num_text_blocks": 1, "num_visual_blocks": 1, "axes_dims": (4, 6, 6),
        },
        {
            **_CALL, "hidden_states": normal(1, 2, 4, 6, 4), "pooled_projections": normal(1, 8),
            "visual_rope_pos": [given(0, 1), given(0, 1), given(0, 1, 2)],
            "text_rope_pos": given(0, 1, 2, 3, 4),
        },
    ),
    "Kandinsky6Transformer3DModel": Tiny(
        {
            "in_visual_dim": 4, "out_visual_dim": 4, "in_text_dim": 16, "in_text_dim2": 8,
            "time_dim": 16, "model_dim": 32, "ff_dim": 32, "num_text_blocks": 1,
            "num_visual_blocks": 1, "axes_dims": (4, 6, 6), "visual_cond": False,
        },
        {
            **_CALL, "hidden_states": normal(1, 2, 4, 6, 4), "pooled_projections": normal(1, 8),
            "visual_rope_pos": [given(0, 1), given(0, 1), given(0, 1, 2)],
        },
    ),
    "Kandinsky6SRTransformer3DModel": Tiny(
        {
            "in_visual_dim": 4, "out_visual_dim": 4, "time_dim": 16, "model_dim": 32,
            "ff_dim": 32, "num_visual_blocks": 2, "axes_dims": (4, 6, 6),
        },
        {"hidden_states": normal(1, 2, 8, 8, 9), "timestep": _STEP},
    ),
    "LTXVideoTransformer3DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 8, "cross_attention_dim": 16, "num_layers": 2,
            "caption_channels": 16,
        },
        {
            "hidden_states": normal(1, 12, 4), "encoder_hidden_states": _TEXT,
            "timestep": _STEP, "encoder_attention_mask": kept(5, 4), "num_frames": 2,
            "height": 2, "width": 3,
        },
    ),
    "LTX2VideoTransformer3DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 8, "cross_attention_dim": 16, "audio_in_channels": 4,
            "audio_out_channels": 4, "audio_num_attention_heads": 2, "audio_attention_head_dim": 4,
            "audio_cross_attention_dim": 8, "num_layers": 2, "caption_channels": 16,
        },
        {
            "hidden_states": normal(1, 12, 4), "audio_hidden_states": normal(1, 6, 4),
            "encoder_hidden_states": _TEXT, "audio_encoder_hidden_states": _TEXT,
            "timestep": _STEP, "encoder_attention_mask": kept(5, 4),
            "audio_encoder_attention_mask": kept(5, 4), "num_frames": 2, "height": 2, "width": 3,
            "audio_num_frames": 6,
        },
        outputs=2,
    ),
    "LatteTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4,
            "out_channels": 8, "num_layers": 2, "cross_attention_dim": 16, "sample_size": 8,
            "patch_size": 2, "attention_bias": True, "activation_fn": "gelu-approximate",
            "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False, "norm_eps": 1e-6, "caption_channels": 16,
            "video_length": 2,
        },
        {**_CALL, "hidden_states": normal(1, 4, 2, 8, 8)},
    ),
    "MiniMaxH3Transformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 16, "hidden_size": 32,
            "num_layers": 2, "num_refiner_layers": 1, "ffn_dim": 32, "in_channels": 4,
            "audio_in_channels": 4, "text_dim": 16, "freq_dim": 16, "time_embed_hidden_dim": 32,
            "time_embed_dim": 16, "rope_freq_dim": 2,
        },
        {
            "hidden_states": normal(1, 6, 16), "audio_hidden_states": normal(1, 4, 4),
            "encoder_hidden_states": _TEXT, "timestep": given(0.5, 0.25),
            "timestep_indices": given(*[0] * 11, *[1] * 4), "token_tags": given(
                *[1] * 5, *[0] * 6, *[2] * 4),
            "position_ids": given(*[(float(i), float(i % 2), float(i % 3)) for i in range(15)]),
            "video_indices": given(*range(5, 11)), "audio_indices": given(*range(11, 15)),
            "text_indices": given(*range(5)),
        },
        outputs=2,
    ),
    "MochiTransformer3DModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2,
            "pooled_projection_dim": 16, "in_channels": 4, "text_embed_dim": 16,
            "time_embed_dim": 16, "max_sequence_length": 5,
        },
        {**_CALL, "encoder_attention_mask": kept(5, 4, "bool")},
    ),
    "MotifVideoTransformer3DModel": Tiny(
        {**_HUNYUAN_PLAIN, "num_single_layers": 1},
        {**_CALL, "encoder_attention_mask": kept(5, 4)},
    ),
    "SanaVideoTransformer3DModel": Tiny(
        _SANA, {**_CALL, "encoder_attention_mask": kept(5, 4)}
    ),
    "SanaWMTransformer3DModel": Tiny(
        {
            "in_channels": 4, "num_layers": 2, "hidden_size": 24, "num_attention_heads": 2,
            "softmax_every_n": 2, "linear_head_dim": 12, "caption_channels": 16,
            "chunk_plucker_post_attn_blocks": 2, "chunk_plucker_channels": 4,
        },
        {**_CALL, "timestep": given(((500.0, 500.0),)), "mask": kept(5, 4)},
    ),
    "SanaWMLTX2RefinerTransformer3DModel": Tiny(
        {
            "in_channels": 4, "out_channels": 4, "num_attention_heads": 2,
            "attention_head_dim": 8, "cross_attention_dim": 16, "audio_in_channels": 4,
            "audio_out_channels": 4, "audio_num_attention_heads": 2, "audio_attention_head_dim": 4,
            "audio_cross_attention_dim": 8, "num_layers": 2, "caption_channels": 16,
        },
        {
            "hidden_states": normal(1, 12, 4), "encoder_hidden_states": _TEXT,
            "timestep": _STEP, "video_rotary_emb": (normal(1, 12, 16), normal(1, 12, 16)),
        },
    ),
    "SkyReelsV2Transformer3DModel": Tiny(_WAN, _CALL),
    "TransformerTemporalModel": Tiny(
        {
            "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 16,
            "norm_num_groups": 4,
        },
        {"hidden_states": normal(2, 16, 4, 6), "num_frames": 2},
    ),
    "WanTransformer3DModel": Tiny(_WAN, _CALL),
    "WanTransformer3DModel (image)": Tiny(
        {**_WAN, "image_dim": 8, "added_kv_proj_dim": 24, "in_channels": 9},
        {
            **_CALL, "hidden_states": normal(1, 9, 2, 4, 6),
            "encoder_hidden_states": normal(1, 512, 16),  # what it takes for text is fixed
            "encoder_hidden_states_image": normal(1, 4, 8),
        },
    ),
    "WanAnimateTransformer3DModel": Tiny(
        {
            **_WAN, "in_channels": 12, "latent_channels": 4, "image_dim": 8,
            "motion_encoder_size": 8, "motion_style_dim": 8, "motion_dim": 4,
            "motion_encoder_dim": 8, "face_encoder_hidden_dim": 16, "face_encoder_num_heads": 2,
            "inject_face_latents_blocks": 2,
            "motion_encoder_channel_sizes": {"4": 8, "8": 8},
        },
        {
            **_CALL, "hidden_states": normal(1, 12, 3, 4, 6),
            "encoder_hidden_states_image": normal(1, 4, 8),
            "pose_hidden_states": normal(1, 4, 2, 4, 6),
            "face_pixel_values": normal(1, 3, 5, 8, 8),
        },
    ),
    "WanVACETransformer3DModel": Tiny(
        {**_WAN, "vace_layers": [0], "vace_in_channels": 8},
        {
            **_CALL, "control_hidden_states": normal(1, 8, 2, 4, 6),
            "control_hidden_states_scale": given(0.75),
        },
    ),
}  # fmt: skip
