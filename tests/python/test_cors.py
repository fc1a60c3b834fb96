"""CORS, for a server that allows the origin http://page.example: what browsers are told."""

import pytest

from clients import curl, json_request

PAGE = "http://page.example"
ALLOWED = "access-control-allow-origin"


def ask(port, *words, path="/api/v1/events", body=None):
    pairs = [word for header in words for word in ("-H", header)]
    return curl(f"http://127.0.0.1:{port}{path}", *pairs, body=body)


def preflight(port, *headers, path="/api/v1/events"):
    words = [word for header in headers for word in ("-H", header)]
    return curl(f"http://127.0.0.1:{port}{path}", "-X", "OPTIONS", *words)


@pytest.mark.parametrize("path", ["/api/v1/events", "/ping"])
def test_a_preflight_of_the_page_is_granted(port, path):
    answer = preflight(port, f"Origin: {PAGE}", "Access-Control-Request-Method: POST",
                       "Access-Control-Request-Headers: content-type, x-user-id", path=path)
    assert answer.status == 200 and answer.body == b""
    assert answer.headers[ALLOWED] == PAGE


@pytest.mark.parametrize("status, headers", [
    (403, [f"Origin: {PAGE}", "Access-Control-Request-Method: POST",
           "Access-Control-Request-Headers: x-other"]),
    (405, [f"Origin: {PAGE}", "Access-Control-Request-Method: PUT"]),
    (400, [f"Origin: {PAGE}"]),
    (200, ["Origin: http://other.example", "Access-Control-Request-Method: POST"]),
])
def test_another_preflight_is_not(port, status, headers):
    answer = preflight(port, *headers)
    assert answer.status == status and answer.body == b""
    assert ALLOWED not in answer.headers


@pytest.mark.parametrize("origin, told", [(PAGE, PAGE), ("http://other.example", None)])
def test_a_request_is_served_and_only_the_page_may_read_it(port, kind, promise, origin, told):
    answer = ask(port, f"Origin: {origin}", "Content-Type: application/json",
                 body=json_request("cors", [(kind, b"x")]))
    promise(kind, b"x")
    assert answer.status == 200
    assert answer.headers.get(ALLOWED) == told


def test_the_websockets_check_of_origins_is_not_loosened(port):
    answer = curl(f"http://127.0.0.1:{port}/api/v1/events", "-H", f"Origin: {PAGE}",
                  "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
                  "-H", "Sec-WebSocket-Version: 13", "-H", "X-User-ID: page",
                  "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert answer.status == 403
