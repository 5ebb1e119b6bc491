"""Two plans, builds or runs side by side."""

from typing import Any

from entracte.errors import EntracteError
from entracte.ui.asked import fault_html
from entracte.ui.compared import compared_html, thing
from entracte.ui.shown import pair_html
from entracte.ui.studio import Studio

ABOUT = (
    "<p class='about'>Choose two: what was planned, and what was observed where both were run.</p>"
)


def compare_tab(studio: Studio, tab: Any) -> None:
    """Its components and what they do."""
    import gradio as gr

    gr.HTML(ABOUT)
    with gr.Row():
        before = gr.Dropdown([], label="before", min_width=240)
        after = gr.Dropdown([], label="after", min_width=240)
        button = gr.Button("Compare", variant="primary", min_width=120)
    shown = gr.HTML(elem_id="compared")

    def offer(one: str | None, two: str | None) -> tuple[Any, Any]:
        found = studio.things()
        first = one if one in found else found[-1] if found else None
        second = two if two in found else found[0] if found else None
        return gr.update(choices=found, value=first), gr.update(choices=found, value=second)

    def compare(one: str | None, two: str | None) -> str:
        if not one or not two:
            return "<p class='quiet'>Nothing to compare yet: make a dry run first.</p>"
        try:
            entries = studio.history.entries()
            pair = [thing(studio.root, name, entries) for name in (one, two)]
            return compared_html(*pair) + pair_html(one, two)
        except EntracteError as error:
            return fault_html(error)

    both = [before, after]
    tab.select(offer, both, both, api_visibility="private", show_progress="hidden")
    button.click(compare, both, shown, api_visibility="private")
