"""`plan`: look at, run and verify what `compile` made; execute any package."""

import json
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.console import Bars, console, one_message
from compiler.errors import PlanError, RunError

app = typer.Typer(
    help="Look at, run and verify the build folders that `compile` makes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Build = Annotated[Path, typer.Argument(help="A build folder made by `compile`.")]


def main() -> None:
    """Entry point of the console script."""
    app()


@app.command()
def show(
    build: Build,
    stage: Annotated[str | None, typer.Option(help="Only this stage's chunks.")] = None,
    chunk: Annotated[str | None, typer.Option(help="Only this chunk.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON, for scripts.")] = False,
) -> None:
    """Tables: stages, chunks, one steady iteration of each loop, memory and time."""
    from compiler.cli.show import show_plan
    from compiler.codec import encode
    from compiler.plan import read_plan

    with one_message():
        plan = read_plan(build)
        stages = {c.graph for c in plan.chunks} | {c.graph.split(".")[0] for c in plan.chunks}
        if stage is not None and stage not in stages:
            raise PlanError(f"--stage {stage}: the plan's stages are {', '.join(sorted(stages))}")
        if chunk is not None and chunk not in {c.id for c in plan.chunks}:
            names = ", ".join(c.id for c in plan.chunks)
            raise PlanError(f"--chunk {chunk}: the plan's chunks are {names}")
        if as_json:
            typer.echo(json.dumps(encode(plan), indent=1, sort_keys=True))
            return
        show_plan(console, plan, stage=stage, chunk=chunk)


@app.command()
def run(
    build: Build,
    prompt: Annotated[str | None, typer.Option(help="What the video shows.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise.")] = None,
    out: Annotated[Path, typer.Option(help="clip.mp4, clip.gif or sheet.png.")] = Path("clip.mp4"),
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="Any input of the plan: name=value.")
    ] = None,
    device: Annotated[str, typer.Option(help="reference, coreml or null.")] = "auto",
    policy: Annotated[
        str, typer.Option(help="Arithmetic of the reference device: hybrid, round, fp32.")
    ] = "hybrid",
    record: Annotated[
        Path | None, typer.Option(help="Write what was observed to this file, as JSON.")
    ] = None,
) -> None:
    """Execute the plan and write the video; then claimed against observed."""
    from compiler.cli.show import run_lines, run_table
    from compiler.execute import execute, make_device
    from compiler.plan import check_files, read_plan
    from compiler.run_online import whole_note
    from compiler.video import check_suffix, to_frames, write_video

    with one_message():
        check_suffix(out)
        plan = read_plan(build)
        check_files(plan, build)
        given = _given(inputs or [], prompt, seed)
        chosen = make_device(device, plan, policy)
        if note := whole_note(plan, chosen):
            console.print(note)
        with Bars() as bars:
            bars.phase("run", plan.program.step_count)
            outcome = execute(plan, build, chosen, given, progress=lambda s, n, _: bars.at(s, n))
        if chosen.name != "null":
            write_video(to_frames(outcome.output), out, plan.fps)
        if record is not None:
            from compiler.codec import encode

            record.write_text(json.dumps(encode(outcome.run), indent=1) + "\n")
        console.print(run_table(plan, outcome.run))
        for line in run_lines(plan, outcome.run):
            console.print(line)
        if chosen.name != "null":
            console.print(f"wrote {out}", soft_wrap=True)


def _given(inputs: list[str], prompt: str | None, seed: int | None) -> dict[str, object]:
    given: dict[str, object] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals:
            raise RunError(f"--input {text}: write name=value")
        given[name] = value
    if prompt is not None:
        given["prompt"] = prompt
    if seed is not None:
        given["seed"] = seed
    return given


@app.command()
def verify(
    build: Build,
    prompt: Annotated[str | None, typer.Option(help="Prompt of the end-to-end run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise.")] = None,
    save: Annotated[bool, typer.Option(help="Write the PSNRs into the plan.")] = True,
    distinct: Annotated[
        bool, typer.Option("--distinct", help="One package of each kind, alone; for large builds.")
    ] = False,
) -> None:
    """Check the plan, and every package against the torch source: PSNR, largest error."""
    from compiler.cli.verify import verify_build

    with one_message(), Bars() as bars:
        failed = verify_build(build, _given([], prompt, seed), bars, save=save, distinct=distinct)
    if failed:
        raise typer.Exit(1)


@app.command()
def predict(
    package: Annotated[Path, typer.Argument(help="An .mlpackage, made by anyone.")],
    inputs: Annotated[Path, typer.Argument(help="An .npz with one array per input.")],
    out: Annotated[Path | None, typer.Option(help="Write the outputs to this .npz.")] = None,
    function: Annotated[
        str | None, typer.Option(help="Function of a multifunction package.")
    ] = None,
    policy: Annotated[str, typer.Option(help="Arithmetic: hybrid, round, fp32.")] = "hybrid",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what Core ML is known to refuse.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Name the first operation that leaves fp16's range; exit 1."),
    ] = False,
) -> None:
    """Run one package on the reference device and print its outputs."""
    from compiler.cli.predict import predict_package

    with one_message():
        found = predict_package(
            console, package, inputs, out,
            function=function, policy=policy, strict=strict, watch=watch,
        )  # fmt: skip
    if found:
        raise typer.Exit(1)


@app.command()
def export(
    package: Annotated[Path, typer.Argument(help="An .mlpackage, made by anyone.")],
    out: Annotated[Path, typer.Argument(help="The file to write; its name ends in .onnx.")],
    function: Annotated[str, typer.Option(help="Function of a multifunction package.")] = "main",
    policy: Annotated[
        str, typer.Option(help="round keeps fp16 rounding and overflow visible; fp32 has neither.")
    ] = "round",
    seed: Annotated[int, typer.Option(help="Seed of the inputs it is checked on.")] = 0,
) -> None:
    """Write one package as an ONNX model, checked against the reference device."""
    from compiler.cli.export import export_package

    with one_message():
        export_package(package, out, function=function, policy=policy, seed=seed)


if __name__ == "__main__":
    main()
