"""Who may be connected, how many, and who is cut off: by the `websockets` library and by hand.

Named so that it is only run where the engine was started with short waits and a small limit.
"""

import contextlib
import os
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from clients import (BINARY, CLOSE, ERROR, OK, PATIENCE, PING, PONG, SUCCESS, TEXT, RawSocket,
                     check_protobuf, frame, protobuf_request, websocket)
from test_metrics import sample

LIMIT_REACHED, USER_LIMIT_REACHED = 4, 5
LIMIT = int(os.environ["RINGTAIL_LIMIT"])


def until(look):
    """Waits for a condition, patiently."""
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def nobody_is_connected(admin):
    until(lambda: sample(admin.metrics(), "ringtail_connections_current") == 0)


@pytest.fixture
def counted(admin):
    """How far a counter has grown since the test began."""
    before = admin.metrics()
    return lambda name, **labels: (sample(admin.metrics(), name, **labels)
                                   - sample(before, name, **labels))


def cut(counted, reason):
    until(lambda: counted("ringtail_connections_cut_total", reason=reason) == 1)


def is_served(proto, client):
    client.send(protobuf_request(proto, "served?", []))
    check_protobuf(proto, client.recv(PATIENCE), SUCCESS, OK, "served?")


def is_refused(proto, client, code, reason, farewell):
    check_protobuf(proto, client.recv(PATIENCE), ERROR, code, None, reason)
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(PATIENCE)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, farewell)


def anonymous(port):
    return connect(f"ws://127.0.0.1:{port}/api/v1/events", open_timeout=PATIENCE)


def of_group(port, name, group):
    headers = {"X-User-ID": name, "X-Group": group}
    url = f"ws://127.0.0.1:{port}/api/v1/events"
    return connect(url, additional_headers=headers, open_timeout=PATIENCE)


def ends_without_a_word(raw):
    """Reads pings until the stream ends, without a close frame."""
    try:
        while True:
            opcode, payload = raw.receive()
            assert (opcode, payload) == (PING, b"--ping--")
    except (ConnectionResetError, AssertionError) as end:
        assert not str(end) or "the connection ended" in str(end) or "reset" in str(end), end


# ---- identity ----


def test_a_second_connection_is_refused_as_raccoon_refuses_it(port, proto, kind, counted):
    with websocket(port, kind) as first:
        is_served(proto, first)
        with websocket(port, kind) as second:
            is_refused(proto, second, USER_LIMIT_REACHED,
                       f"duplicated connection: [--default--] {kind},",
                       f"duplicate connection: {kind}")
        is_served(proto, first)
    assert counted("user_connection_failure_total", reason="exists") == 1
    assert counted("user_connection_success_total") == 1


def test_the_group_belongs_to_the_name(port, proto, kind):
    with of_group(port, kind, "a") as one, of_group(port, kind, "b") as other:
        is_served(proto, one)
        is_served(proto, other)
        with of_group(port, kind, "b") as second:
            is_refused(proto, second, USER_LIMIT_REACHED,
                       f"duplicated connection: [b] {kind},", f"duplicate connection: {kind}")


def test_without_an_id_the_name_is_empty(port, proto):
    with anonymous(port) as first:
        is_served(proto, first)
        with anonymous(port) as second:
            is_refused(proto, second, USER_LIMIT_REACHED,
                       "duplicated connection: [--default--] ,", "duplicate connection: ")


def test_a_place_is_free_as_soon_as_its_connection_ends(port, proto, kind):
    for number in range(60):
        if number % 2:
            with websocket(port, kind) as client:
                is_served(proto, client)
        else:
            with RawSocket(port, kind) as raw:
                raw.upgraded()


def test_a_dead_phone_gives_way(port, proto, kind, counted):
    with RawSocket(port, kind) as dead:
        dead.upgraded()
        with websocket(port, kind) as living:
            is_served(proto, living)
        ends_without_a_word(dead)
    cut(counted, "superseded")


