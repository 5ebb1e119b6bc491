"""How the page looks: system fonts, calm colours in light and dark, one column on a phone."""

from typing import Any

TITLE = "Entracte"
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto; }
.dark { --color-accent: #2dd4bf; }
#head h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
#head p, .quiet, .typed, .about { color: var(--body-text-color-subdued); margin: .2rem 0; }
.job { border-left: 4px solid var(--border-color-primary); padding: .2rem 0 .2rem .9rem; }
.job.running { border-color: var(--color-accent); }
.job.done { border-color: #2f855a; }
.job.failed { border-color: #c53030; }
.job p { margin: .3rem 0; }
.job progress { width: 100%; height: .6rem; appearance: none; border: 0; border-radius: 4px;
  overflow: hidden; background: var(--border-color-primary); }
.job progress::-webkit-progress-bar { background: var(--border-color-primary); }
.job progress::-webkit-progress-value { background: var(--color-accent); }
.job progress::-moz-progress-bar { background: var(--color-accent); }
pre.line span { display: inline-block; max-width: 100%; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; margin: .3rem 0;
  padding: .5rem .7rem; border-radius: 6px; background: var(--background-fill-secondary);
  color: var(--body-text-color); }
details pre { white-space: pre; overflow-x: auto; max-height: 26rem; }
pre.error, .said { color: #b91c1c; }
.dark pre.error, .dark .said { color: #fca5a5; }
p.said { margin: .3rem 0; overflow-wrap: anywhere; }
iframe.report { width: 100%; height: 80vh; border: 1px solid var(--border-color-primary);
  border-radius: 8px; background: var(--background-fill-primary); }
.made { max-width: 100%; min-width: min(256px, 100%); border-radius: 6px;
  image-rendering: pixelated; }
.entry { border-bottom: 1px solid var(--border-color-primary); padding: .5rem 0; }
.entry p { margin: .2rem 0; }
table.rows { width: 100%; border-collapse: collapse; margin: .6rem 0 1.2rem; font-size: .9rem; }
table.rows caption { text-align: left; font-weight: 600; padding: .3rem 0; }
table.rows th, table.rows td { text-align: left; padding: .3rem .6rem; vertical-align: top;
  border: 0 solid var(--border-color-primary) !important; border-bottom-width: 1px !important;
  overflow-wrap: anywhere; }
table.rows, table.rows tr { border: 0 !important; }
@media (max-width: 640px) {
  .gradio-container { padding: .4rem !important; }
  table.rows thead { position: absolute; left: -9999px; }
  table.rows tr { display: block; padding: .5rem 0;
    border-bottom: 1px solid var(--border-color-primary) !important; }
  table.rows td { display: block; border: 0 !important; padding: .1rem 0; }
  table.rows td[data-of]:not([data-of=""])::before { content: attr(data-of) ": ";
    color: var(--body-text-color-subdued); }
  iframe.report { height: 88vh; }
}
footer { display: none !important; }
"""


def theme() -> Any:
    """Nothing of it is fetched."""
    import gradio as gr

    made = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.gray,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    # Text that can be read on its ground: 4.5 to 1 and more.
    return made.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        color_accent="*primary_700",
        link_text_color="*primary_700",
        link_text_color_hover="*primary_800",
        link_text_color_dark="*primary_400",
        link_text_color_hover_dark="*primary_300",
    )
