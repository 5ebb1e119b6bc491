"""The dB of a job of a sweep: what it built, run from end to end beside its torch source."""

from typing import TYPE_CHECKING

from entracte.cli import sweep_known as shelf
from entracte.cli.console import console
from entracte.cli.sweep_job import Made, SweepJob
from entracte.cli.tables import say
from entracte.compile.job import Built
from entracte.errors import ConfigError
from entracte.inspect.compared import decibels

if TYPE_CHECKING:
    from entracte.verify.source import Origin


def origin_of(o: SweepJob) -> "Origin | None":
    """Where its torch source is, if it is to be verified: where its settings say, which are the
    user's own and no plan's."""
    if not o.verifies:
        return None
    from entracte.verify.source import Origin

    assert o.job is not None and o.config is not None
    p = o.job.pipeline
    return Origin(
        weights=p.weights or None,
        stage_weights=tuple((s.name, s.weights) for s in p.stages if s.weights),
        loras=tuple(lora.file for lora in p.loras),
        packages=tuple(o.config.allow_packages),
        cache=o.job.cache,
    )


def verified(built: Built, origin: "Origin | None") -> Made:
    """What was made; with its dB, where it is verified."""
    if origin is None:
        return shelf.made_of(built)
    from entracte.verify.folder import verify_build

    assert built.folder is not None, "a job of a sweep has a folder"
    found = verify_build(built.folder, origin=origin).whole
    judged = [] if found is None else [x.psnr_db for x in found.outputs if x.judged]
    if not judged:
        raise ConfigError("sweep.verify=true: no output is compared in dB; leave it out")
    say(console, f"{decibels(min(judged))} against the torch source, from end to end")
    return shelf.made_of(built, min(judged))