@pytest.mark.parametrize("name", [
    pytest.param("caf\xe9 \xff", id="bytes that are no text"),
    pytest.param("x" * 4000, id="a very long one"),
    pytest.param("a, b\tc 'd' \"e\"", id="marks"),
])
def test_ids_are_untrusted_bytes(port, proto, name):
    def called():
        raw = RawSocket.__new__(RawSocket)
        raw.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        head = ("GET /api/v1/events HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Sec-WebSocket-Version: 13\r\nX-User-ID: {name}\r\n\r\n")
        raw.socket.sendall(head.encode("latin-1"))
        raw.bytes = b""
        while b"\r\n\r\n" not in raw.bytes:
            raw._more()
        raw.bytes = raw.bytes.partition(b"\r\n\r\n")[2]
        return raw
    with called() as first:
        first.send(frame(BINARY))
        assert first.receive()[0] == BINARY
        with called() as second:
            # The first shows that it lives when it is asked.
            opcode, payload = first.receive()
            while opcode != PING:
                opcode, payload = first.receive()
            deadline = time.monotonic() + PATIENCE
            second.socket.settimeout(0.05)
            answer = None
            while answer is None:
                assert time.monotonic() < deadline
                first.send(frame(PONG, payload))
                with contextlib.suppress(TimeoutError):
                    opcode, answer = second.receive()
            second.socket.settimeout(PATIENCE)
            assert opcode == BINARY
            refusal = check_protobuf(proto, answer, ERROR, USER_LIMIT_REACHED, None, "…")
            assert len(refusal.reason.encode()) <= 600
            opcode, payload = second.receive()
            assert opcode == CLOSE and payload[:2] == (1008).to_bytes(2, "big")
            assert len(payload) <= 125 and payload[2:].decode().startswith("duplicate connection: ")


def test_over_the_limit_everybody_is_told_so(port, proto, kind, counted):
    full = (LIMIT_REACHED, "max connection reached", "Max connection reached")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(websocket(port, f"{kind}-{n}")) for n in range(LIMIT)]
        for client in clients:
            is_served(proto, client)
        for name in (f"{kind}-more", f"{kind}-0"):
            with websocket(port, name) as over:
                is_refused(proto, over, *full)
        clients.pop().close()
        until(lambda: counted("connections_count_current") == LIMIT - 1)
        with websocket(port, f"{kind}-more") as next_one:
            is_served(proto, next_one)
    assert counted("user_connection_failure_total", reason="serverlimit") == 2


# ---- liveness ----


def test_the_server_pings_and_drops_who_answers_with_data_only(port, kind, counted):
    with RawSocket(port, kind) as raw:
        raw.upgraded()
        with contextlib.suppress(ConnectionError, AssertionError):
            while True:
                opcode, payload = raw.receive()
                assert (opcode, payload) == (PING, b"--ping--") or opcode == BINARY
                raw.send(frame(BINARY))
    cut(counted, "no_pong")


def test_who_answers_pings_stays(port, proto, kind, counted):
    with websocket(port, kind, ping_interval=None) as client:
        # More than the wait for pongs is long.
        end = time.monotonic() + 6
        while time.monotonic() < end:
            is_served(proto, client)
            time.sleep(0.2)
    assert counted("ringtail_connections_cut_total") == 0


def test_a_message_that_trickles_is_cut_off(port, kind, counted):
    whole = frame(BINARY, b"x" * 1000)
    with RawSocket(port, kind) as raw:
        raw.upgraded()
        with contextlib.suppress(ConnectionError):
            for byte in whole:
                raw.send(bytes([byte]))
                time.sleep(0.02)
    cut(counted, "slow_message")


def test_a_head_that_trickles_is_cut_off(port, counted):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as slow:
        slow.sendall(b"GET /ping HTTP/1.1\r\nHost: here\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                slow.sendall(b"X: y\r\n")
                time.sleep(0.05)
    cut(counted, "slow_head")


def test_a_body_that_trickles_is_refused(port, counted):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as slow:
        slow.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: here\r\n"
                     b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    cut(counted, "slow_body")


def test_who_reads_nothing_is_cut_off(port, kind, counted):
    with RawSocket(port, kind) as raw:
        raw.upgraded()
        raw.socket.settimeout(60)
        with contextlib.suppress(ConnectionError):
            while True:
                raw.send(frame(TEXT, b"{") * 1000)
    cut(counted, "slow_reader")
