"""Autoencoders and vocoders of sound."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, normal

AUDIO = {
    "AutoencoderKLKVAEAudio": Tiny(
        {
            "encoder_dim": 8, "encoder_rates": [2, 2], "latent_dim": 16, "codebook_dim": 4,
            "decoder_dim": 16, "decoder_rates": [2, 2], "attn_num_heads": 2,
        },
        {"z": normal(1, 4, 12)}, "decode",
    ),
    "AutoencoderKLLTX2Audio": Tiny(
        {
            "base_channels": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "resolution": 16,
            "latent_channels": 4, "mel_bins": 16,
        },
        {"z": normal(1, 4, 4, 8)}, "decode",
    ),
    "AutoencoderKLMiniMaxH3Audio": Tiny(
        {
            "encoder_dim": 8, "encoder_rates": (2, 2), "latent_dim": 32, "latent_channels": 4,
            "num_attention_heads": 2, "decoder_dim": 16, "decoder_rates": (2, 2),
            "decoder_kernel_sizes": (4, 4), "resblock_kernel_sizes": (3,),
            "resblock_dilation_sizes": ((1, 3),),
        },
        {"latents": normal(1, 4, 12)}, "decode",
    ),
    "AutoencoderOobleck": Tiny(
        {
            "encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "channel_multiples": [1, 2],
            "decoder_channels": 8, "decoder_input_channels": 4,
        },
        {"z": normal(1, 4, 12)}, "decode",
    ),
    "AutoencoderOobleck.encode": Tiny(
        {
            "encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "channel_multiples": [1, 2],
            "decoder_channels": 8, "decoder_input_channels": 4,
        },
        {"x": normal(1, 2, 64)}, "encode",
    ),
    "AutoencoderSAME": Tiny(
        {
            "patch_size": 4, "encoder_channels": 16, "encoder_c_mults": (2,),
            "encoder_strides": (4,), "encoder_transformer_depths": (2,), "latent_dim": 8,
            "dim_heads": 8,
        },
        {"latents": normal(1, 8, 6)}, "decode",
    ),
    "Cosmos3AVAEAudioTokenizer": Tiny(
        {
            "vocoder_input_dim": 4, "dec_dim": 8, "dec_c_mults": (1, 2), "dec_strides": (2, 4),
            "encoder_enabled": False,
        },
        {"latents": normal(1, 4, 6)}, "decode",
    ),
    "LongCatAudioDiTVae": Tiny(
        {
            "channels": 8, "c_mults": [1, 2], "strides": [2, 2], "latent_dim": 4,
            "encoder_latent_dim": 8, "downsampling_ratio": 4,
        },
        {"latents": normal(1, 4, 6)}, "decode",
    ),
    "MMAudioVAE": Tiny(
        {
            "mel_bins": 8, "latent_channels": 4, "hidden_channels": 16,
            "channel_multipliers": (1, 2), "layers_per_block": 1,
        },
        {"z": normal(1, 4, 6)}, "decode",
    ),
    "MMAudioVocoder": Tiny(
        {
            "num_mels": 8, "upsample_initial_channel": 16, "upsample_rates": (4, 2),
            "upsample_kernel_sizes": (8, 4), "resblock_kernel_sizes": (3,),
            "resblock_dilation_sizes": ((1, 3, 5),),
        },
        {"mel": normal(1, 8, 6)},
    ),
    "MiniMaxMusic3Vocoder": Tiny(
        {
            "latent_channels": 4, "decoder_input_dim": 16, "decoder_hidden_dim": 16,
            "upsampling_ratios": (4, 2),
        },
        {"latents": normal(1, 4, 6)},
    ),
}  # fmt: skip
