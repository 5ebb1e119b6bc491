"""Every value that is read is one that somebody makes, and may be read there."""

from entracte.declare.host_ops import HOST_OPS, TENSOR
from entracte.declare.words import check_allowed
from entracte.errors import ConfigError
from entracte.graphs.checks import similar
from entracte.ir import Collect, Loop, Pipeline, Stage, StageKind


def check_wiring(p: Pipeline) -> None:
    """By the producers' names; ports and shapes are known after tracing. Raises `ConfigError`."""
    names = {s.name for s in p.stages} | {loop.name for loop in p.loops}
    inputs = {i.name for i in p.inputs}
    clash = names & inputs
    if clash:
        raise ConfigError(f"pipeline: {sorted(clash)[0]!r} is both an input and a stage or loop")
    both = {s.name for s in p.stages} & {loop.name for loop in p.loops}
    if both:
        raise ConfigError(f"pipeline: {sorted(both)[0]!r} is both a stage and a loop")
    for stage in p.stages:
        _check_stage(p, stage, names, inputs)
    for loop in p.loops:
        _check_loop(p, loop, names, inputs)
    for output in p.outputs:
        where = f"pipeline.outputs.{output.name}.value"
        for value in output.values:
            _known_value(where, value, names, inputs)
            _check_outside(p, where, value, ())
            if value in inputs:
                raise ConfigError(
                    f"{where}: {value} is an input; name what a stage or a loop makes"
                )


def _check_stage(p: Pipeline, stage: Stage, names: set[str], inputs: set[str]) -> None:
    where = f"pipeline.stages.{stage.name}"
    loop = p.loop_of(stage.name)
    members = loop.stages if loop is not None else ()
    for port, value in stage.inputs:
        _known_value(f"{where}.inputs.{port}", value, names, inputs)
        _check_outside(p, f"{where}.inputs.{port}", value, members)
        _check_not_collected(loop, f"{where}.inputs.{port}", value)
    for name, first, _ in stage.map.carry if stage.map is not None else ():
        _known_value(f"{where}.map.carry.{name}", first, names, inputs)
        _check_outside(p, f"{where}.map.carry.{name}", first, members)
    if stage.map is not None and stage.map.carry and loop is not None:
        raise ConfigError(
            f"{where}.map.carry: {stage.name} is in the loop {loop.name}; a map that carries "
            "inside of a loop would be a loop inside of a loop, which is not possible: put it "
            "behind the loop"
        )
    if stage.map is not None and stage.kind is not StageKind.GRAPH:
        raise ConfigError(f"{where}.map: only a graph is mapped, {stage.name} is a {stage.kind}")
    if stage.at and (stage.kind is not StageKind.GRAPH or stage.map is not None):
        raise ConfigError(f"{where}.at: only a graph without a map may rest in some iterations")
    if stage.map is not None and stage.map.rests and (loop is None or stage.map.carry):
        raise ConfigError(
            f"{where}.map.rests: {stage.name} "
            f"{'is in no loop' if loop is None else 'carries from slice to slice'}, so no slice "
            "may rest; leave it out"
        )
    _check_reuse(p, stage)
    _check_functions(p, stage)
    _check_weights(p, stage)
    if stage.kind is StageKind.HOST:
        _check_host(p, stage, loop)


def _check_reuse(p: Pipeline, stage: Stage) -> None:
    if stage.reuse is None:
        return
    where = f"pipeline.stages.{stage.name}.reuse"
    if stage.kind is not StageKind.GRAPH:
        raise ConfigError(f"{where}: only a graph has blocks, {stage.name} is a {stage.kind}")
    if stage.at:
        raise ConfigError(
            f"{where}: {stage.name} rests as a whole already (`at`); leave one of them out"
        )
    beside = [s.name for s in p.stages if stage.name in (s.weights_of, s.name) and s.weights_of]
    if beside:
        raise ConfigError(
            f"{where}: {beside[0]} has the weights of another stage, and packages of both would be "
            "cut alike; leave `weights_of` out, or `reuse`"
        )


