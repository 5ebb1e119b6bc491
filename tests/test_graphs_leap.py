"""Leaps: the static table's last step, the adaptive rule against a plain statement of it."""

import numpy as np
import pytest
import torch

from entracte import graphs
from entracte.graphs.opensora.leap import GuidedEulerLeap, mean_cosine
from entracte.graphs.opensora.sampler import rflow_timesteps

STEPS = 30
SHAPE = (1, 4, 2, 6, 5)


# ---------------------------------------------------------------- static


def test_the_last_of_fewer_evaluations_covers_what_remains():
    plain, lengths = rflow_timesteps(STEPS, 68, 256, 256)
    some, leap = rflow_timesteps(STEPS, 68, 256, 256, evaluations=16)
    np.testing.assert_array_equal(some, plain[:16])
    np.testing.assert_array_equal(leap[:15], lengths[:15])
    assert leap[15] == plain[15] / 1000
    # 0.691 of the whole time: reference/on-device-sora.md section 1.3, with 20 latent frames.
    assert round(float(leap[15]), 3) == 0.691
    assert abs(leap.sum() - 1) < 1e-12  # 16 roundings of numbers below 1


def test_all_evaluations_are_the_plain_schedule():
    for some, plain in zip(
        rflow_timesteps(STEPS, 51, 240, 426, evaluations=STEPS),
        rflow_timesteps(STEPS, 51, 240, 426),
        strict=True,
    ):
        np.testing.assert_array_equal(some, plain)


@pytest.mark.parametrize("evaluations", [0, 31])
def test_evaluations_beyond_the_steps_are_refused(evaluations):
    with pytest.raises(ValueError, match=f"sampler.evaluations: {evaluations} of 30 steps; give 1"):
        rflow_timesteps(STEPS, 51, 240, 426, evaluations=evaluations)


# ---------------------------------------------------------------- adaptive


def plain_rule(cosines: list[float], tolerance: float, patience: int, minimum: int) -> int | None:
    """The step that leaps; `cosines[i]` compares the velocities of steps i and i - 1."""
    best, left = 0.0, patience
    for i in range(minimum, len(cosines)):
        if cosines[i] > best + tolerance:
            best, left = cosines[i], patience
        else:
            left -= 1
        if left == 0:
            return i
    return None


def plain_cosine(a: torch.Tensor, b: torch.Tensor, over: str) -> float:
    if over == "published_slice":
        return float(torch.cosine_similarity(a[0, 0, 0], b[0, 0, 0], dim=1).mean())
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def drive(module: GuidedEulerLeap, velocities: list[torch.Tensor], z: torch.Tensor):
    """(step that said done or None, z then, cosine records): the loop that a plan runs."""
    timesteps, lengths = rflow_timesteps(len(velocities), 68, 256, 256)
    cfg = {"all": (1, velocities[0].numel()), "published_slice": SHAPE[3:]}
    direction, record = torch.zeros(cfg[module.over]), torch.zeros(3)
    one = torch.ones(1)
    for i, v in enumerate(velocities):
        both = torch.cat((v, torch.randn(v.shape)))  # guidance 1 takes the conditional half alone
        z, direction, record, done = module(
            z, both, one * float(lengths[i]), one * float(timesteps[i]), one, direction, record
        )
        assert done.shape == (1,) and done.item() in (0.0, 1.0)
        if done.item():
            return i, z
    return None, z


