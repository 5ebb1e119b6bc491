"""What pipelines encode text, pictures and sound with, and small decoders of text."""

from __future__ import annotations

from tools.foreign.tiny import Tiny, among, kept, normal

_T5 = {
    "vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip
_CLIP = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 8, "projection_dim": 8,
    "eos_token_id": 31, "bos_token_id": 30, "pad_token_id": 31,
}  # fmt: skip
_SEEN = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip
_LLAMA = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    "max_position_embeddings": 16, "use_cache": False, "pad_token_id": 0,
}  # fmt: skip
_WHISPER = {
    "vocab_size": 32, "num_mel_bins": 8, "encoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
    "encoder_ffn_dim": 32, "d_model": 16, "max_source_positions": 12, "max_target_positions": 8,
    "use_cache": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
_WORDS = {"input_ids": among(30, 1, 6), "attention_mask": kept(6, 4)}
_TOKENS = {**_WORDS, "use_cache": False}
_LATE = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}


def _of(settings: dict[str, object], arguments: dict[str, object], method: str = "forward") -> Tiny:
    return Tiny(settings, arguments, method, library="transformers")


ENCODERS = {
    "T5EncoderModel": _of(_T5, _WORDS),
    "UMT5EncoderModel": _of(_T5, _WORDS),
    "CLIPTextModel": _of(_CLIP, _WORDS),
    "CLIPTextModelWithProjection": _of(_CLIP, _WORDS),
    "CLIPVisionModel": _of(_SEEN, {"pixel_values": normal(1, 3, 16, 16)}),
    "CLIPVisionModelWithProjection": _of(
        {**_SEEN, "projection_dim": 8}, {"pixel_values": normal(1, 3, 16, 16)}
    ),
    "SiglipTextModel": _of(
        {**_CLIP, "max_position_embeddings": 6, "projection_size": 8},
        {"input_ids": among(30, 1, 6)},
    ),
    "SiglipVisionModel": _of(_SEEN, {"pixel_values": normal(1, 3, 16, 16)}),
    "Dinov2Model": _of(
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
         "patch_size": 8},
        {"pixel_values": normal(1, 3, 16, 16)},
    ),
    "BertModel": _of(
        {**{k: v for k, v in _CLIP.items() if k != "projection_dim"}}, _WORDS
    ),
    "LlamaModel": _of(_LLAMA, _TOKENS),
    "LlamaForCausalLM": _of(_LLAMA, _TOKENS),
    "MistralModel": _of(_LLAMA, _TOKENS),
    "GemmaModel": _of(_LLAMA, _TOKENS),
    "Gemma2Model": _of({**_LLAMA, **_LATE, "query_pre_attn_scalar": 8}, _TOKENS),
    "Gemma3TextModel": _of({**_LLAMA, **_LATE, "query_pre_attn_scalar": 8}, _TOKENS),
    "GlmModel": _of(_LLAMA, _TOKENS),
    "Phi3Model": _of({k: v for k, v in _LLAMA.items() if k != "head_dim"}, _TOKENS),
    "Qwen2Model": _of(_LLAMA, _TOKENS),
    "Qwen2ForCausalLM": _of(_LLAMA, _TOKENS),
    "Qwen3Model": _of(_LLAMA, _TOKENS),
    "Qwen2VLTextModel": _of(
        {**_LLAMA, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}},
        _TOKENS,
    ),
    "Qwen2_5_VLTextModel": _of(
        {**_LLAMA, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}},
        _TOKENS,
    ),
    "WhisperModel.encoder": _of(_WHISPER, {"input_features": normal(1, 8, 24)}, "encoder"),
    "WhisperModel.decoder": _of(
        _WHISPER,
        {
            "input_ids": among(30, 1, 4), "encoder_hidden_states": normal(1, 12, 16),
            "use_cache": False,
        },
        "decoder",
    ),
}  # fmt: skip
