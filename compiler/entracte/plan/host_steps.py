"""A plan's host steps against the table of host operations, and the files that they name."""

from entracte.declare.host_ops import HOST_OPS, HostOp
from entracte.errors import PlanError
from entracte.ir import HostStep, Plan, Port


def check_host_steps(plan: Plan) -> None:
    """Each names a row of the table, with its params, inputs and ports, and files of the plan.
    Raises `PlanError`."""
    steps = [s for g in plan.program.segments for s in g.steps if isinstance(s, HostStep)]
    tensors = {t.name: t.port for t in plan.program.tensors}
    given = {i.name: i.kind for i in plan.program.inputs}
    files = {path for path, _ in plan.files}
    for step in steps:
        where = f"plan: stage {step.stage}"
        op = HOST_OPS.get(step.op)
        if op is None:
            raise PlanError(f"{where}: the host step {step.op!r} is none of {', '.join(HOST_OPS)}")
        params = dict(step.params)
        if len(params) != len(step.params):
            raise PlanError(f"{where}: a param of {op.name} is given twice")
        if fault := op.fault(params, [name for name, _ in step.inputs]):
            raise PlanError(f"{where}: {fault}")
        _check_inputs(step, given, where)
        _check_ports(step, op, tensors, where)
        missing = sorted({file for _, file in op.files(params, "random:0")} - files)
        if plan.built and missing:
            raise PlanError(f"{where}: {op.name} needs {missing[0]}, which is no file of the plan")


def _check_inputs(step: HostStep, given: dict[str, str], where: str) -> None:
    for port, value in step.inputs:
        if value not in given:
            raise PlanError(
                f"{where}: {port} reads {value!r}; a host step reads inputs of the plan: "
                f"{', '.join(given) or 'it has none'}"
            )
        # What a row's inputs are called says what they are; others take any.
        if port in ("text", "seed", "number") and given[value] != port:
            raise PlanError(f"{where}: {port} reads {value!r}, which is a {given[value]}")


def _check_ports(step: HostStep, op: HostOp, tensors: dict[str, Port], where: str) -> None:
    ports = {p.name: p for p in op.ports(dict(step.params))}
    for binding in step.outputs:
        port, tensor = ports.get(binding.feature), tensors[binding.tensor]
        if port is None:
            raise PlanError(f"{where}: {op.name} gives {', '.join(ports)}, not {binding.feature!r}")
        if (port.shape, port.dtype) != (tensor.shape, tensor.dtype):
            raise PlanError(
                f"{where}: {op.name} gives {port.name} as {port.dtype} {port.shape}, tensor "
                f"{binding.tensor} is {tensor.dtype} {tensor.shape}"
            )
