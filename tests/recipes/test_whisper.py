"""Whisper: sound to text, as transformers' feature extractor and `generate` make it."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from tests.recipes import words
from tests.recipes.harness import compiled, run

MARKS = ("<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|translate|>",
         "<|notimestamps|>")  # fmt: skip
COUNT = 6
PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]


def saved(folder, seed: int = 8):
    """With the rules that generation has on the hub, and an extractor of one second."""
    tokenizer = words.bytes_bpe(*MARKS)
    start, english, german, transcribe, translate, timeless = tokenizer.convert_tokens_to_ids(
        list(MARKS)
    )
    end = tokenizer.eos_token_id
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=16, encoder_layers=2, encoder_attention_heads=2,
        decoder_layers=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        d_model=16, max_source_positions=50, max_target_positions=24, pad_token_id=end,
        bos_token_id=end, eos_token_id=end, decoder_start_token_id=start, init_std=0.5,
    )).eval()  # fmt: skip
    rule = dict(
        is_multilingual=True, no_timestamps_token_id=timeless, return_timestamps=False,
        lang_to_id={"<|en|>": english, "<|de|>": german}, max_length=24,
        task_to_id={"transcribe": transcribe, "translate": translate},
        suppress_tokens=[3, 4, start], begin_suppress_tokens=[60, end],
        decoder_start_token_id=start, eos_token_id=end, pad_token_id=end, bos_token_id=end,
    )  # fmt: skip
    for name, value in rule.items():
        setattr(model.generation_config, name, value)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    for one in (model, tokenizer, extractor):
        one.save_pretrained(folder)
    return model, tokenizer, extractor


def sound() -> np.ndarray:
    time = np.arange(16000) / 16000
    wave = np.sin(2 * np.pi * 440 * time * (1 + time)) * np.exp(-2 * time)
    return (wave + 0.05 * np.random.default_rng(2).standard_normal(16000)).astype(np.float32)[None]


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_sound_becomes_a_text(tmp_path, precision):
    model, tokenizer, extractor = saved(tmp_path / "folder")
    features = extractor(sound()[0], sampling_rate=16000, return_tensors="pt").input_features
    want = model.generate(features, task="transcribe", max_new_tokens=COUNT)
    print(want)
    built = compiled(tmp_path / "folder", tmp_path / "build", f"pipeline.options.tokens={COUNT}",
                     precision=precision)  # fmt: skip
    outcome = run(built, {"sound": sound()}, "tokens")
    print(outcome)
    assert outcome[0].tolist() == want[0].tolist()
