"""`plan fits` as a function: words of a compile, or a build folder, and names of targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.calibrate.derived import calibrated
from entracte.declare.overrides import choices
from entracte.declare.profiles import ALL, profiles
from entracte.declare.read import refuse_undecided
from entracte.errors import ConfigError
from entracte.fits.found import Fit, fits_of_job, fits_of_plan, ranked
from entracte.graphs.checks import similar
from entracte.ir import Plan
from entracte.plan.file import FILE, read_plan
from entracte.store.declared import read_job

if TYPE_CHECKING:
    from entracte.progress.reporter import Reporter

_TARGET = "target="


def fits_on(
    what: Path | str | Sequence[str],
    *,
    targets: str | None = None,
    limit: str | None = None,
    config_dir: Path | str | None = None,
    reporter: "Reporter | None" = None,
) -> tuple[Fit, ...]:
    """On which targets a pipeline or a build fits, and what is predicted there; nothing is run.

    Args:
        what: a build folder; or a pipeline's name; or the words of a compile, e.g.
            `["pipeline=on_device_sora", "compression=int8"]`.
        targets: names with commas between, or `all`, the default: every device.
        limit: which limit in memory holds, where a target has it; `all`: each that it has.
        config_dir: a folder of yaml files of your own.
        reporter: told what is looked at.

    Returns a row for each target and limit, what fits first, by time. Raises `ConfigError`, and
    `PlanError` for a build.
    """
    words = [str(what)] if isinstance(what, Path | str) else list(what)
    if not words:
        raise ConfigError("plan fits: give a build folder, a pipeline's name or KEY=VALUE")
    folder = None if config_dir is None else Path(config_dir)
    plan = _plan(words)
    settings = [] if plan is not None else _settings(words, folder)
    chosen, others = _parted(settings, targets)
    asked = profiles(chosen, limit, others, folder, calibrated)
    if plan is not None:
        return ranked(fits_of_plan(plan, asked.profiles))
    job = read_job(asked.config)
    refuse_undecided(job, "plan fits")
    if reporter is None:
        return ranked(fits_of_job(job, asked.profiles))
    reporter.phase("fits", len(asked.profiles) + 1)
    reporter.start("trace")
    done = ["trace"]

    def begun(target: str) -> None:
        reporter.advance(done[-1])
        reporter.start(target)
        done.append(target)

    return ranked(fits_of_job(job, asked.profiles, begun))


# ---------------------------------------------------------------- words


def _plan(words: Sequence[str]) -> Plan | None:
    """That of the build folder which the first word names, if it names one: a folder of a sweep
    has `=` in its name. Raises `PlanError`, and `ConfigError` for settings beside it."""
    first = Path(words[0])
    if not (first.is_file() or (first / FILE).is_file()):
        return None
    if len(words) > 1:
        raise ConfigError(
            f"{words[1]}: {first} is a build, whose settings were chosen when it was compiled; "
            "leave it out, or give a pipeline's name in place of the build"
        )
    return read_plan(first)


def _settings(words: Sequence[str], config_dir: Path | None) -> list[str]:
    """With `pipeline=` before a name that stands alone. Raises `ConfigError`."""
    known = choices([] if config_dir is None else [config_dir])["pipeline"]
    for word in words:
        if "=" not in word and word not in known:
            raise ConfigError(
                f"{word}: no build folder is there, and no pipeline has this name; there are "
                f"{', '.join(known)}{similar(word, known)}"
            )
    return [word if "=" in word else f"pipeline={word}" for word in words]


def _parted(words: Sequence[str], targets: str | None) -> tuple[str, list[str]]:
    """The targets' names, and all other words. Raises `ConfigError` where both name targets."""
    plain = [word.lstrip("+") for word in words]
    named = [word[len(_TARGET) :] for word in plain if word.startswith(_TARGET)]
    if named and targets is not None:
        raise ConfigError(f"--targets {targets}: target={named[0]} is given too; leave one out")
    others = [word for word in words if not word.lstrip("+").startswith(_TARGET)]
    return targets or ",".join(named) or ALL, others
