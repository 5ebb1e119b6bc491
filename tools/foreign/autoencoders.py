"""Autoencoders of pictures and videos, decoding; of those that only encode, encoding."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, given, normal

_WIDTHS = (8, 8, 16, 16)
_PICTURE = normal(1, 4, 4, 6)
_CLIP = normal(1, 4, 2, 4, 6)
_DOWN, _UP = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
_KL = {
    "down_block_types": _DOWN, "up_block_types": _UP, "block_out_channels": (8, 16),
    "norm_num_groups": 4,
}  # fmt: skip
_WAN = {
    "base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 2], "num_res_blocks": 1,
    "temperal_downsample": [True, True], "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4,
}  # fmt: skip

AUTOENCODERS = {
    "AsymmetricAutoencoderKL": Tiny(
        {
            "down_block_types": _DOWN, "down_block_out_channels": (8, 16),
            "up_block_types": _UP, "up_block_out_channels": (8, 16), "norm_num_groups": 4,
        },
        {"z": _PICTURE}, "decode",
    ),
    "AutoencoderDC": Tiny(
        {
            "latent_channels": 4, "attention_head_dim": 4,
            "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "encoder_block_out_channels": (8, 16), "decoder_block_out_channels": (8, 16),
            "encoder_layers_per_block": (1, 1), "decoder_layers_per_block": (1, 1),
            "encoder_qkv_multiscales": ((), (5,)), "decoder_qkv_multiscales": ((), (5,)),
        },
        {"z": _PICTURE}, "decode",
    ),
    "AutoencoderKL": Tiny(_KL, {"z": _PICTURE}, "decode"),
    "AutoencoderKLAllegro": Tiny(
        {"block_out_channels": _WIDTHS, "layers_per_block": 1, "norm_num_groups": 4},
        {"sample": _CLIP}, "decoder",  # which `decode` calls tile by tile
    ),
    "AutoencoderKLCogVideoX": Tiny(
        {
            "latent_channels": 4, "block_out_channels": _WIDTHS, "layers_per_block": 1,
            "norm_num_groups": 4, "sample_height": 32, "sample_width": 48,
        },
        {"z": _CLIP}, "decode",
    ),
    "AutoencoderKLCosmos": Tiny(
        {
            "latent_channels": 4, "encoder_block_out_channels": (8, 8, 16),
            "decode_block_out_channels": (8, 8, 16), "attention_resolutions": (8,),
            "resolution": 64, "num_layers": 1, "patch_size": 4, "spatial_compression_ratio": 8,
        },
        {"z": _CLIP}, "decode",
    ),
    "AutoencoderKLFlux2": Tiny(
        {**_KL, "latent_channels": 4, "layers_per_block": 1}, {"z": _PICTURE}, "decode"
    ),
    "AutoencoderKLHunyuanImage": Tiny(
        {
            "in_channels": 3, "out_channels": 3, "latent_channels": 4,
            "block_out_channels": (32, 64), "layers_per_block": 1,
            "spatial_compression_ratio": 2, "sample_size": 16,
        },
        {"z": _PICTURE}, "decode",
    ),
    "AutoencoderKLHunyuanImageRefiner": Tiny(
        {
            "latent_channels": 4, "block_out_channels": (8, 8, 16), "layers_per_block": 1,
            "spatial_compression_ratio": 4, "temporal_compression_ratio": 2,
        },
        {"z": _CLIP}, "decode",
    ),
    "AutoencoderKLHunyuanVideo": Tiny(
        {
            "latent_channels": 4, "block_out_channels": _WIDTHS, "layers_per_block": 1,
            "norm_num_groups": 4,
        },
        {"z": normal(1, 4, 2, 2, 3)}, "decode",
    ),
    "AutoencoderKLHunyuanVideo15": Tiny(
        {
            "latent_channels": 4, "block_out_channels": (8, 8, 16), "layers_per_block": 1,
            "spatial_compression_ratio": 4, "temporal_compression_ratio": 2,
        },
        {"z": _CLIP}, "decode",
    ),
    "AutoencoderKLKVAE": Tiny(
        {
            "channels": 32, "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4,
            "ch_mult": (1, 1), "sample_size": 16,
        },
        {"z": _PICTURE}, "decode",
    ),
    "AutoencoderKLKVAEVideo": Tiny(
        {
            "ch": 32, "ch_mult": (1, 1, 1), "num_res_blocks": 1, "z_channels": 4,
            "temporal_compress_times": 4,
        },
        {"z": _CLIP}, "decode",
    ),
    "AutoencoderKLLTX2Video": Tiny(
        {
            "latent_channels": 8, "block_out_channels": (8, 16, 32, 64),
            "decoder_block_out_channels": (8, 16, 32), "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1), "patch_size": 2,
            "upsample_residual": (True, True, True), "upsample_factor": (2, 2, 2),
        },
        {"z": normal(1, 8, 2, 2, 3)}, "decode",
    ),
    "AutoencoderKLLTXVideo": Tiny(
        {
            "latent_channels": 8, "block_out_channels": _WIDTHS,
            "decoder_block_out_channels": _WIDTHS, "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1, 1), "patch_size": 2,
        },
        {"z": normal(1, 8, 2, 2, 3)}, "decode",
    ),
    "AutoencoderKLMagvit": Tiny(
        {
            "latent_channels": 4, "block_out_channels": [8, 8, 16, 16], "layers_per_block": 1,
            "norm_num_groups": 4,
        },
        {"z": normal(1, 4, 2, 2, 3)}, "decode",
    ),
    "AutoencoderKLMiniMaxH3": Tiny(
        {
            "latent_channels": 4, "block_out_channels": (8, 16), "layers_per_block": 1,
            "spatial_downsample_factors": (2, 2), "temporal_downsample_factors": (1, 2),
            "norm_num_groups": 4, "decoder_num_layers": 2, "decoder_num_attention_heads": 2,
            "decoder_attention_head_dim": 16, "decoder_num_register_tokens": 2,
            "clip_length": 5, "token_drop": 2, "latents_mean": (0.0,) * 4,
            "latents_std": (1.0,) * 4,
        },
        {"z": _CLIP}, "decode",
    ),
    "AutoencoderKLMochi": Tiny(
        {
            "latent_channels": 4, "encoder_block_out_channels": (32, 32, 32, 32),
            "decoder_block_out_channels": (32, 32, 32, 32), "layers_per_block": (1, 1, 1, 1, 1),
            "latents_mean": (0.0,) * 4, "latents_std": (1.0,) * 4,
        },
        {"z": normal(1, 4, 2, 2, 3)}, "decode",
    ),
    "AutoencoderKLQwenImage": Tiny(_WAN, {"z": normal(1, 4, 1, 4, 6)}, "decode"),
    "AutoencoderKLQwenImage21": Tiny(
        {**_WAN, "dim_mult": [1, 2, 2], "decoder_base_dim": 8},
        {"z": normal(1, 4, 1, 4, 6)}, "decode",
    ),
    "AutoencoderKLTemporalDecoder": Tiny(
        {"down_block_types": _DOWN, "block_out_channels": (32, 32)},
        {"z": normal(2, 4, 4, 6), "num_frames": 2}, "decode",
    ),
    "AutoencoderKLWan": Tiny(_WAN, {"z": _CLIP}, "decode"),
    "AutoencoderRAE": Tiny(
        {
            "encoder_hidden_size": 64, "encoder_patch_size": 4, "encoder_num_hidden_layers": 1,
            "decoder_hidden_size": 16, "decoder_num_hidden_layers": 2,
            "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32, "patch_size": 4,
            "encoder_input_size": 16, "image_size": 16,
        },
        {"z": normal(1, 64, 4, 4)}, "decode",
    ),
    "AutoencoderTiny": Tiny(
        {
            "encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8),
            "num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1),
        },
        {"x": _PICTURE}, "decode",
    ),
    "AutoencoderVidTok": Tiny(
        {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1}, {"z": _CLIP}, "decode"
    ),
    "ConsistencyDecoderVAE.decoder_unet": Tiny(
        {
            "encoder_block_out_channels": (8, 16), "encoder_norm_num_groups": 4,
            "encoder_layers_per_block": 1, "encoder_down_block_types": _DOWN,
            "decoder_block_out_channels": (8, 16), "decoder_norm_num_groups": 4,
            "decoder_layers_per_block": 1,
            "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2,
            "decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        },
        {"sample": normal(1, 7, 8, 12), "timestep": given(500)}, "decoder_unet",
    ),
    "Kandinsky6SRVAE": Tiny(
        {
            "latent_channels": 4, "encoder_block_out_channels": (8, 8, 8, 16, 16),
            "decoder_block_out_channels": (8, 8, 8, 16, 16), "layers_per_block": 1,
        },
        {"z": normal(1, 4, 2, 2, 3)}, "decode",
    ),
    "VQModel": Tiny(
        {**_KL, "latent_channels": 4, "num_vq_embeddings": 16}, {"h": _PICTURE}, "decode"
    ),
    "AutoencoderKL.encode": Tiny(_KL, {"x": normal(1, 3, 8, 12)}, "encode"),
    "AutoencoderKLTemporalDecoder.encode": Tiny(
        {"down_block_types": _DOWN, "block_out_channels": (32, 32)},
        {"x": normal(1, 3, 8, 12)}, "encode",
    ),
    "AutoencoderKLWan.encode": Tiny(_WAN, {"x": normal(1, 3, 5, 8, 12)}, "encode"),
    "AutoencoderKLLTXVideo.encode": Tiny(
        {
            "latent_channels": 8, "block_out_channels": _WIDTHS,
            "decoder_block_out_channels": _WIDTHS, "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1, 1), "patch_size": 2,
        },
        {"x": normal(1, 3, 9, 32, 32)}, "encode",
    ),
    "AutoencoderKLCogVideoX.encode": Tiny(
        {
            "latent_channels": 4, "block_out_channels": _WIDTHS, "layers_per_block": 1,
            "norm_num_groups": 4, "sample_height": 32, "sample_width": 48,
        },
        {"x": normal(1, 3, 5, 16, 24)}, "encode",
    ),
    "AutoencoderKLHunyuanVideo.encode": Tiny(
        {
            "latent_channels": 4, "block_out_channels": _WIDTHS, "layers_per_block": 1,
            "norm_num_groups": 4,
        },
        {"x": normal(1, 3, 5, 16, 24)}, "encode",
    ),
}  # fmt: skip
