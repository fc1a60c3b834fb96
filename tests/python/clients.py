"""Clients that know only the protocol: curl, websockets, and plain sockets with frames by hand."""

import base64
import json
import os
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from websockets.sync.client import connect

PATIENCE = 30
MESSAGE_BYTES_MAX = 1 << 20

SUCCESS, ERROR = 1, 2
OK, BAD_REQUEST, INTERNAL_ERROR = 1, 2, 3


def websocket(port, name, **options):
    """A connection of the `websockets` library, under an id of its own; plain unless compression is asked for."""
    headers = {"X-User-ID": name}
    options.setdefault("compression", None)
    url = f"ws://127.0.0.1:{port}/api/v1/events"
    return connect(url, additional_headers=headers, open_timeout=PATIENCE, **options)


# ---- requests ----


def protobuf_request(proto, guid, events, seconds=1_700_000_000, nanos=5):
    """A `SendEventRequest`; `events` are pairs of type and payload."""
    request = proto.SendEventRequest(req_guid=guid)
    request.sent_time.seconds = seconds
    request.sent_time.nanos = nanos
    for kind, payload in events:
        request.events.add(type=kind, event_bytes=payload)
    return request.SerializeToString()


def json_request(guid, events):
    """The same as JSON, as the Go and Python clients write it."""
    rows = [
        {"event_bytes": base64.b64encode(payload).decode(), "type": kind}
        for kind, payload in events
    ]
    sent = {"seconds": 1_700_000_000, "nanos": 5}
    return json.dumps({"req_guid": guid, "sent_time": sent, "events": rows})


# ---- answers ----


def _is_now(seconds):
    assert type(seconds) is int
    assert abs(seconds - time.time()) <= 5, f"{seconds} is not the time of the answer"


def check_protobuf(proto, body, status, code, guid, reason="", events=()):
    """Every field of a protobuf answer. `guid=None`: no data; a `reason` that ends in … is a prefix;
    `events` are those that are told to be why."""
    assert type(body) is bytes
    answer = proto.SendEventResponse.FromString(body)
    assert (answer.status, answer.code) == (status, code), answer
    _is_now(answer.sent_time)
    _check_reason(answer.reason, reason)
    _check_data(dict(answer.data), guid, events)
    assert answer.SerializeToString(deterministic=True)
    return answer


def check_json(body, status, code, guid, reason="", events=()):
    """Every field of a JSON answer, its type, and that nothing else is there."""
    text = body if isinstance(body, str) else body.decode("utf-8")
    answer = json.loads(text)
    assert type(answer["status"]) is int and type(answer["code"]) is int, text
    assert (answer["status"], answer["code"]) == (status, code), text
    _is_now(answer["sent_time"])
    names = ["status", "code", "sent_time"]
    if reason:
        names.append("reason")
        _check_reason(answer["reason"], reason)
    if guid is not None:
        names.append("data")
        _check_data(answer["data"], guid, events)
    assert list(answer) == names, f"other fields than {names}: {text}"
    return answer


def _check_data(data, guid, events):
    assert data.get("req_guid") == guid, data
    faults = [f"event.{number}" for number in events]
    assert sorted(data) == sorted(faults + ([] if guid is None else ["req_guid"])), data
    assert all(type(data[name]) is str and data[name] for name in faults), data


def _check_reason(found, wanted):
    assert type(found) is str
    if wanted.endswith("…"):
        prefix = wanted[:-1]
        assert found.startswith(prefix) and len(found) > len(prefix), found
    else:
        assert found == wanted


# ---- REST, by curl ----


class Curled:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def content_type(self):
        return self.headers.get("content-type", "").split(";")[0].strip()


