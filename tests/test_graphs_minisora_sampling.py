"""Samplers of DiT and SiT: upstream's own schedules and trajectories."""

import json

import numpy as np
import pytest
import torch

from entracte.graphs import Graph, GraphFault, Input, on_meta
from entracte.graphs.minisora import ddpm, transport
from entracte.graphs.models import build_model
from entracte.graphs.recipes.parts_minisora import GUIDED
from tests.upstream import case, loaded

TOLERANCE = {"dit_ddpm": 1e-4, "sit_transport": 1e-5}
"""As the cases' descriptions say; a schedule is exact in fp64."""
EXACT = 1e-12


def guided_rows(rows, scale):
    """Upstream's rows [with, without]: both halves get the guided first channels."""
    given, without = rows[:, :GUIDED].chunk(2)
    first = without + scale * (given - without)
    return torch.cat([torch.cat([first, first]), rows[:, GUIDED:]], 1)


def steps_of(graph, table, z, model, noise):
    """States after each evaluation, and what was remembered."""
    names, history, states = [i.name for i in graph.inputs], torch.zeros_like(z), []
    for k, (time, parts) in enumerate(zip(table["time"], table["parts"], strict=True)):
        given = {"z": z, "output": model(z, float(time)), "history": history,
                 "parts": torch.tensor(parts)[None]}  # fmt: skip
        given |= {"noise": noise[k]} if noise else {}
        found = graph.module(*(given[name] for name in names))
        z, *rest = found if isinstance(found, tuple) else (found,)
        history = rest[0] if rest else history
        states.append(z)
    return torch.stack(states)


def ddpm_states(config, respacing, z, model, noise):
    table = ddpm.table(config, respacing).arrays
    states = steps_of(ddpm.step(config, tuple(z.shape)), table, z, model, list(noise))
    return table["time"].tolist(), states


# ---------------------------------------------------------------- DDPM


@pytest.mark.parametrize("steps", [5, 10, 250])
def test_a_schedule_is_upstream_s(steps):
    want = case("dit_ddpm").outputs(f"s{steps}")
    made = ddpm.spaced("linear", 1000, str(steps))
    assert made.timesteps.tolist() == want.pop("timestep_map").tolist()
    assert len(want) == 6
    for name, values in want.items():
        assert np.abs(getattr(made, name) - values.numpy()).max() <= EXACT * values.abs().max()


