"""A build's inputs, a run with its steps, and what it made."""

from typing import Any

from entracte.declare.words import an
from entracte.errors import EntracteError
from entracte.ir import Input, Plan
from entracte.run.execute import DEVICES
from entracte.run.media import ENDINGS
from entracte.ui.asked import fault_html, said
from entracte.ui.jobs import RUNNING
from entracte.ui.shown import job_html, media_html, preview_html, report_html
from entracte.ui.studio import Studio
from entracte.ui.tasks import UPLOADED

ABOUT = (
    "<p class='about'>Run a build that was compiled here. On a Mac it runs by Core ML; elsewhere "
    "the reference device executes the packages: exactly, and slowly.</p>"
)


def run_tab(studio: Studio, timer: Any, tab: Any) -> None:
    """Its components and what they do."""
    import gradio as gr

    gr.HTML(ABOUT)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            build = gr.Dropdown(
                [], label="build", info="A folder that Compile made.", allow_custom_value=False
            )
            device = gr.Dropdown(
                list(DEVICES), value=DEVICES[0], label="device", interactive=True,
                info="What executes the packages; null computes nothing.",
            )  # fmt: skip
            inputs = gr.Column()
        with gr.Column(scale=3, min_width=300):
            cancel = gr.Button("Cancel", variant="stop", min_width=120, interactive=False)
            fault = gr.HTML(elem_id="run-fault")
            job = gr.HTML(elem_id="run-job")
            made = gr.HTML(elem_id="run-made")
    tab.select(_offer(studio), build, build, api_visibility="private", show_progress="hidden")
    cancel.click(studio.jobs.cancel, None, None, api_visibility="private")
    seen = gr.State("")
    timer.tick(
        _teller(studio), seen, [seen, job, made, cancel], show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    with inputs:
        _inputs(studio, build, device, fault)


def _offer(studio: Studio) -> Any:
    import gradio as gr

    def offer(chosen: str | None) -> Any:
        found = studio.builds()
        value = chosen if chosen in found else found[0] if found else None
        return gr.update(choices=found, value=value)

    return offer


def _inputs(studio: Studio, build: Any, device: Any, fault: Any) -> None:
    """A field for each input of the chosen build, and the button."""
    import gradio as gr

    def fields(name: str | None) -> None:
        if not name:
            gr.HTML("<p class='quiet'>No build yet: compile one first.</p>")
            return
        try:
            plan = studio.plan(name)
        except EntracteError as error:
            gr.HTML(fault_html(error))
            return
        studio.choose(plan)
        shown = [_field(i) for i in plan.program.inputs]
        run = gr.Button("Run", variant="primary")
        run.click(
            _starter(studio, plan), [build, device, *shown], fault, api_visibility="private",
            show_progress="minimal",
        )  # fmt: skip

    gr.render(inputs=build, show_progress="hidden")(fields)


def _field(i: Input) -> Any:
    import gradio as gr

    told = f"{i.kind}; {_bounds(i)}" if _bounds(i) else i.kind
    if i.kind in UPLOADED:
        size = " x ".join(map(str, i.port.shape)) if i.port else ""
        told = f"{i.name}: {an(i.kind)}; it becomes {size}"
        return gr.File(label=told, type="filepath", file_types=list(ENDINGS[i.kind]), height=140)
    if i.kind == "choice" and i.choices:
        value = i.choices[int(i.default)] if isinstance(i.default, int | float) else None
        return gr.Dropdown(list(i.choices), value=value, label=i.name, info=told)
    kept = "" if i.default is None else str(i.default)
    return gr.Textbox(
        label=i.name, info=told, placeholder=kept or "must be given", max_length=4000,
        lines=2 if i.kind == "text" else 1,
    )  # fmt: skip


def _bounds(i: Input) -> str:
    ends = [f"{w} {e:g}" for w, e in (("least", i.least), ("most", i.most)) if e is not None]
    return ", ".join(ends)


def _starter(studio: Studio, plan: Plan) -> Any:
    def start(build: str, device: str, *values: str | None) -> str:
        def run() -> None:
            given = {}
            for i, value in zip(plan.program.inputs, values, strict=True):
                text = str(value or "").strip() if i.kind != "text" else str(value or "")
                if i.kind in UPLOADED and text:
                    text = studio.accept(build, i.name, text)
                given[i.name] = text
            studio.run(build, given, device)

        return said(run)

    return start


def _teller(studio: Studio) -> Any:
    import gradio as gr

    root = studio.root.folder

    def tell(seen: str) -> tuple[Any, ...]:
        """What has changed since the last time; nothing where nothing has."""
        status = studio.jobs.status()
        if status is not None and status.task.kind != "run":
            mark, text, made = f"other {status.state}", "<p class='quiet'>See Plan.</p>", ""
        elif status is None:
            mark, text, made = "none", job_html(None), ""
        else:
            text, place = job_html(status), status.task.place
            made = preview_html(root, place) if status.state == RUNNING else ""
            if status.state == "done":
                made = media_html(root, place)
                made += report_html(status.task.of, f"{place}/run.json")
            mark = text + made
        if mark == seen:
            return (gr.skip(),) * 4
        runs = status is not None and status.state == RUNNING
        return mark, text, made, gr.update(interactive=runs)

    return tell
