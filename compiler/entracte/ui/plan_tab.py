"""Choose by groups, then a dry run with its timeline, or a build."""

from collections.abc import Mapping
from typing import Any

from entracte.errors import EntracteError
from entracte.ui.asked import said
from entracte.ui.controls import FIRST, Control, Group
from entracte.ui.fitting import fits_html
from entracte.ui.jobs import FITS, RUNNING
from entracte.ui.shown import job_html, report_html
from entracte.ui.studio import Studio
from entracte.ui.words import Chosen

ABOUT = (
    "<p class='about'>Choose what is made and for which device. A <b>dry run</b> plans in seconds "
    "to minutes and converts nothing: it tells the time and the memory that a run would take, and "
    "shows the timeline. <b>Compile</b> makes the packages too. <b>Where it fits</b> plans for all "
    "devices. Fields that are left empty keep what stands in them in grey.</p>"
)


def plan_tab(studio: Studio, timer: Any) -> None:
    """Its components and what they do."""
    import gradio as gr

    gr.HTML(ABOUT)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            files, values = _controls(studio)
            more = gr.Textbox(
                label="Further words", placeholder="pipeline.video.frames=8",
                info="KEY=VALUE, as in a terminal, for keys of several values.", max_length=4000,
            )  # fmt: skip
            name = gr.Textbox(
                label="Name", info="Of the folder; by default the pipeline's and the target's.",
                max_length=80,
            )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            with gr.Row():
                dry = gr.Button("Dry run", variant="primary", min_width=120)
                build = gr.Button("Compile", min_width=120)
                fits = gr.Button("Where it fits", min_width=120)
                cancel = gr.Button("Cancel", variant="stop", min_width=120, interactive=False)
            fault = gr.HTML(elem_id="plan-fault")
            job = gr.HTML(elem_id="plan-job")
            report = gr.HTML(elem_id="plan-report")
    given = [*files.values(), *values.values(), more, name]
    for button, dry_run in ((dry, True), (build, False)):
        button.click(
            _starter(studio, list(files), list(values), dry_run=dry_run), given, fault,
            api_visibility="private", show_progress="minimal",
        )  # fmt: skip
    fits.click(
        _fitter(studio, list(files), list(values)), given, fault, api_visibility="private",
        show_progress="minimal",
    )  # fmt: skip
    cancel.click(studio.jobs.cancel, None, None, api_visibility="private")
    seen = gr.State("")
    timer.tick(
        _teller(studio), seen, [seen, job, report, cancel], show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    _tell_what_holds(studio, files, values)


def _controls(studio: Studio) -> tuple[dict[str, Any], dict[str, Any]]:
    """(group -> its component, key -> its component)"""
    import gradio as gr

    controls, files, values = studio.words.controls, {}, {}
    for k in range(0, len(studio.groups), 2):
        with gr.Row():
            for group in studio.groups[k : k + 2]:
                files[group.name] = gr.Dropdown(
                    list(group.choices), value=group.chosen or group.choices[0],
                    label=group.name, info=group.about, min_width=140,
                )  # fmt: skip
    try:
        held = studio.words.held(Chosen({n: c.value for n, c in files.items()}, {}))
    except EntracteError:
        held = {}
    with gr.Group():
        for place in FIRST:
            values[place] = _component(controls[place], held)
    for group in studio.groups:
        values |= _rest(group, held)
    return files, values


def _rest(group: Group, held: Mapping[str, str]) -> dict[str, Any]:
    import gradio as gr

    rest = [c for c in group.controls if c.place not in FIRST]
    if not rest:
        return {}
    with gr.Accordion(f"More of {group.name}", open=False):
        return {c.place: _component(c, held) for c in rest}


def _component(control: Control, held: Mapping[str, str]) -> Any:
    import gradio as gr

    if control.choices:
        empty = (_kept(held.get(control.place, "")), "")
        return gr.Dropdown(
            [empty, *control.choices[1:]], value="", label=control.place, info=control.means
        )
    return gr.Textbox(
        label=control.place, info=control.means, max_length=400,
        placeholder=held.get(control.place) or f"e.g. {control.example}",
    )  # fmt: skip


def _kept(value: str) -> str:
    """How a choice is told that keeps what holds."""
    return f"as it is: {value.lower() if value in ('True', 'False') else value}" if value else \
        "as it is"  # fmt: skip


def _tell_what_holds(studio: Studio, files: dict[str, Any], values: dict[str, Any]) -> None:
    """Where a file is chosen, empty fields say what it holds."""
    import gradio as gr

    controls = studio.words.controls

    def told(*names: str) -> list[Any]:
        try:
            held = studio.words.held(Chosen(dict(zip(files, names, strict=True)), {}))
        except EntracteError:
            return [gr.skip()] * len(values)
        return [_update(controls[place], held.get(place, "")) for place in values]

    for component in files.values():
        component.change(
            told, list(files.values()), list(values.values()), show_progress="hidden",
            api_visibility="private", trigger_mode="always_last",
        )  # fmt: skip


def _update(control: Control, held: str) -> Any:
    import gradio as gr

    if control.choices:
        return gr.update(choices=[(_kept(held), ""), *control.choices[1:]])
    return gr.update(placeholder=held or f"e.g. {control.example}")


def _starter(studio: Studio, files: list[str], keys: list[str], *, dry_run: bool) -> Any:
    def start(*given: str) -> str:
        names = dict(zip(files, given, strict=False))
        values = dict(zip(keys, given[len(files) :], strict=False))
        more, name = given[-2:]
        chosen = Chosen(names, values, more or "")
        return said(lambda: studio.compile(chosen, name or "", dry_run=dry_run))

    return start


def _fitter(studio: Studio, files: list[str], keys: list[str]) -> Any:
    def start(*given: str) -> str:
        names = dict(zip(files, given, strict=False))
        values = dict(zip(keys, given[len(files) :], strict=False))
        return said(lambda: studio.fits(Chosen(names, values, given[-2] or "")))

    return start


def _teller(studio: Studio) -> Any:
    import gradio as gr

    def tell(seen: str) -> tuple[Any, ...]:
        """What has changed since the last time; nothing where nothing has."""
        status = studio.jobs.status()
        if status is not None and status.task.kind == "run":
            mark, text = f"other {status.state}", "<p class='quiet'>See Run.</p>"
        else:
            text = job_html(status)
            mark = text
        if mark == seen:
            return (gr.skip(),) * 4
        runs = status is not None and status.state == RUNNING
        cancel = gr.update(interactive=runs)
        report: Any = gr.skip()
        if status is not None and status.task.kind == FITS and not runs:
            # It fits nowhere: that is a table too.
            report = fits_html(status)
        elif status is not None and status.task.kind != "run" and status.state == "done":
            report = report_html(status.task.place)
        elif runs:
            report = ""
        return mark, text, report, cancel

    return tell