def toy_ddpm(about, y):
    weights, scale = about.weights, about.config["cfg_scale"]
    w, e = weights["toy.W"], weights["toy.E"]

    def model(z, t):
        x = torch.cat([z[: len(z) // 2]] * 2)
        o = torch.einsum("bchw,cd->bdhw", x, w) * (1 + 0.02 * t / 1000) + e[y][:, :, None, None]
        return guided_rows(torch.cat([o[:, :4], o[:, 4:].tanh()], 1), scale)

    return model


@torch.no_grad()
@pytest.mark.parametrize(("method", "output"), [("ddpm", "x"), ("ddim", "ddim_x")])
def test_a_trajectory_is_upstream_s(method, output):
    about = case("dit_ddpm")
    given, want = about.inputs("traj"), about.outputs("traj")
    config = json.dumps({"learn_sigma": True, "sampling_method": method})
    time, states = ddpm_states(
        config, about.config["steps"], given["z"], toy_ddpm(about, given["y"]), given["noise"]
    )
    assert time == want["model_timesteps"].tolist()
    about.check(states, want[output], TOLERANCE["dit_ddpm"])


@torch.no_grad()
def test_dit_samples_as_upstream(tmp_path):
    about = case("dit_sampling_a")
    given, want = about.inputs("run"), about.outputs("run")
    batch, shape = 2 * len(given["z"]), (2 * len(given["z"]), *given["z"].shape[1:])
    y = torch.cat([given["y"], torch.full_like(given["y"], about.config["model"]["num_classes"])])
    ports = (Input("x", shape), Input("t", (batch,)), Input("y", (batch,), "int"))
    module = on_meta(lambda: build_model("DiT", about.config["model"]))
    net = loaded(
        Graph(module, ports, ("out",), "transformer", owns=("",)),
        about.save(tmp_path / "files", "transformer"), tmp_path,
    )  # fmt: skip
    made = []

    def model(z, t):
        rows = net(torch.cat([z[: batch // 2]] * 2), torch.full((batch,), t), y)
        made.append(guided_rows(rows, about.config["cfg_scale"]))
        return made[-1]

    z = torch.cat([given["z"]] * 2)
    time, states = ddpm_states("{}", about.config["steps"], z, model, given["noise"])
    assert time == want["timesteps"].tolist()
    about.check(torch.stack(made), want["model_out"])
    about.check(states, want["x"])
    about.check(states[-1, : batch // 2], want["result"])


def test_respacing():
    assert ddpm.kept_steps(10, "ddim5") == [0, 2, 4, 6, 8]
    assert ddpm.kept_steps(9, "2,1,3") == [0, 2, 3, 6, 7, 8]
    assert ddpm.kept_steps(3, "") == [0, 1, 2]
    for respacing, words in [
        ("ddim7", "no whole stride"),
        ("11", "of 10 steps"),
        ("x", "give 250"),
    ]:
        with pytest.raises(GraphFault, match=words):
            ddpm.kept_steps(10, respacing)


# ---------------------------------------------------------------- SiT


def toy_transport(about):
    weights, scale = about.weights, about.config["cfg_scale"]
    w, e, y = weights["toy.W"], weights["toy.E"], about.tensors["inputs.y"]

    def model(z, t):
        x = torch.cat([z[: len(z) // 2]] * 2)
        o = torch.einsum("bchw,cd->bdhw", x, w) * (1 + t) + e[y][:, :, None, None]
        return guided_rows(o - 0.2 * x**3 / (1 + x**2), scale)

    return model


def settings_of(run):
    """Upstream's arguments of a run, by the names that our configuration has for them."""
    is_sde = run["run"].startswith("sde")
    method = run["method"].lower()
    found = {"path_type": run["path"], "sampling_method": f"sde_{method}" if is_sde else method}
    found |= {k: run[k] for k in ("diffusion_form", "last_step", "last_step_size") if k in run}
    return json.dumps(found)


RUNS = {run["run"]: run for run in case("sit_transport").about["runs"]}
FINITE = [name for name, run in RUNS.items() if "failed" not in run and "dopri5" not in name]


@torch.no_grad()
@pytest.mark.parametrize("name", FINITE)
def test_a_path_is_followed_as_upstream(name):
    about, run = case("sit_transport"), RUNS[name]
    z, want = about.tensors["inputs.z"], about.outputs(name)["xs"]
    config, points = settings_of(run), run["num_steps"]
    plan, is_heun = transport.plan_of(config, points), "eun" in run["method"]
    drawn = list(about.inputs(name).get("noise", []))
    if is_heun and drawn:
        # Ours adds the noise of a step's begin in the step before, and is asked for some that it
        # multiplies by 0.
        z = transport.start(config, points, tuple(z.shape)).module(z, drawn[0])
        drawn = [n for one in [*drawn[1:], drawn[0] * 0] for n in (torch.ones_like(z), one)]
    drawn += [torch.ones_like(z)] * (plan.evaluations - len(drawn)) if drawn else []
    step = transport.step(config, points, tuple(z.shape))
    states = steps_of(step, transport.table(config, points).arrays, z, toy_transport(about), drawn)
    # Upstream calls the model twice with the same input where it wants drift and score.
    times = run["model_times"][:: 2 if drawn else 1]
    assert np.abs(plan.time - np.array(times)).max() < 1e-6
    if is_heun and drawn:
        # Without the noise of the next step.
        for k in range(1, 2 * (points - 1), 2):
            states[k] -= drawn[k] * float(plan.parts[k, 0, transport.NOISE])
    ends = [k for k in range(plan.evaluations) if not is_heun or k % 2 or k == 2 * (points - 1)]
    after = states[ends] if drawn else torch.cat([z[None], states[ends]])
    about.check(after, want, TOLERANCE["sit_transport"])


def test_where_a_path_is_not_finite_it_is_refused():
    run = next(run for run in RUNS.values() if "failed" in run)
    given = {"sampling_method": "sde_euler", "diffusion_form": "SBDM"}
    assert "SBDM" in run["run"]
    with pytest.raises(GraphFault, match="another diffusion_form"):
        transport.plan_of(json.dumps(given), 6)
    for more in ({"path_type": "VP"}, {"prediction": "score"}, {"diffusion_form": "linear"}):
        assert transport.plan_of(json.dumps(given | more), 6).evaluations == 6


def test_without_a_last_step_the_last_point_is_the_end():
    given = {"sampling_method": "sde_euler", "last_step": None, "last_step_size": 0.2}
    plan = transport.plan_of(json.dumps(given), 5)
    assert plan.time.tolist() == [0, 0.25, 0.5, 0.75]
    with pytest.raises(GraphFault, match="last_step none: not finite"):
        transport.plan_of(json.dumps(given | {"sampling_method": "sde_heun"}), 5)


def test_what_depends_on_data_is_refused():
    with pytest.raises(GraphFault, match="dopri5: how many steps .* give euler or heun"):
        transport.plan_of(json.dumps({"sampling_method": "dopri5"}), 5)


@pytest.mark.parametrize("path", ["Linear", "GVP", "VP"])
@pytest.mark.parametrize("prediction", ["velocity", "score", "noise"])
@pytest.mark.parametrize("method", ["euler", "heun", "sde_euler", "sde_heun"])
def test_one_picture_is_found_along_every_path(path, prediction, method):
    """Of data that are one point, what the model would say is known: the flow ends there, wherever
    it begins; the stochastic equation too, where Tweedie's last step says what is expected."""
    point, points = torch.full((1, 1, 1, 1), 0.7), 60
    given = {"path_type": path, "prediction": prediction, "sampling_method": method,
             "last_step": "Tweedie"}  # fmt: skip
    config = json.dumps(given)
    plan, step = transport.plan_of(config, points), transport.step(config, points, (1, 1, 1, 1))

    def model(z, t):
        at = transport.Point(path, "velocity", min(t, 0.99))
        (alpha, grows), (sigma, falls) = at.alpha, at.sigma
        noise = (z - alpha * point) / max(sigma, 1e-6)
        return {"velocity": grows * point + falls * noise, "score": -noise / max(sigma, 1e-6),
                "noise": noise}[prediction]  # fmt: skip

    draw = torch.Generator().manual_seed(3)
    noise = [torch.randn(1, 1, 1, 1, generator=draw) for _ in plan.time] if plan.has_noise else []
    table = transport.table(config, points).arrays
    made = steps_of(step, table, torch.full_like(point, -1.3), model, noise)[-1]
    assert abs(float(made) - 0.7) < 0.12
