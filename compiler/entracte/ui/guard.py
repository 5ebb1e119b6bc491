"""What stands before the whole server: whose requests are answered, and what pages may do.

A page of somebody else, open in the same browser, can send requests to this machine, and with a
name that it lets point here (DNS rebinding) read the answers. So a request must name this server
in `Host`, and its `Origin` where it has one; what Gradio offers beside what the page needs is not
answered; and no page may fetch anything from elsewhere.
"""

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BODY_BYTES = 2**20
"""Of a request that uploads nothing."""
UPLOAD = "/gradio_api/upload"
SHOWN = "/shown/"
"""Where our own pages and files are."""
_SERVED = (
    "/assets/", "/static/", "/theme.css", "/config", "/favicon.ico", "/manifest.json",
    "/gradio_api/queue/", "/gradio_api/heartbeat/", "/gradio_api/startup-events",
    "/gradio_api/upload", "/gradio_api/info", "/gradio_api/app_id", SHOWN,
)  # fmt: skip
"""What pages need, by how it begins. Not: files by path, proxies, deep links, logs."""
POLICY = (
    # Gradio's pages begin with scripts of their own, and its HTML makes functions of templates.
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host in LOOPBACK or (_is_number(host) and host.startswith("127."))


@dataclass(frozen=True, slots=True)
class Guard:
    """An ASGI application before another.

    Attributes:
        host: that the server was told to listen at.
        uploads: whether files are taken now, and of how many bytes; 0: none.
    """

    app: App
    host: str
    port: int
    uploads: Callable[[], int]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here talks by a socket
            await send({"type": "websocket.close", "code": 1008})
            return
        if (fault := self.fault(scope)) is not None:
            await _refuse(send, *fault)
            return
        most = self._most_bytes(scope["path"])
        await self.app(scope, _bounded(receive, most), _with_headers(send))

    def fault(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not answered."""
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 421, "this server is not called so; open the address that it printed"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, "requests of other sites are not answered"
        navigates = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigates:
            return 403, "requests of other sites are not answered"
        path = scope["path"]
        if path != "/" and not path.startswith(_SERVED):
            return 404, "there is no such page"
        most = self._most_bytes(path)
        if most == 0:
            return 403, "no file is taken: the chosen plan has no input that is one"
        if not _is_at_most(headers.get("content-length", "0"), most):
            return 413, f"at most {most} bytes are taken"
        return None

    def _most_bytes(self, path: str) -> int:
        is_upload = path.startswith(UPLOAD)
        return self.uploads() if is_upload else MOST_BODY_BYTES

    def _is_ours(self, host: str) -> bool:
        """A name that a stranger may let point here is not taken; numbers are no names."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if parts.username is not None or parts.path or port != self.port:
            return False
        if name in LOOPBACK or name == self.host:
            return True
        return not is_loopback(self.host) and _is_number(name)


def _is_number(name: str) -> bool:
    """An address in numbers, IPv4 or IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except (OSError, ValueError):
            continue
        return True
    return False


def _is_at_most(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= most


def _bounded(receive: Receive, most: int) -> Receive:
    """A body that grows beyond what may be is cut off as if the other side had gone."""
    seen = 0

    async def read() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > most else message

    return read


def _with_headers(send: Send) -> Send:
    async def write(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(k.lower() == b"content-security-policy" for k, _ in headers):
                headers.append((b"content-security-policy", POLICY.encode()))
            message = {**message, "headers": [*headers, *_HEADERS]}
        await send(message)

    return write


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