def curl(url, *words, body=None):
    """Runs curl and gives status, headers and body of the last answer."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("head", "body", "sent")]
        command = ["curl", "-sS", "--max-time", str(PATIENCE), "-D", paths[0], "-o", paths[1]]
        if body is not None:
            with open(paths[2], "wb") as file:
                file.write(body if isinstance(body, bytes) else body.encode())
            command += ["--data-binary", f"@{paths[2]}"]
        done = subprocess.run([*command, *words, url], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with open(paths[0], encoding="latin-1") as file:
            blocks = [block for block in file.read().replace("\r", "").split("\n\n") if block]
        first, *lines = blocks[-1].split("\n")
        headers = {name.lower(): value.strip() for name, _, value in
                   (line.partition(":") for line in lines)}
        content = b""
        if os.path.exists(paths[1]):
            with open(paths[1], "rb") as file:
                content = file.read()
        return Curled(int(first.split()[1]), headers, content)


def post(port, content_type, body, *words):
    """POSTs to the door for events; `None` leaves the content type out."""
    header = f"Content-Type: {content_type}" if content_type is not None else "Content-Type:"
    return curl(f"http://127.0.0.1:{port}/api/v1/events", "-H", header, *words, body=body)


# ---- WebSocket, by hand ----

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def frame(opcode, payload=b"", fin=True, masked=True, rsv=0, announce=None):
    """One frame; `announce` lies about the length."""
    length = len(payload) if announce is None else announce
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 1 << 16:
        head += bytes([mask_bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    mask = b"\x11\x22\x33\x44"
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class RawSocket:
    """An upgraded connection whose every byte is ours."""

    def __init__(self, port, name, first=b"", headers=()):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [
            "GET /api/v1/events HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
            "Connection: Upgrade", f"Sec-WebSocket-Key: {_KEY}", "Sec-WebSocket-Version: 13",
            f"X-User-ID: {name}", *headers, "", "",
        ]
        self.socket.sendall("\r\n".join(lines).encode() + first)
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            self._more()
        head, _, self.bytes = self.bytes.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")

    def upgraded(self):
        assert self.head.startswith("HTTP/1.1 101 "), self.head
        assert _ACCEPT in self.head
        return self

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))
        return self

    def receive(self):
        """The next frame's opcode and payload; asserts that it is whole and unmasked."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80, "answers are single frames without reserved bits"
        assert not second & 0x80, "a server does not mask"
        length = second
        if second == 126:
            (length,) = struct.unpack(">H", self._take(2))
        elif second == 127:
            (length,) = struct.unpack(">Q", self._take(8))
        return first & 0x0F, self._take(length)

    def closed_with(self, code):
        """Asserts that the next frame closes with `code` and that the stream then ends."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, (opcode, payload)
        assert struct.unpack(">H", payload[:2]) == (code,), payload
        payload[2:].decode("utf-8")
        self.socket.shutdown(socket.SHUT_WR)
        try:
            assert self.socket.recv(1) == b""
        except ConnectionResetError:
            pass

    def _take(self, count):
        while len(self.bytes) < count:
            self._more()
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def _more(self):
        more = self.socket.recv(65536)
        assert more, "the connection ended"
        self.bytes += more

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


# ---- the admin port ----


class Admin:
    def __init__(self, port):
        self.port = port

    def get(self, path):
        """Status, content type and body."""
        try:
            url = f"http://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get_content_type(), error.read()

    def topics(self):
        """By name, what is told of each topic."""
        status, content_type, body = self.get("/topics")
        assert (status, content_type) == (200, "application/json")
        rows = json.loads(body)
        rows = rows["topics"] if isinstance(rows, dict) else rows
        return {row["name"]: row for row in rows}

    def records(self, topic, offset=0, limit=1000):
        """The rows of partition 0."""
        path = f"/topics/{topic}/partitions/0/records?offset={offset}&limit={limit}"
        status, _, body = self.get(path)
        assert status == 200, body
        return [json.loads(line) for line in body.decode().splitlines()]

    def values(self, topic):
        return [base64.b64decode(row["value_base64"], validate=True) for row in self.records(topic)]

    def metrics(self):
        status, content_type, body = self.get("/metrics")
        assert (status, content_type) == (200, "text/plain")
        return body.decode()