def _check_host(p: Pipeline, stage: Stage, loop: Loop | None) -> None:
    """It reads inputs of the kinds that its row says, or whole tensors."""
    where, op = f"pipeline.stages.{stage.name}", HOST_OPS[stage.op]
    kinds = {i.name: i.kind for i in p.inputs}
    pieces = {f"{loop.name}.{s.name}" for loop in p.loops for s in loop.scan}
    rows = {reads.name: reads for reads in op.inputs}
    for port, value in stage.inputs:
        kind, place = rows[port].kind, f"{where}.inputs.{port}"
        fits = sorted(name for name, given in kinds.items() if given == kind)
        if kind != TENSOR and kinds.get(value) != kind:
            raise ConfigError(
                f"{place}: {value} is no input of the kind {kind}; such are "
                f"{', '.join(fits) or 'none'}"
            )
        if kind == TENSOR and (value in pieces or kinds.get(value) in ("text", "seed")):
            raise ConfigError(
                f"{place}: {value} is no whole tensor, which {stage.op} reads; give what a stage "
                "makes or a loop carries"
            )
    if loop is None and op.in_loop(dict(stage.params)):
        raise ConfigError(
            f"{where}.params.stream: {stage.name} is in no loop, so there is one iteration; put it "
            "into a loop's stages, or say `once`"
        )


def _check_outside(p: Pipeline, where: str, value: str, members: tuple[str, ...]) -> None:
    """What a loop's stages make is gone after each iteration; its state and what it collects is
    left. `members`: stages of the loop that the reader is in."""
    owner, dot, name = value.partition(".")
    loop = p.loop_of(owner) if dot else None
    if loop is not None and owner not in members:
        left = [f"{loop.name}.{n}" for n, _, _ in loop.state]
        left += [f"{loop.name}.{c.name}" for c in loop.collect]
        raise ConfigError(
            f"{where}: {value} is made inside the loop {loop.name}; read its state or what it "
            f"collects instead: {', '.join(left) or 'it has neither'}"
        )
    behind = next((x for x in p.loops if x.name == owner), None) if dot else None
    if behind is not None and name in {s.name for s in behind.scan} and not members:
        raise ConfigError(
            f"{where}: {value} is a piece of what {behind.name} reads in an iteration; after it "
            "there is none"
        )


def _check_not_collected(loop: Loop | None, where: str, value: str) -> None:
    if loop is None:
        return
    for collect in loop.collect:
        if value == f"{loop.name}.{collect.name}":
            raise ConfigError(
                f"{where}: {value} is whole only after the loop; carry a state to read in it what "
                "earlier iterations made"
            )


def _check_functions(p: Pipeline, stage: Stage) -> None:
    where = f"pipeline.stages.{stage.name}.functions"
    if stage.functions and stage.kind is not StageKind.GRAPH:
        raise ConfigError(f"{where}: only a graph has variants, {stage.name} is a {stage.kind}")
    if stage.functions and p.loop_of(stage.name) is None:
        inside = ", ".join(n for loop in p.loops for n in loop.stages) or "none"
        raise ConfigError(
            f"{where}: {stage.name} is in no loop, so it has no first iterations; stages of "
            f"loops: {inside}"
        )


def _check_weights(p: Pipeline, stage: Stage) -> None:
    """Weights are of a stage that has its own, and two stages with the same are alike in how they
    are stored."""
    where = f"pipeline.stages.{stage.name}"
    if stage.weights and stage.kind is StageKind.HOST and not HOST_OPS[stage.op].files:
        raise ConfigError(f"{where}.weights: {stage.op} reads none; leave it out")
    if not stage.weights_of:
        return
    if stage.kind is not StageKind.GRAPH:
        raise ConfigError(
            f"{where}.weights_of: only a graph has weights, {stage.name} is a {stage.kind}"
        )
    graphs = {s.name: s for s in p.stages if s.kind is StageKind.GRAPH}
    check_allowed(f"{where}.weights_of", stage.weights_of, sorted(set(graphs) - {stage.name}))
    other = graphs[stage.weights_of]
    if other.weights_of:
        raise ConfigError(
            f"{where}.weights_of: {other.name} itself has weights of {other.weights_of}; name that"
        )
    if stage.weights:
        raise ConfigError(f"{where}.weights: they are those of {other.name}; leave one of them out")
    taken = ("main", *(name for name, _ in other.functions))
    if stage.name in taken:
        raise ConfigError(
            f"{where}.weights_of: in the packages of {other.name} the function {stage.name} would "
            f"stand beside {', '.join(taken)}; give the stage another name"
        )
    together = p.loop_of(stage.name) is not None and p.loop_of(stage.name) is p.loop_of(other.name)
    if together and stage.at != other.at:
        raise ConfigError(
            f"{where}.at: {stage.name} has the weights of {other.name} and is in its loop, so both "
            "run in the same iterations; give both the same"
        )
    for key in ("precision", "compression", "compute_unit"):
        own, its = (getattr(x, key) or "the target's" for x in (stage, other))
        if own != its:
            raise ConfigError(
                f"{where}.{key}: {own}, and {its} of {other.name}, whose weights it has; give both "
                "the same"
            )


