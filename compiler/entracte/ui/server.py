"""The server: Gradio's page and ours behind the guard, by uvicorn.

Gradio's own `launch` is not used: it would look for other ports, share links and updates.
"""

import logging
import os
import socket
from pathlib import Path
from typing import Any

from entracte.disk import left
from entracte.disk.folder import make_folder
from entracte.errors import ConfigError
from entracte.ui.guard import Guard, is_loopback
from entracte.ui.look import CSS, theme
from entracte.ui.pages import add_routes
from entracte.ui.studio import Studio
from entracte.ui.tasks import MOST_BYTES

MISSING = 'the web UI needs Gradio: pip install "entracte[ui]"'
_SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}
"""Read by the library as it is imported: it tells nobody anything, and starts nothing else."""

WARNING = (
    "warning: --host {host}: everybody who reaches this machine's port {port} can compile, run and "
    "see all that lies in {root}, without a password. Use 127.0.0.1 and an SSH tunnel unless you "
    "trust the whole network."
)


def listening(host: str, port: int) -> socket.socket:
    """A socket that is bound; port 0 takes any that is free. Raises `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{host}:{port}: {why}; name another --port, or 0 for any") from None
    made.listen(128)
    return made


def address(host: str, port: int) -> str:
    """What is typed in a browser."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def warning(studio: Studio, host: str, port: int) -> str:
    """What to say where others reach it; else nothing."""
    if is_loopback(host):
        return ""
    return WARNING.format(host=host, port=port, root=studio.root.folder)


def application(studio: Studio, host: str, port: int, scratch: Path) -> Guard:
    """All of it as one ASGI application. `scratch`: takes files that are being uploaded. Raises
    `ConfigError` where Gradio is not installed."""
    os.environ |= _SILENT | {"GRADIO_TEMP_DIR": str(scratch)}
    studio.scratch = scratch
    try:
        import gradio as gr
        from fastapi import FastAPI
    except ImportError as error:
        raise ConfigError(f"{MISSING} ({error})") from None
    from entracte.ui.app import page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, studio.root)
    served: Any = gr.mount_gradio_app(
        app, page(studio), "/", theme=theme(), css=CSS, allowed_paths=[],
        blocked_paths=[str(studio.root.folder)], max_file_size=MOST_BYTES, show_error=False,
        run_history=False, ssr_mode=False, mcp_server=False, enable_monitoring=False, pwa=False,
        footer_links=[],
    )  # fmt: skip
    return Guard(served, host, port, studio.uploads)


def serve(studio: Studio, bound: socket.socket, host: str) -> None:
    """Until the process is told to end; then what runs is ended too."""
    import tempfile

    port = int(bound.getsockname()[1])
    scratch = Path(tempfile.mkdtemp(prefix="entracte-ui-"))
    left.note(scratch)
    make_folder(scratch)
    try:
        app = application(studio, host, port, scratch)
        import uvicorn

        logging.getLogger("httpx").setLevel(logging.WARNING)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, proxy_headers=False, server_header=False,
            date_header=False, ws="none", timeout_graceful_shutdown=2, lifespan="on",
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        studio.jobs.close()
        left.remove(scratch)
        left.forget(scratch)
        bound.close()