def settling(seed: int, noise: float) -> list[torch.Tensor]:
    """Velocities that turn less and less, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    goal = torch.randn(SHAPE, generator=generator)
    return [goal + torch.randn(SHAPE, generator=generator) * (0.7**i + noise) for i in range(STEPS)]


@pytest.mark.parametrize("over", ["all", "published_slice"])
@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("minimum", [1, 14])
def test_random_trajectories_leap_where_the_plain_rule_does(over, patience, minimum):
    outcomes = set()
    for seed in range(12):
        velocities = settling(seed, noise=0.001 * 4 ** (seed % 4))
        tolerance = (1e-3, 1e-4)[seed % 2]
        cosines = [0.0] + [
            plain_cosine(a, b, over) for a, b in zip(velocities[1:], velocities, strict=False)
        ]
        expected = plain_rule(cosines, tolerance, patience, minimum)
        z = torch.zeros(SHAPE)
        found, end = drive(GuidedEulerLeap(4, over, tolerance, patience, minimum), velocities, z)
        assert found == expected
        outcomes.add(found)
        torch.testing.assert_close(end, plain_end(velocities, expected))
    assert len(outcomes) > 1


def plain_end(velocities: list[torch.Tensor], leap: int | None) -> torch.Tensor:
    """Equation 5: steps before the leap, then its velocity times the remaining time."""
    timesteps, lengths = rflow_timesteps(len(velocities), 68, 256, 256)
    last = len(velocities) if leap is None else leap
    z = sum((v * float(dt) for v, dt in zip(velocities[:last], lengths, strict=False)), 0.0)
    return z if leap is None else z + velocities[leap] * float(timesteps[leap] / 1000)


def turning(cosines: list[float]) -> list[torch.Tensor]:
    """Velocities whose successive cosines are given exactly: 1 (same), 0 (right angle), -1."""
    first, second = torch.zeros(SHAPE), torch.zeros(SHAPE)
    first[..., 0], second[..., 1] = 1.0, 1.0
    made = [first]
    for cosine in cosines:
        turned = second if made[-1][..., 0].any() else first
        made.append({1: made[-1], 0: turned, -1: -made[-1]}[cosine])
    return made


@pytest.mark.parametrize("over", ["all", "published_slice"])
@pytest.mark.parametrize(
    ("cosines", "patience", "minimum", "leap"),
    [
        ([1, 1, 1, 1, 1, 1], 3, 1, 4),  # step 1 improves on 0; 2, 3, 4 tie: a tie is no improvement
        ([1, 1, 1, 1, 1, 1], 3, 3, 6),  # the same, counted from the minimum
        ([1, 1, 1], 3, 1, None),  # one step short of the patience
        ([0, 0, 0, 1, 1, 1], 3, 1, 3),  # a right angle does not beat the initial 0
        ([0, 0, 1, 0, 0, 0], 3, 1, 6),  # an improvement at the last moment starts the count again
        ([-1, 1, -1, 1], 1, 2, 3),
    ],
)
def test_ties_at_patience_and_minimum(over, cosines, patience, minimum, leap):
    # Exact cosines, but for rsqrt's last bit: the tolerance is far above it.
    module = GuidedEulerLeap(4, over, 1e-3, patience, minimum)
    assert plain_rule([0.0, *cosines], 1e-3, patience, minimum) == leap
    assert drive(module, turning(cosines), torch.zeros(SHAPE))[0] == leap


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e30])
def test_cosines_survive_extreme_magnitudes(size):
    a, b = torch.randn(3, 50) * size, torch.randn(3, 50)
    expected = torch.cosine_similarity(a.double(), b.double(), dim=1).mean()
    # Fifty products summed in fp32: a few units of 2^-24.
    assert abs(float(mean_cosine(a, b)) - float(expected)) < 1e-6


def test_a_zero_velocity_has_cosine_zero():
    assert mean_cosine(torch.zeros(1, 8), torch.ones(1, 8)).item() == 0


def sizes(**more):
    return {"preset": "tiny", "frames": 16, "height": 64, "width": 64, "fps": 8, **more}


@pytest.mark.parametrize("over", ["all", "published_slice"])
def test_the_graphs_fit_together(over):
    rule = {"over": over, "tolerance": 1e-3, "patience": 3, "minimum": 14}
    step = graphs.build("opensora.guided_euler_leap", sizes(**rule))
    shapes = {i.name: i.shape for i in step.inputs}
    torch.manual_seed(0)
    example = tuple(torch.randn(i.shape) for i in step.inputs)
    program = torch.export.export(step.module, example, strict=False)
    results = program.module()(*example)
    names = dict(zip(step.outputs, results, strict=True))
    for state in ("z", "direction", "record"):
        assert names[f"{state}_next"].shape == shapes[state]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"over": "some"}, "params.over: 'some' is not one of all, published_slice"),
        ({"patience": 0}, "params.patience: 0 steps; at least 1"),
        ({"minimum": 0}, "params.minimum: 0; at least 1"),
        ({"tolerance": -1.0}, "params.tolerance: -1.0 is negative"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong, message):
    rule = {"over": "all", "tolerance": 1e-3, "patience": 3, "minimum": 14, **wrong}
    with pytest.raises(ValueError, match=message):
        graphs.build("opensora.guided_euler_leap", sizes(**rule))