# ---------------------------------------------------------------- loops


def _check_loop(p: Pipeline, loop: Loop, names: set[str], inputs: set[str]) -> None:
    where = f"pipeline.loops.{loop.name}"
    for member in loop.stages:
        check_allowed(f"{where}.stages", member, tuple(s.name for s in p.stages))
        other = next(x for x in p.loops if member in x.stages)
        if other is not loop:
            raise ConfigError(
                f"{where}.stages: {member} is in the loop {other.name} too; a loop inside of a "
                "loop is not possible: write the inner one's iterations as stages, or as a map"
            )
    for state, init, after in loop.state:
        _known_value(f"{where}.state.{state}", init, names, inputs)
        _check_outside(p, f"{where}.state.{state}", init, ())
        _known_value(f"{where}.state.{state}", after, names, inputs)
        _check_next(p, loop, f"{where}.state.{state}", after)
    for scan in loop.scan:
        _known_value(f"{where}.scan.{scan.name}", scan.value, names, inputs)
        _check_outside(p, f"{where}.scan.{scan.name}", scan.value, ())
    for collect in loop.collect:
        _check_collect(p, loop, f"{where}.collect.{collect.name}", collect)
    _check_until(p, where, loop)


def _check_next(p: Pipeline, loop: Loop, where: str, after: str) -> None:
    owner = after.partition(".")[0]
    if owner in loop.stages and p.stage(owner).at:
        raise ConfigError(
            f"{where}: {after} is made in some iterations only (`at`), and a state takes its next "
            "value in each"
        )


def _check_collect(p: Pipeline, loop: Loop, where: str, collect: Collect) -> None:
    owner = collect.value.partition(".")[0]
    if owner not in loop.stages or "." not in collect.value:
        raise ConfigError(
            f"{where}: {collect.value!r} is not made in the loop; write STAGE.PORT of "
            f"{', '.join(loop.stages)}"
        )
    stage = p.stage(owner)
    if stage.kind is not StageKind.GRAPH or stage.at:
        raise ConfigError(
            f"{where}: {collect.value} is not made by a graph in every iteration, which is what "
            "can be collected"
        )


def _check_until(p: Pipeline, where: str, loop: Loop) -> None:
    """An iteration decides by what it made itself."""
    if loop.until is None:
        return
    owner, dot, _ = loop.until.partition(".")
    if not dot or owner not in loop.stages:
        raise ConfigError(
            f"{where}.until: {loop.until!r} is not made in the loop; write STAGE.PORT of "
            f"{', '.join(loop.stages)}"
        )
    if p.stage(owner).at:
        raise ConfigError(
            f"{where}.until: {loop.until} is made in some iterations only (`at`), and each decides "
            "whether it is the last"
        )


def _known_value(where: str, value: str, names: set[str], inputs: set[str]) -> None:
    producer, dot, _ = value.partition(".")
    if (dot and producer in names) or (not dot and value in inputs):
        return
    if producer in names:
        raise ConfigError(f"{where}: {value} makes values by name; write {value}.PORT")
    if producer in inputs:
        raise ConfigError(f"{where}: {value}: {producer} is an input; write {producer} alone")
    raise ConfigError(
        f"{where}: nothing makes {value!r}{similar(producer, names | inputs)}; inputs: "
        f"{', '.join(sorted(inputs)) or 'none'}; stages and loops (write NAME.PORT): "
        f"{', '.join(sorted(names))}"
    )
