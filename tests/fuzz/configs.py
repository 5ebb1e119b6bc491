"""Configurations: overrides on the command line, and yaml files of a user's own."""

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz.base import CONF, compile_words
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import at, broken, mutated, places

VALUES = (
    "0", "1", "-1", "1.5", "1e400", "-1e-400", "nan", "inf", "-inf", "9223372036854775808",
    "99999999999999999999999999", "1" * 400, "null", "true", "False", "''", "' '", "x", "é",
    "日本語", "[]",
    "[1,2]", "[[1],[2]]", "{}", "{a:1}", "{a:{b:[1]}}", "[a,null]", "0KiB", "1B", "24MiB", "-24MiB",
    "1e3MiB", "99999999TiB", "1" * 330 + "TiB", "24 MiB", "24mib", "0x10", "1_000", "[red]",
    "[/red]",
    "'a,b'", "'${oc.env:HOME}'", "${oc.env:HOME}", "${oc.env:NO_SUCH}", "${nothing}", "${target}",
    "${pipeline.name}", "${out}", "${", "'${a'", "???", "'???'", "$x", "\\x", "..", "a/b", "main",
    "fp16", "fp32", "int8", "iOS15", "iOS99", "[main]", "1KiB,2KiB", "range(3)", "choice(1,2)",
    "glob(*)", "sort(1,2)", "int(x)", "float(1)", "str(1)", "'\n'", "'\t'", "\"q\"", "a=b", "'a=b'",
    "\u202e", "\ufeff1", "'\x00'", "'\x1b[31m'", "1" + "0" * 5000,
)  # fmt: skip
STRAY = (
    "traget", "target.foo", "pipeline.stages.nope", "pipeline.stages.denoise.nope", "hydra",
    "a.b.c",
    "pipeline.stages.denoise.functions.merged", "pipeline.inputs.new", "pipeline.loops.new",
    "é", "",
    "target.efficiency.matmul", "target.efficiency.nope", "pipeline.video.x", "sampler.leap.x", ".",
    "pipeline.stages.denoise.params.x", "pipeline.stages..x", "partition", "policy.x", "_target_",
)  # fmt: skip
SOUND = (
    "sampler.steps=1", "sampler.steps=7", "pipeline.stages.hint.precision=fp32",
    "pipeline.stages.text.compression=int8", "compression=none", "policy=online",
    "policy=optimal", "target.memory=1GB", "target.base_footprint=1MiB",
    "partition.chunk_bytes=1KiB", "partition.chunk_bytes=auto",
    "pipeline.video.fps=30", "pipeline.inputs.strength.default=1.5", "pipeline.title='日本語'",
    "pipeline.inputs.mode.choices=[fast,b,c]", "pipeline.inputs.picture.fit=stretch",
    "pipeline.stages.guide.at.every=3", "pipeline.stages.decode.map.count=1",
    "pipeline.stages.smooth.map.order=chunk", "pipeline.stages.smooth.map.order=slice",
    "pipeline.stages.sharpen.map.stride=[4,8]", "~pipeline.outputs.words",
    "~pipeline.outputs.track", "pipeline.outputs.video.value=decode.pixels", "verify=off",
    "pipeline.loops.sample.until=null",
)  # fmt: skip
"""What a user may well say."""
GROUPS = ("target", "pipeline", "policy", "sampler", "compression", "partition")
KEPT = ("out", "cache", "hydra", "cache_limit", "advise", "workers")
"""Where a user may write anywhere on purpose; tried with what stays inside."""
WORDS = (
    "", "=", "==", "x", "-x", "--nope", "--cfg", "+", "~", "++", "~target", "~pipeline.stages.text",
    "+target=host", "target=host", "++target=host", "+target=nope", "pipeline=nope",
    "pipeline=[a,b]",
    "policy@x=optimal", "+policy@target=optimal", "a=[", "a={", "a=}", "a='", 'a="', "a=$", "é=1",
    "target=1", "+target=1e3", "sampler.steps", "sampler.steps=", "~sampler.steps=4", "~nope",
    "workers=0", "workers=-1", "workers=1.5", "workers=9999999999", "cache_limit=0",
    "cache_limit=-1B",
    "cache_limit=x", "out=''", "out=.", "out=conf", "out=a/b/c/d", "cache=conf/pipeline/mine.yaml",
    "out=null", "advise=maybe", "dry_run=2", "hydra.verbose=true", "hydra.nope=1",
    "out=" + "a" * 300, "out='a\x00b'", "advise=true",
)  # fmt: skip


def doors(case: Case) -> Sequence[Door]:
    """A dry run of hostile settings, among sound ones; some of them are sound ones alone."""
    conf = case.folder / "conf"
    shutil.copytree(CONF, conf)
    words = case.rng.sample(SOUND, case.rng.choice((0, 1, 3)))
    is_sound = bool(words) and case.rng.random() < 0.4
    if not is_sound and case.rng.random() < 0.45:
        words += _own_files(case, conf)
    if not is_sound and (len(words) < 2 or case.rng.random() < 0.6):
        words += [_override(case) for _ in range(1 + min(int(case.rng.expovariate(1.2)), 4))]
    case.notes += words
    weights = case.base / "weights"
    if case.rng.random() < 0.05:
        words.append("-m")
    given = compile_words(weights, conf=conf)
    if "+target=mine" in words:
        given = tuple(word for word in given if word != "+target=host")
    return [Door((*given, *words, "dry_run=true"))]


def _own_files(case: Case, conf: Path) -> list[str]:
    """The pipeline, or a target, as a user's file, changed."""
    rng = case.rng
    group = rng.choice(("pipeline", "pipeline", "target"))
    file = conf / group / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    source = CONF / "pipeline" / "fuzz.yaml" if group == "pipeline" else _host()
    raw = source.read_bytes()
    if rng.random() < 0.2:
        file.write_bytes(broken(raw, rng, case.notes))
    else:
        body = mutated(yaml.safe_load(raw), rng, case.notes)
        text = yaml.safe_dump(body, allow_unicode=True, sort_keys=False)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return ["pipeline=mine" if group == "pipeline" else "+target=mine"]


def _host() -> Path:
    from importlib.resources import files

    return Path(str(files("entracte.conf") / "target" / "host.yaml"))


@cache
def _settings() -> Any:
    """The composed configuration, unresolved: every key that there is."""
    from omegaconf import OmegaConf

    from entracte.declare.compose import compose

    words = list(compile_words("random:0")[3:])
    return OmegaConf.to_container(compose(words, CONF), resolve=False)


def _override(case: Case) -> str:
    rng = case.rng
    if rng.random() < 0.15:
        return rng.choice(WORDS)
    settings = _settings()
    paths = [p for p in places(settings) if p and p[0] not in KEPT]
    path = rng.choice(paths)
    key = _key(path) if rng.random() < 0.85 else rng.choice(STRAY)
    sign = rng.choices(("", "+", "++", "~"), (80, 8, 6, 6))[0]
    if sign == "~" and rng.random() < 0.7:
        return f"~{key}"
    value = rng.choice(VALUES)
    if rng.random() < 0.15:
        value = _spelled(at(settings, rng.choice(paths)))
    return f"{sign}{key}={value}"


def _key(path: tuple[Any, ...]) -> str:
    return ".".join(str(p) for p in path)


def _spelled(value: Any) -> str:
    return str(value).replace(" ", "")
