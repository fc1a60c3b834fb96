"""What Raccoon's clients rely on and no other file here asks: by `requests`, and by sockets by hand."""

import base64
import json
import socket

import pytest
import requests

from clients import (BAD_REQUEST, BINARY, ERROR, OK, PATIENCE, PING, PONG, SUCCESS, RawSocket, check_json,
                     check_protobuf, frame, json_request, protobuf_request, websocket)

JSON = {"Content-Type": "application/json"}


def events_url(port):
    return f"http://127.0.0.1:{port}/api/v1/events"


def ask_by_hand(port, text):
    """Status, headers and body of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        plain.sendall(text)
        answer = plain.makefile("rb")
        status = int(answer.readline().split()[1])
        headers = {}
        while line := answer.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, answer.read(int(headers.get("content-length", 0)))


# ---- messages ----


def test_the_contract_has_raccoons_names_and_numbers(proto):
    fields = lambda message: {field.name: field.number for field in message.DESCRIPTOR.fields}
    assert proto.DESCRIPTOR.package == "raystack.raccoon.v1beta1"
    assert fields(proto.SendEventRequest) == {"req_guid": 1, "sent_time": 2, "events": 3}
    assert fields(proto.Event) == {"event_bytes": 1, "type": 2}
    assert fields(proto.SendEventResponse) == {
        "status": 1, "code": 2, "sent_time": 3, "reason": 4, "data": 5}
    assert dict(proto.Status.items()) == {
        "STATUS_UNSPECIFIED": 0, "STATUS_SUCCESS": 1, "STATUS_ERROR": 2}
    assert dict(proto.Code.items()) == {
        "CODE_UNSPECIFIED": 0, "CODE_OK": 1, "CODE_BAD_REQUEST": 2, "CODE_INTERNAL_ERROR": 3,
        "CODE_MAX_CONNECTION_LIMIT_REACHED": 4, "CODE_MAX_USER_LIMIT_REACHED": 5}
    service = proto.DESCRIPTOR.services_by_name["EventService"]
    (method,) = service.methods
    assert (method.name, method.input_type.name, method.output_type.name) == (
        "SendEvent", "SendEventRequest", "SendEventResponse")
    assert not method.client_streaming and not method.server_streaming


# ---- WebSocket ----


def test_ids_of_any_bytes_are_taken(port, kind):
    # What `http` allows in a value: latin-1, without control characters.
    for name in ["ä\xff", "a b", "%00", "x" * 4000, "{}\"'\\"]:
        with RawSocket(port, name.encode("latin-1").decode("latin-1")) as raw:
            raw.upgraded().send(frame(PING, b"?"))
            assert raw.receive() == (PONG, b"?")


def test_a_client_without_an_origin_is_let_in(port):
    with RawSocket(port, "no origin") as raw:
        assert "origin" not in raw.upgraded().head.lower()


@pytest.mark.parametrize("length", [0, 1, 8, 125])
def test_a_ping_is_answered_with_its_own_payload(port, kind, length):
    payload = bytes(range(length))
    with RawSocket(port, kind) as raw:
        raw.upgraded().send(frame(PING, payload))
        assert raw.receive() == (PONG, payload)


def test_an_unknown_field_is_ignored(port, proto, kind, promise):
    # Field 9 as a number, field 10 as bytes, field 11 as four bytes, before and behind.
    unknown = b"\x48\x05" + b"\x52\x02hi" + b"\x5d\x01\x02\x03\x04"
    message = unknown + protobuf_request(proto, "known", [(kind, b"x")]) + unknown
    with websocket(port, kind) as socket:
        socket.send(message)
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "known")
    promise(kind, b"x")


# ---- REST ----


def test_the_javascript_form_over_rest(port, kind, topic, promise, admin):
    body = {"req_guid": "js", "sent_time": {"seconds": 1_700_000_000, "nanos": 0},
            "events": [{"event_bytes": list(b"from js"), "type": kind}]}
    answer = requests.post(events_url(port), json=body, timeout=PATIENCE)
    assert answer.status_code == 200
    check_json(answer.content, SUCCESS, OK, "js")
    promise(kind, b"from js")
    assert admin.values(topic) == [b"from js"]


def test_the_python_form_by_its_own_library(port, kind, topic, promise, admin):
    event = {"type": kind, "event_bytes": base64.b64encode(b"from python").decode()}
    body = {"req_guid": "py", "sent_time": {"seconds": 1_700_000_000, "nanos": 5}, "events": [event]}
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(events_url(port), data=json.dumps(body), headers=JSON,
                                  timeout=PATIENCE)
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == "application/json"
            check_json(answer.content, SUCCESS, OK, "py")
    promise(kind, *[b"from python"] * 3)
    assert admin.values(topic) == [b"from python"] * 3


def test_protobuf_by_requests(port, proto, kind, promise):
    body = protobuf_request(proto, "pb", [(kind, b"x")])
    headers = {"Content-Type": "application/proto", "X-User-ID": "requests"}
    answer = requests.post(events_url(port), data=body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/proto"
    check_protobuf(proto, answer.content, SUCCESS, OK, "pb")
    promise(kind, b"x")


def test_a_request_without_an_id_is_taken(port, kind, promise):
    answer = requests.post(events_url(port), data=json_request("nobody", [(kind, b"x")]),
                           headers=JSON, timeout=PATIENCE)
    assert answer.status_code == 200
    check_json(answer.content, SUCCESS, OK, "nobody")
    promise(kind, b"x")


def test_a_chunked_body_that_breaks_is_400(port):
    head = (f"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").encode()
    status, headers, body = ask_by_hand(port, head + b"not a length\r\n{}\r\n0\r\n\r\n")
    assert status == 400
    if headers.get("content-type") == "application/json":
        check_json(body, ERROR, BAD_REQUEST, None, "deserialization failure")


# ---- the JSON form ----


@pytest.mark.parametrize("text, guid", [
    ('{"req_guid": "a", "sent_time": {"seconds": 5}}', "a"),
    ('{"req_guid": "a", "sent_time": {"nanos": 5}}', "a"),
    ('{"req_guid": "a", "sent_time": {}}', "a"),
    ('{"sentTime": "2024-02-29T23:59:59+01:00"}', ""),
    ('{"SENT_TIME": {"Seconds": 1, "NANOS": 2}}', ""),
    ('{"events": []}', ""),
    (' \n{"req_guid": "\\u00fc\\n"} ', "ü\n"),
    ("{}", ""), ("null", ""),
])
def test_every_form_of_json_that_go_takes_is_taken(port, text, guid):
    answer = requests.post(events_url(port), data=text, headers=JSON, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    check_json(answer.content, SUCCESS, OK, guid)


def test_a_null_event_is_skipped_or_refused_and_harms_nobody(port, kind):
    with websocket(port, kind) as socket:
        socket.send('{"req_guid": "null", "events": [null]}')
        answer = json.loads(socket.recv())
        assert answer["code"] in (OK, BAD_REQUEST)
        assert answer["code"] == OK or answer["reason"]
        socket.send('{"req_guid": "after"}')
        check_json(socket.recv(), SUCCESS, OK, "after")


def test_payloads_as_base64_and_as_arrays_are_the_same(port, kind, topic, promise, admin):
    payloads = [b"", b"a", b"ab", b"abc", bytes(range(256))]
    forms = [form for payload in payloads
             for form in (base64.b64encode(payload).decode(), list(payload), None if not payload else
                          base64.encodebytes(payload).decode())]
    rows = [{"event_bytes": form, "type": kind} for form in forms]
    answer = requests.post(events_url(port), json={"req_guid": "both", "events": rows},
                           timeout=PATIENCE)
    check_json(answer.content, SUCCESS, OK, "both")
    wanted = [payload for payload in payloads for _ in range(3)]
    promise(kind, *wanted)
    assert admin.values(topic) == wanted


@pytest.mark.parametrize("payload", ["YWI", "YW I=", "YW-_", "=", [1.5], ["1"], [[1]], {}, True, 7])
def test_payloads_of_no_form_are_refused(port, kind, payload):
    body = {"req_guid": "wrong", "events": [{"event_bytes": payload, "type": kind}]}
    answer = requests.post(events_url(port), json=body, timeout=PATIENCE)
    assert answer.status_code == 400
    check_json(answer.content, ERROR, BAD_REQUEST, None, "deserialization failure")
