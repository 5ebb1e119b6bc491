"""The page: Gradio's components around a `Studio`."""

from html import escape
from typing import Any

from entracte.ui.compare_tab import compare_tab
from entracte.ui.history import Entry
from entracte.ui.look import TITLE
from entracte.ui.plan_tab import plan_tab
from entracte.ui.run_tab import run_tab
from entracte.ui.shown import history_html
from entracte.ui.studio import Studio

HEAD = (
    "<h1>Entracte</h1><p>Plan and compile generative pipelines for devices that they do not fit "
    "into, and run what was made. Everything lies in <code>{root}</code>, and everything done here "
    "can be typed in a terminal too: the line stands beside it.</p>"
)


def page(studio: Studio) -> Any:
    """The page as Gradio's blocks."""
    import gradio as gr

    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)
    ) as blocks:
        gr.HTML(HEAD.format(root=escape(str(studio.root.folder))), elem_id="head")
        timer = gr.Timer(1.0)
        with gr.Tab("Plan", id="plan"):
            plan_tab(studio, timer)
        with gr.Tab("Run", id="run") as run:
            run_tab(studio, timer, run)
        with gr.Tab("History", id="history"):
            _history_tab(studio, timer)
        with gr.Tab("Compare", id="compare") as compare:
            compare_tab(studio, compare)
    blocks.queue(api_open=False, default_concurrency_limit=8, max_size=64)
    return blocks


def _history_tab(studio: Studio, timer: Any) -> None:
    import gradio as gr

    gr.HTML(
        "<p class='about'>All that was done in this folder, the newest first, with the lines to "
        "type.</p>"
    )
    listed = gr.HTML()
    seen = gr.State(None)

    def tell(before: tuple[Entry, ...] | None) -> tuple[Any, Any]:
        """A job that ends while it is looked at appears."""
        entries = studio.history.entries()
        if entries == before:
            return gr.skip(), gr.skip()
        return entries, history_html(entries)

    timer.tick(tell, seen, [seen, listed], show_progress="hidden", api_visibility="private")
