"""How many jobs of a sweep this machine takes at once: by its cores, and by its free memory."""

import contextlib
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_SPARE = 10
"""One part in so many of the free memory stays free: other programs run too."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What jobs share."""

    cores: int
    free_bytes: int
    """What new processes may take before the system has to swap, or to kill."""


def jobs_at_once(machine: Machine, need_bytes: int, processes: int = 1) -> int:
    """How many jobs fit, at least one.

    Args:
        need_bytes: what one of them takes at its peak, its own processes included.
        processes: that one keeps busy.
    """
    by_cores = machine.cores // max(1, processes)
    by_memory = machine.free_bytes * (_SPARE - 1) // _SPARE // max(1, need_bytes)
    return max(1, min(by_cores, by_memory))


def this_machine() -> Machine:
    """Its cores that this process may use, and its free memory, a container's limit included.

    Where the system does not tell what is free (macOS), half of all memory counts as free.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    all_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known = [b for b in (available_bytes(_MEMINFO), left_bytes(_CGROUP)) if b is not None]
    return Machine(cores, min(known, default=all_bytes // 2))


def available_bytes(meminfo: Path) -> int | None:
    """Linux's own estimate of what can be taken; None where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def left_bytes(cgroup: Path) -> int | None:
    """What a container's limit (cgroup v2) leaves; file pages that are not in use can go."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit = int((cgroup / "memory.max").read_text())  # "max": no number, no limit
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        stat = dict(line.split(" ", 1) for line in lines)
        return max(0, limit - used + int(stat["inactive_file"]))
    return None


def taken_bytes(processes: int) -> int:
    """The most that this process held, and so many of its largest child."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return unit * (own + processes * child)
