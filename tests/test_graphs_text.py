"""T5 with its residual stream divided by 64: the same features, and fp16 can carry it."""

import pytest
import torch

from entracte.graphs.opensora.text import RowsEncoder, TextEncoder, t5_v1_1_config
from tests.lower.execute import lower, psnr, run

SCALE = 64.0
TOKENS = 12


def config():
    return t5_v1_1_config(hidden=64, layers=3, heads=4, head=16, inner=128, vocabulary=100)


def pair(loudness: float = 1.0) -> tuple[TextEncoder, TextEncoder]:
    """A plain encoder and the cured one with the same published weights.

    `loudness` multiplies what the first block adds to the residual stream.
    """
    torch.manual_seed(0)
    plain = TextEncoder(config()).eval()
    with torch.no_grad():
        for name, value in plain.named_parameters():
            if name.endswith("relative_attention_bias.weight") or value.dim() == 1:
                continue
            value.copy_(torch.randn(value.shape) * value.shape[-1] ** -0.5)
        plain.model.encoder.block[0].layer[1].DenseReluDense.wo.weight.mul_(loudness)
    cured = TextEncoder(config(), SCALE).eval()
    state = plain.state_dict()
    for ending, factor in cured.residual_scales:
        state = {k: v * factor if k.endswith(ending) else v for k, v in state.items()}
    cured.load_state_dict(state)
    return plain, cured


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.zeros(1, TOKENS)
    mask[:, : TOKENS - 3] = 1
    return torch.randint(2, 100, (1, TOKENS), dtype=torch.int32), mask


def residual_peak(encoder: TextEncoder) -> float:
    """The largest magnitude in the residual stream."""
    peaks = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: peaks.append(float(out[0].abs().max())))
        for block in encoder.model.encoder.block
    ]
    with torch.no_grad():
        encoder(*inputs())
    for hook in hooks:
        hook.remove()
    return max(peaks)


def loud_pair() -> tuple[TextEncoder, TextEncoder]:
    """A pair whose plain residual stream reaches 8e4; fp16 ends at 65504."""
    return pair(8e4 / residual_peak(pair(1e3)[0]) * 1e3)


def test_features_equal_transformers():
    from transformers import T5EncoderModel

    plain, cured = pair()
    published = T5EncoderModel(config()).eval()
    published.load_state_dict(plain.model.state_dict())
    ids, mask = inputs()
    with torch.no_grad():
        expected = published(input_ids=ids, attention_mask=mask).last_hidden_state
        found = cured(ids, mask)
    # 64 is a power of two, so only the mask differs (-3e4 here, fp32's lowest there) and both are 0
    # after softmax; 1e-5 leaves room for another order of summation.
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= 1e-5


@pytest.mark.parametrize("loud", [False, True])
def test_division_changes_no_bit_in_fp32(loud):
    plain, cured = loud_pair() if loud else pair()
    with torch.no_grad():
        assert torch.equal(plain(*inputs()), cured(*inputs()))


def test_fp16_packages_need_the_division(tmp_path):
    """At residuals of 8e4 the converted plain module is useless and the cured one is not."""
    plain, cured = loud_pair()
    assert 7e4 < residual_peak(plain) < 9e4
    assert residual_peak(cured) < 9e4 / SCALE
    ids, mask = inputs()
    with torch.no_grad():
        expected = plain(ids, mask)
    results = {}
    for name, module in (("plain", plain), ("cured", cured)):
        path = tmp_path / f"{name}.mlpackage"
        lower(module, (ids, mask), path, precision="fp16", deployment="iOS18")
        (results[name],) = run(path, (ids, mask.half()))
    assert torch.isfinite(results["cured"]).all()
    # fp16 rounds each value by up to 2^-11, -66 dB; a dozen operations in a row leave 50 dB.
    assert psnr(results["cured"], expected) >= 50
    broken = not torch.isfinite(results["plain"]).all()
    assert broken or psnr(results["plain"], expected) < 20


def test_rows_of_the_checkpoints_table_give_what_its_tokens_give():
    """Rows are not divided yet: the table is the checkpoint's, which the plain encoder holds."""
    plain, cured = pair()
    ids, mask = inputs()
    rows = plain.model.shared.weight[ids.long()]
    with torch.no_grad():
        torch.testing.assert_close(RowsEncoder(cured)(rows, mask), cured(ids, mask))


def by_hand(weight: torch.Tensor) -> torch.Tensor:
    """Rounded to 127 steps of the largest magnitude of its output channel, to either side."""
    step = weight.abs().amax(1, keepdim=True) / 127
    return (weight / step).round() * step


@pytest.mark.slow
def test_an_encoder_in_int8_is_torch_with_weights_quantized_by_hand(tmp_path):
    """To rounding. That is not the plain one: how much is lost depends on the weights, of which
    these are random (docs/techniques.md has the demo's)."""
    plain, _ = pair()
    with torch.no_grad():
        right = plain(*inputs())
        path = tmp_path / "int8.mlpackage"
        facts = lower(plain, inputs(), path, "fp32", "iOS18", "int8")
        (made,) = run(path, inputs())
        large = [p for p in plain.parameters() if p.dim() == 2 and p.numel() >= 2048]
        for p in large:
            p.copy_(by_hand(p))
        wanted = plain(*inputs())
    assert facts.compressed_tensors == len(large)

    def off(found: torch.Tensor) -> float:
        return float((found - wanted).norm() / wanted.norm())

    assert off(torch.as_tensor(made)) < 1e-5
    assert off(right) > 1e-3
