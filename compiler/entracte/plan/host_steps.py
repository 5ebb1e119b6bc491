"""A plan's host steps against the table of host operations, and the files that they name."""

from collections.abc import Iterator, Mapping

from entracte.declare.host_ops import HOST_OPS, TENSOR, HostOp, Reads
from entracte.errors import PlanError
from entracte.ir import HostStep, Input, Plan, Port, TensorDecl


def check_host_steps(plan: Plan) -> None:
    """Each names a row of the table, with its params, inputs and ports, and files of the plan.
    Raises `PlanError`."""
    decls = {t.name: t for t in plan.program.tensors}
    given = {i.name: i for i in plan.program.inputs}
    files = {path for path, _ in plan.files}
    for step in _steps(plan):
        where = f"plan: stage {step.stage}"
        op = HOST_OPS.get(step.op)
        if op is None:
            raise PlanError(f"{where}: the host step {step.op!r} is none of {', '.join(HOST_OPS)}")
        params = dict(step.params)
        if len(params) != len(step.params):
            raise PlanError(f"{where}: a param of {op.name} is given twice")
        if fault := op.fault(params, [name for name, _ in step.inputs]):
            raise PlanError(f"{where}: {fault}")
        tensors = _inputs(step, op, given, decls, where)
        if fault := op.wired_fault(params, tensors):
            raise PlanError(f"{where}: {fault}")
        _check_ports(step, op.ports(params, tensors), decls, where)
        missing = sorted({str(params[name]) for name in op.files} - files)
        if plan.built and missing:
            raise PlanError(f"{where}: {op.name} needs {missing[0]}, which is no file of the plan")
    _check_texts(plan, files)


def exact_bytes(plan: Plan) -> dict[str, int]:
    """File -> its size, of the files whose size follows from a step's params."""
    found: dict[str, int] = {}
    for step in _steps(plan):
        op, params = HOST_OPS[step.op], dict(step.params)
        size = op.file_bytes(params)
        if size is not None:
            found |= {str(params[name]): size for name in op.files}
    return found


def _steps(plan: Plan) -> Iterator[HostStep]:
    return (s for g in plan.program.segments for s in g.steps if isinstance(s, HostStep))


def _check_texts(plan: Plan, files: set[str]) -> None:
    """What turns tokens into a text is in the build folder."""
    for output in plan.program.outputs:
        if plan.built and output.kind == "text" and output.tokenizer not in files:
            raise PlanError(
                f"plan: output {output.name} needs {output.tokenizer!r}, which is no file of the "
                "plan"
            )


def _inputs(
    step: HostStep,
    op: HostOp,
    given: Mapping[str, Input],
    decls: Mapping[str, TensorDecl],
    where: str,
) -> dict[str, Port]:
    """The tensors that a step reads, by input."""
    rows = {reads.name: reads for reads in op.inputs}
    tensors = {}
    for name, value in step.inputs:
        reads, place = rows[name], f"{where}: {name} reads {value!r}"
        if reads.kind == TENSOR:
            tensors[name] = _tensor(value, decls, place)
        else:
            _check_given(reads, value, given, place)
    return tensors


def _tensor(value: str, decls: Mapping[str, TensorDecl], place: str) -> Port:
    decl = decls.get(value)
    if decl is None or decl.slots != 1 or decl.streamed:
        what = "no tensor" if decl is None else "a tensor in pieces"
        raise PlanError(f"{place}, {what}; a host step reads whole tensors")
    return decl.port


def _check_given(reads: Reads, value: str, given: Mapping[str, Input], place: str) -> None:
    if value not in given:
        raise PlanError(
            f"{place}; here a host step reads inputs of the plan: "
            f"{', '.join(given) or 'it has none'}"
        )
    if given[value].kind != reads.kind:
        raise PlanError(f"{place}, which is a {given[value].kind}")


def _check_ports(
    step: HostStep, given: tuple[Port, ...], decls: Mapping[str, TensorDecl], where: str
) -> None:
    ports = {p.name: p for p in given}
    for binding in step.outputs:
        port, tensor = ports.get(binding.feature), decls[binding.tensor].port
        if port is None:
            raise PlanError(f"{where}: {step.op} gives {', '.join(ports)}, not {binding.feature!r}")
        if (port.shape, port.dtype) != (tensor.shape, tensor.dtype):
            raise PlanError(
                f"{where}: {step.op} gives {port.name} as {port.dtype} {port.shape}, tensor "
                f"{binding.tensor} is {tensor.dtype} {tensor.shape}"
            )
