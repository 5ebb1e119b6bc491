"""Jobs of a sweep on the machines of a Ray cluster: what `sweep_pool` does with processes of this
machine, with workers of several. All must have the same Entracte, and see the same folders."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from entracte.cli.faults import fault_of
from entracte.cli.sweep_pool import Answer, Call, next_call, sendable
from entracte.errors import ConfigError, DoesNotFit, EntracteError
from entracte.plan.file import FILE
from entracte.store.origin import VERSION

LOCAL = "local"
"""A cluster of this machine alone, started for the sweep."""
_Sent = tuple[Any, str | None, bool, str]
"""Value, error, whether that is one of what does not fit, and all that was printed."""


def run_on_ray(
    calls: list[Call],
    address: str,
    at_once: int | None,
    processes: int,
    began: Callable[[Call], None] = lambda _: None,
) -> Iterator[tuple[Call, Answer]]:
    """Run the calls on a cluster's workers; each with its answer, as they end.

    Args:
        calls: those that have not begun; taken from the list as they begin.
        address: of the cluster, as `ray.init` takes it; `local` starts one here.
        at_once: how many run at once; None for as many as the cluster's cores take.
        processes: that one keeps busy: cores that Ray sets aside for it.
        began: told of each call as it is handed to the cluster.

    A worker that is killed is one failed call. Whoever stops iterating ends those that run. Raises
    `ConfigError` where there is no Ray, or no such cluster.
    """
    ray = _connected(address, at_once, processes)
    running: dict[Any, Call] = {}
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        most = at_once or max(1, cores // processes)
        # Nobody starts it again: a job that died of its memory would die again.
        work = ray.remote(num_cpus=processes, max_retries=0)(_work)
        while True:
            while len(running) < most and (call := next_call(calls, running.values())):
                began(call)
                handed = (str(Path.cwd()), VERSION, call.function, call.arguments)
                running[work.remote(*handed)] = call
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            yield (call := running.pop(ready)), _answer(ray, ready, call)
    finally:
        for left in running:
            ray.cancel(left, force=True)
        ray.shutdown()


def _connected(address: str, at_once: int | None, processes: int) -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError(
            f"sweep.ray={address}: Ray is missing; install it with `pip install entracte[ray]`, or "
            "leave it out: sweep.jobs=auto uses this machine"
        ) from None
    cores = None if at_once is None else at_once * processes
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        where = {"address": LOCAL, "num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # noqa: BLE001 - Ray's own are of several kinds
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"sweep.ray={address}: no cluster is there ({told}); give `local`, `auto` or an "
            "address like ray://head:10001"
        ) from None
    return ray


def _work(folder: str, version: str, function: Callable[..., Any], arguments: Any) -> _Sent:
    """On a worker: the call, in the folder in which the sweep was typed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if version != VERSION:
                raise EntracteError(f"a worker has Entracte {VERSION}, and the sweep {version}")
            _enter(folder)
            answer = Answer(function(*arguments))
        except Exception as error:  # noqa: BLE001 - the sweep must hear of it, whatever it is
            answer = Answer(error=fault_of(error))
    return (*sendable(answer), said.getvalue())


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise EntracteError(
            f"{folder}: a worker has no such folder ({error.strerror}); run the sweep in one that "
            "all machines of the cluster share"
        ) from None


def _answer(ray: Any, ready: Any, call: Call) -> Answer:
    try:
        value, text, unfit, said = ray.get(ready)
    except ray.exceptions.RayError as error:
        told = " ".join(str(error).split())[:600]
        return Answer(error=EntracteError(f"the job's worker died: {told}"))
    if text is not None:
        return Answer(error=DoesNotFit(text) if unfit else EntracteError(text), said=said)
    if call.folder is not None and not (call.folder / FILE).is_file():
        return Answer(
            error=EntracteError(
                f"{call.folder}: a worker wrote its plan there, and it cannot be seen here; let "
                "`out` be a folder that all machines of the cluster share"
            ),
            said=said,
        )
    return Answer(value, said=said)
