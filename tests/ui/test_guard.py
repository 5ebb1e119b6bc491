"""Whose requests are answered: by the rules of browsers, spelled out here."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from entracte.ui.guard import MOST_BODY_BYTES, Guard, is_loopback


async def app(scope, receive, send):
    body = b""
    more = scope["type"] == "http"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def ask(path="/", method="GET", host="127.0.0.1:7860", *, bound="127.0.0.1", uploads=0, body=(b"",),
        **headers):  # fmt: skip
    """(status, headers, body) of one request; header names with _ for -."""
    told = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "path": path, "method": method,
             "headers": [(b"host", host.encode()), *told]}  # fmt: skip
    chunks = [{"type": "http.request", "body": b, "more_body": True} for b in body]
    chunks[-1]["more_body"] = False
    waiting, sent = iter(chunks), []

    async def receive():
        return next(waiting)

    async def send(message):
        sent.append(message)

    guard = Guard(app, bound, 7860, lambda: uploads)
    # Of its own: where a browser is driven this thread has a loop that runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(guard(scope, receive, send))).result()
    if not sent:
        return None, {}, b""
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize(
    ("host", "bound", "status"),
    [
        ("127.0.0.1:7860", "127.0.0.1", 200),
        ("localhost:7860", "127.0.0.1", 200),
        ("[::1]:7860", "127.0.0.1", 200),
        ("evil.example:7860", "127.0.0.1", 421),
        ("127.0.0.1:7861", "127.0.0.1", 421),
        ("127.0.0.1", "127.0.0.1", 421),
        ("127.0.0.1:7860.evil.example", "127.0.0.1", 421),
        ("127.0.0.1:7860/x", "127.0.0.1", 421),
        ("evil@127.0.0.1:7860", "127.0.0.1", 421),
        ("192.168.1.5:7860", "127.0.0.1", 421),
        ("", "127.0.0.1", 421),
        # Told to listen everywhere: numbers cannot be rebound, names can.
        ("192.168.1.5:7860", "0.0.0.0", 200),
        ("evil.example:7860", "0.0.0.0", 421),
        ("studio.local:7860", "studio.local", 200),
    ],
)
def test_a_request_names_this_server(host, bound, status):
    assert ask(host=host, bound=bound)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:7860"}, 403),
        ({"origin": "https://127.0.0.1:7860"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        # A link that somebody follows.
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
    ],
)
def test_other_sites_are_not_answered(headers, status):
    assert ask(**headers)[0] == status


def test_a_form_of_another_site_is_no_link():
    told = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert ask("/gradio_api/queue/join", "POST", **told)[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://x", "/file=/etc/passwd", "/docs",
     "/gradio_api/run/predict", "/gradio_api/api/x", "/gradio_api/runs", "/monitoring",
     "/gradio_api/mcp/", "/gradio_api/deep_link", "/login", "/openapi.json"],
)  # fmt: skip
def test_what_pages_do_not_need_is_not_there(path):
    assert ask(path)[0] == 404


def test_files_are_taken_only_where_an_input_is_one():
    upload = "/gradio_api/upload"
    assert ask(upload, "POST", body=(b"x",))[0] == 403
    assert ask(upload, "POST", body=(b"x" * 9,), uploads=10, content_length="9")[0] == 200
    assert ask(upload, "POST", uploads=10, content_length="11")[0] == 413
    assert ask(upload, "POST", uploads=10, content_length="many")[0] == 413
    # Without a length, or with a wrong one: cut off.
    assert ask(upload, "POST", body=(b"x" * 6, b"x" * 6), uploads=10)[0] is None


def test_other_bodies_are_small():
    assert ask(method="POST", content_length=str(MOST_BODY_BYTES + 1))[0] == 413


def test_answers_carry_the_policy():
    headers = ask()[1]
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy
    assert "http:" not in policy and "https:" not in policy and "*" not in policy
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_what_is_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "127.evil.example", "")))
