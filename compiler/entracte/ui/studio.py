"""What the page asks for, without Gradio: one root, one job at a time, a history."""

from collections.abc import Mapping
from pathlib import Path

from entracte.disk.read import inside
from entracte.errors import ConfigError, RunError
from entracte.ir import Plan
from entracte.plan.file import read_plan
from entracte.ui.controls import Group, groups
from entracte.ui.history import Entry, History
from entracte.ui.jobs import RUNNING, Jobs, Status, Task, last_words
from entracte.ui.places import Root
from entracte.ui.tasks import (
    MOST_BYTES,
    accept,
    compile_task,
    fits_task,
    run_task,
    takes_files,
    usual_build_name,
)
from entracte.ui.words import Chosen, Words


class Studio:
    """Raises `EntracteError` for what cannot be: one message each.

    Args:
        root: the folder that is read and written.
        config_dir: of the user's own yaml files, as `compile --config-dir`.
    """

    def __init__(self, root: Path, config_dir: Path | None = None) -> None:
        self.root = Root.of(root)
        folder = None if config_dir is None else config_dir.expanduser().resolve()
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
        self.groups: tuple[Group, ...] = groups(() if folder is None else (folder,))
        self.words = Words(self.root, self.groups, folder)
        self.history = History(self.root.folder)
        self.jobs = Jobs(self.root.folder, self._ended)
        self.scratch: Path | None = None
        """Where files lie that were uploaded, before they are checked."""
        self._takes_files = False

    # ------------------------------------------------------------ to do

    def compile(self, chosen: Chosen, name: str, *, dry_run: bool) -> Task:
        """Begin a dry run or a build."""
        words = self.words.of(chosen)
        pipeline = next(g.chosen for g in self.groups if g.name == "pipeline")
        usual = usual_build_name(words, pipeline)
        task = compile_task(self.root, words, name.strip() or usual, dry_run=dry_run)
        self.jobs.start(task)
        return task

    def fits(self, chosen: Chosen) -> Task:
        """Begin to look on which devices it fits."""
        pipeline = next(g.chosen for g in self.groups if g.name == "pipeline")
        task = fits_task(self.words.of(chosen), pipeline)
        self.jobs.start(task)
        return task

    def run(self, build: str, given: Mapping[str, str], device: str = "auto") -> Task:
        """Begin a run of a build."""
        task = run_task(self.root, build, self.plan(build), given, device)
        self.jobs.start(task)
        return task

    def _ended(self, status: Status) -> None:
        said = last_words(status) if status.state != "done" else ""
        task = status.task
        self.history.add(
            Entry(task.kind, task.line, task.place, status.state, status.began,
                  round(status.seconds, 3), said, task.of)
        )  # fmt: skip

    # ------------------------------------------------------------ to look at

    @property
    def is_busy(self) -> bool:
        """Whether a job runs."""
        status = self.jobs.status()
        return status is not None and status.state == RUNNING

    def plan(self, build: str) -> Plan:
        """The plan of a folder in the root."""
        return read_plan(self.root.build(build))

    def builds(self) -> list[str]:
        """Folders that can be run: not dry runs."""
        return [
            name for name in self.root.plans() if (self.root.folder / name / "packages").is_dir()
        ]

    def things(self) -> list[str]:
        """All that can be compared: plans and builds, then runs that are done; newest first."""
        runs = [e.place for e in self.history.entries() if e.kind == "run" and e.state == "done"]
        return [*self.root.plans(), *reversed(runs)]

    # ------------------------------------------------------------ files that are given

    def choose(self, plan: Plan) -> None:
        """A plan whose inputs a page asks for: from the first that has one of a file on, files are
        taken."""
        self._takes_files |= bool(takes_files(plan))

    def uploads(self) -> int:
        """Of how many bytes a file may be, with what belongs to its request; 0: none is taken."""
        return MOST_BYTES + 2**16 if self._takes_files else 0

    def accept(self, build: str, name: str, file: str) -> str:
        """An uploaded file, checked and copied; its name in the root."""
        found = None if self.scratch is None else inside(self.scratch, file)
        if found is None:
            raise RunError(f"input {name[:60]!r}: no file was uploaded; choose one again")
        return accept(self.root, self.plan(build), name, found)
