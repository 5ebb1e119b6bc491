"""Calls on a Ray cluster, with a Ray that runs them here; docs/sweeps.md has a real one."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from entracte.cli import sweep_ray
from entracte.cli.sweep_pool import Call
from entracte.errors import ConfigError, DoesNotFit
from tests.inspection.test_sweep_run import doubled, unfit


class Died(Exception):
    """As of a worker that was killed."""


class FakeRay(SimpleNamespace):
    """Runs what it is handed when it is waited for, the last one first."""

    def __init__(self) -> None:
        super().__init__(exceptions=SimpleNamespace(RayError=Died), most=0, told=[], cancelled=[])

    def init(self, **where) -> None:
        self.told.append(where)
        if where["address"] == "nowhere":
            raise ConnectionError("no such host\nmore")

    def cluster_resources(self):
        return {"CPU": 4.0}

    def remote(self, **how):
        self.told.append(how)
        self.handed = 0

        def hand(*arguments):
            self.handed += 1
            return (self.handed, arguments)

        return lambda work: SimpleNamespace(remote=lambda *a: hand(work, *a))

    def wait(self, handed, num_returns):
        self.most = max(self.most, len(handed))
        return [handed[-1]], handed[:-1]

    def get(self, ready):
        work, *arguments = ready[1]
        if arguments[2] is killed:
            raise Died("the worker died\nunexpectedly")
        return work(*arguments)

    def cancel(self, handed, force):
        self.cancelled.append(handed)

    def shutdown(self) -> None:
        self.told.append("shutdown")


def killed() -> None:
    """Stands for one that is killed."""


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def call(number: int, function, *arguments, place="", folder=None) -> Call:
    return Call(number, place or str(number), function, arguments, folder)


def test_calls_are_answered_whatever_becomes_of_them(ray, tmp_path):
    gone = call(3, doubled, 1, folder=tmp_path)
    calls = [call(0, doubled, 21), call(1, unfit), call(2, killed), gone]
    began = []
    found = sweep_ray.run_on_ray(calls, "local", 2, 3, began.append)
    answers = {c.number: a for c, a in found}
    assert answers[0].value == 42 and answers[0].said == "said 21\n"
    assert isinstance(answers[1].error, DoesNotFit)
    assert str(answers[2].error) == "the job's worker died: the worker died unexpectedly"
    assert "let `out` be a folder that all machines of the cluster share" in str(answers[3].error)
    assert [c.number for c in began] == [0, 1, 2, 3] and ray.most == 2
    assert ray.told[0]["num_cpus"] == 6 and ray.told[1]["num_cpus"] == 3
    assert ray.told[-1] == "shutdown"


def test_as_many_as_the_cluster_takes_and_never_two_in_one_place(ray):
    calls = [call(n, doubled, n, place=p) for n, p in enumerate("abcab")]
    assert len(list(sweep_ray.run_on_ray(calls, "auto", None, 2))) == 5
    assert ray.most == 2  # of 4 cores
    calls = [call(n, doubled, n, place="same") for n in range(3)]
    ray.most = 0
    assert len(list(sweep_ray.run_on_ray(calls, "auto", None, 1))) == 3 and ray.most == 1


def test_whoever_stops_ends_those_that_run(ray):
    found = sweep_ray.run_on_ray([call(n, doubled, n) for n in range(3)], "auto", 3, 1)
    next(found)
    found.close()
    assert len(ray.cancelled) == 2 and ray.told[-1] == "shutdown"


def test_workers_that_are_not_alike_are_told(monkeypatch, tmp_path):
    handed = (str(tmp_path), "0.0", doubled, (1,))
    assert "a worker has Entracte" in sweep_ray._work(*handed)[1]
    monkeypatch.chdir(Path.cwd())
    told = sweep_ray._work(str(tmp_path / "none"), sweep_ray.VERSION, doubled, (1,))[1]
    assert "a worker has no such folder (No such file or directory)" in told


def test_without_ray_or_a_cluster_it_is_said_what_to_do(ray, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"sweep.ray=nowhere: no cluster is there \(no such host\)"
    ):
        list(sweep_ray.run_on_ray([], "nowhere", 1, 1))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install entracte\[ray\]"):
        list(sweep_ray.run_on_ray([], "local", 1, 1))
