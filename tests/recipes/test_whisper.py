"""Whisper: sound to text, as transformers' feature extractor and `generate` make it."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

import entracte
from entracte.graphs.recipes.parts_whisper import log_mel
from tests.recipes import words
from tests.recipes.harness import check, compiled, run

MARKS = ("<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|translate|>",
         "<|notimestamps|>")  # fmt: skip
COUNT = 6


def made(seed: int = 55):
    """A model with the rules that generation has on the hub, and an extractor of one second."""
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
    rule = {
        "is_multilingual": True, "no_timestamps_token_id": timeless, "return_timestamps": False,
        "lang_to_id": {"<|en|>": english, "<|de|>": german}, "max_length": 24,
        "task_to_id": {"transcribe": transcribe, "translate": translate},
        "decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": end,
        "suppress_tokens": None, "begin_suppress_tokens": None,
    }  # fmt: skip
    for name, value in rule.items():
        setattr(model.generation_config, name, value)
    return model, tokenizer, WhisperFeatureExtractor(feature_size=16, chunk_length=1)


def sound() -> np.ndarray:
    time = np.arange(16000) / 16000
    wave = np.sin(2 * np.pi * 440 * time * (1 + time)) * np.exp(-2 * time)
    return (wave + 0.05 * np.random.default_rng(2).standard_normal(16000)).astype(np.float32)[None]


@pytest.mark.parametrize("mels", [80, 128])
def test_features_are_the_extractors(mels):
    theirs = WhisperFeatureExtractor(feature_size=mels)
    given = np.pad(sound()[0], (0, 29 * 16000))
    want = theirs(given, sampling_rate=16000, return_tensors="pt").input_features
    check(log_mel(torch.from_numpy(given)[None], mels, 400, 160), want, "fp32")


def written(model, features, **more) -> list[int]:
    return model.generate(features, max_new_tokens=COUNT, **more)[0].tolist()


@torch.no_grad()
@pytest.mark.parametrize(
    ("language", "task", "precision"),
    [
        ("", "transcribe", "fp32"),
        pytest.param("de", "translate", "fp32", marks=pytest.mark.slow),
        pytest.param("", "transcribe", "fp16", marks=pytest.mark.slow),
    ],
)
def test_a_sound_becomes_a_text(tmp_path, language, task, precision):
    """Until a token that ends it; what may not be written would have been."""
    model, tokenizer, extractor = made()
    features = extractor(sound()[0], sampling_rate=16000, return_tensors="pt").input_features
    given, rule = {"task": task, "language": language or None}, model.generation_config
    free = written(model, features, **given)
    assert written(model, -features, **given) != free
    rule.begin_suppress_tokens, rule.suppress_tokens = free[:1], free[1:2]
    allowed = written(model, features, **given)
    assert allowed[0] != free[0] and free[1] not in allowed
    rule.eos_token_id = allowed[3]
    want = [k for k in written(model, features, **given) if k != rule.eos_token_id]
    assert want == allowed[:3] and len({*allowed[:4]}) == 4
    for one in (model, tokenizer, extractor):
        one.save_pretrained(tmp_path / "folder")
    chosen = [f"pipeline.options.task={task}", f"pipeline.options.tokens={COUNT}"]
    chosen += [f"pipeline.options.language={language}"] if language else []
    built = compiled(tmp_path / "folder", tmp_path / "build", *chosen, precision=precision)
    got = run(built, {"sound": sound()}, "tokens")[0].tolist()
    spoken = rule.lang_to_id[f"<|{language}|>"] if language else model.detect_language(features)[0]
    assert got[:3] == [spoken, rule.task_to_id[task], rule.no_timestamps_token_id]
    assert got[3:] == [*want, rule.eos_token_id]
    file = tmp_path / "said.txt"
    entracte.run_build(built.folder, {"sound": sound()}, out={"text": file})
    assert file.read_text("utf-8") == tokenizer.decode(want, skip_special_tokens=True) + "\n"
