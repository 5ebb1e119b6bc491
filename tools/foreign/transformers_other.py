"""Transformers that denoise sound, tokens and proteins."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, given, kept, normal

_TEXT = normal(1, 5, 16)
_PART = given(0.5)

OTHER = {
    "AceStepTransformer1DModel": Tiny(
        {
            "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
            "in_channels": 12, "audio_acoustic_hidden_dim": 4, "sliding_window": 4,
        },
        {
            "hidden_states": normal(1, 12, 4), "timestep": _PART, "timestep_r": _PART,
            "encoder_hidden_states": normal(1, 5, 32), "context_latents": normal(1, 12, 8),
        },
    ),
    "LongCatAudioDiTTransformer": Tiny(
        {
            "dit_dim": 32, "dit_depth": 2, "dit_heads": 2, "dit_text_dim": 16, "latent_dim": 4,
        },
        {
            "hidden_states": normal(1, 12, 4), "encoder_hidden_states": _TEXT,
            "encoder_attention_mask": kept(5, 4, "bool"), "timestep": _PART,
            "attention_mask": kept(12, 12, "bool"), "latent_cond": normal(1, 12, 4),
        },
    ),
    "MiniMaxMusic3RVQDepthDecoder": Tiny(
        {
            "hidden_size": 32, "num_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "audio_vocab_size": 16, "num_codebooks": 4,
        },
        {"inputs_embeds": normal(1, 4, 32)},
    ),
    "MiniMaxMusic3Transformer1DModel": Tiny(
        {
            "in_channels": 4, "condition_dim": 16, "num_layers": 2, "num_attention_heads": 2,
            "attention_head_dim": 16, "ff_inner_dim": 32, "rotary_dim": 8,
            "fourier_embedding_dim": 16,
        },
        {
            "hidden_states": normal(1, 4, 12), "timestep": _PART,
            "encoder_hidden_states": normal(1, 12, 16),
        },
    ),
    "StableAudio3DiTModel": Tiny(
        {
            "io_channels": 4, "embed_dim": 32, "depth": 2, "num_heads": 2, "cond_token_dim": 16,
            "global_cond_dim": 16, "local_add_cond_dim": 5, "timestep_features_dim": 16,
            "num_memory_tokens": 4,
        },
        {
            "hidden_states": normal(1, 4, 12), "timestep": _PART, "encoder_hidden_states": _TEXT,
            "global_hidden_states": normal(1, 16), "local_add_cond": normal(1, 5, 12),
        },
    ),
    "StableAudioDiTModel": Tiny(
        {
            "sample_size": 12, "in_channels": 4, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": 2, "num_key_value_attention_heads": 1, "out_channels": 4,
            "cross_attention_dim": 16, "time_proj_dim": 16, "global_states_input_dim": 16,
            "cross_attention_input_dim": 16,
        },
        {
            "hidden_states": normal(1, 4, 12), "timestep": _PART, "encoder_hidden_states": _TEXT,
            "global_hidden_states": normal(1, 1, 16),
            "rotary_embedding": (normal(13, 8), normal(13, 8)),
        },
    ),
    "T5FilmDecoder": Tiny(
        {
            "input_dims": 8, "targets_length": 12, "d_model": 16, "num_layers": 2,
            "num_heads": 2, "d_kv": 8, "d_ff": 32,
        },
        {
            "encodings_and_masks": [(_TEXT, kept(5, 4))],
            "decoder_input_tokens": normal(1, 12, 8), "decoder_noise_time": _PART,
        },
    ),
}  # fmt: skip
