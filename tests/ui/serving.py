"""The server in a thread of this process, and a page of it."""

import threading
import time
from contextlib import contextmanager

from entracte.ui.server import address, application, listening


@contextmanager
def served(studio, scratch):
    """Its address, for as long as the block lasts."""
    import uvicorn

    bound = listening("127.0.0.1", 0)
    port = bound.getsockname()[1]
    app = application(studio, "127.0.0.1", port, scratch)
    config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield address("127.0.0.1", port)
    finally:
        server.should_exit = True
        thread.join(20)
        studio.jobs.close()
        bound.close()
