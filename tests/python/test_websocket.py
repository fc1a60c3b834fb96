"""Binary is protobuf, text is JSON; each request has its answer, in order, in its own encoding."""

import base64
import contextlib
import json

import pytest

from clients import (BAD_REQUEST, ERROR, MESSAGE_BYTES_MAX, OK, SUCCESS, check_json,
                     check_protobuf, json_request, protobuf_request, websocket)

SERDE = "cannot deserialize request: …"
ANY_BYTES = bytes(range(256)) * 3


def test_protobuf_is_answered_in_protobuf(port, proto, kind, topic, promise, admin):
    events = [(kind, b"one"), (kind, b""), (kind, ANY_BYTES)]
    with websocket(port, kind) as socket:
        socket.send(protobuf_request(proto, "guid-1", events))
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "guid-1")
    promise(kind, b"one", b"", ANY_BYTES)
    assert admin.values(topic) == [b"one", b"", ANY_BYTES]


def test_json_is_answered_in_json(port, kind, topic, promise, admin):
    events = [(kind, b"one"), (kind, b""), (kind, ANY_BYTES)]
    with websocket(port, kind) as socket:
        socket.send(json_request("guid-ü", events))
        answer = socket.recv()
        assert type(answer) is str
        check_json(answer, SUCCESS, OK, "guid-ü")
    promise(kind, b"one", b"", ANY_BYTES)
    assert admin.values(topic) == [b"one", b"", ANY_BYTES]


def test_answers_keep_the_order_of_requests_of_all_kinds(port, proto, kind, promise):
    with websocket(port, kind) as socket:
        for number in range(200):
            payload = f"{number}".encode()
            if number % 4 == 0:
                socket.send(protobuf_request(proto, f"{number}", [(kind, payload)]))
            elif number % 4 == 1:
                socket.send(json_request(f"{number}", [(kind, payload)]))
            elif number % 4 == 2:
                socket.send(b"\xff\xff\xff")
            else:
                socket.send("{")
        for number in range(200):
            answer = socket.recv()
            if number % 4 == 0:
                check_protobuf(proto, answer, SUCCESS, OK, f"{number}")
            elif number % 4 == 1:
                check_json(answer, SUCCESS, OK, f"{number}")
            elif number % 4 == 2:
                check_protobuf(proto, answer, ERROR, BAD_REQUEST, "", SERDE)
            else:
                check_json(answer, ERROR, BAD_REQUEST, "", SERDE)
    promise(kind, *(f"{number}".encode() for number in range(200) if number % 4 < 2))


def test_one_request_may_fill_many_topics(port, proto, kind, promise, admin):
    events = [(f"{kind}-{number % 3}", f"{number}".encode()) for number in range(30)]
    with websocket(port, kind) as socket:
        socket.send(protobuf_request(proto, "many", events))
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "many")
    for number in range(3):
        values = [payload for name, payload in events if name.endswith(f"-{number}")]
        promise(f"{kind}-{number}", *values)
        assert admin.values(f"clickstream-{kind}-{number}-log") == values


def test_an_empty_protobuf_message_is_an_empty_request(port, proto, kind):
    with websocket(port, kind) as socket:
        socket.send(b"")
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "")
        socket.send(protobuf_request(proto, "no events", []))
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "no events")


def test_an_empty_text_is_an_error(port, kind):
    with websocket(port, kind) as socket:
        socket.send("")
        check_json(socket.recv(), ERROR, BAD_REQUEST, "", SERDE)
        socket.send("null")
        check_json(socket.recv(), SUCCESS, OK, "")


def test_malformed_protobuf_is_refused_and_the_connection_goes_on(port, proto, kind, promise):
    whole = protobuf_request(proto, "kept", [(kind, b"x" * 50)])
    assert whole.startswith(b"\x0a\x04kept")
    with websocket(port, kind) as socket:
        for broken in [b"\xff", b"\x0a\x7f", b"\x00\x00", b"\x0b", b"\x0a\x02\xff\xfe"]:
            socket.send(broken)
            check_protobuf(proto, socket.recv(), ERROR, BAD_REQUEST, "", SERDE)
        # What was read before the error is in the answer.
        for cut in (1, 20, 40):
            socket.send(whole[:-cut])
            check_protobuf(proto, socket.recv(), ERROR, BAD_REQUEST, "kept", SERDE)
        socket.send(whole)
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "kept")
    promise(kind, b"x" * 50)


@pytest.mark.parametrize("text", [
    "{", "[]", '"text"', "17", "{}{}", '{"events": {}}', '{"req_guid": 5}', "nul",
    '{"events": [{"event_bytes": "no base64!"}]}', '{"events": [{"event_bytes": [256]}]}',
    '{"events": [{"event_bytes": [-1]}]}', '{"events": [{"type": []}]}',
    '{"sent_time": "yesterday"}', "[" * 5000,
])
def test_malformed_json_is_refused_and_the_connection_goes_on(port, kind, text):
    with websocket(port, kind) as socket:
        socket.send(text)
        check_json(socket.recv(), ERROR, BAD_REQUEST, "", SERDE)
        socket.send('{"req_guid": "after"}')
        check_json(socket.recv(), SUCCESS, OK, "after")


def test_truncated_json_is_refused_wherever_it_is_cut(port, kind):
    whole = json_request("guid", [(kind, b"payload")])
    with websocket(port, kind) as socket:
        for length in range(len(whole)):
            socket.send(whole[:length])
        for _ in range(len(whole)):
            check_json(socket.recv(), ERROR, BAD_REQUEST, "", SERDE)


def test_the_javascript_client_sends_arrays(port, kind, topic, promise, admin):
    events = [{"event_bytes": list(ANY_BYTES), "type": kind}, {"event_bytes": [], "type": kind}]
    body = {"req_guid": "js", "sent_time": {"seconds": 1, "nanos": 0}, "events": events}
    with websocket(port, kind) as socket:
        socket.send(json.dumps(body))
        check_json(socket.recv(), SUCCESS, OK, "js")
    promise(kind, ANY_BYTES, b"")
    assert admin.values(topic) == [ANY_BYTES, b""]


def test_json_is_read_as_go_reads_it(port, kind, topic, promise, admin):
    value = base64.b64encode(b"value").decode()
    lines = base64.b64encode(b"0123456789").decode()
    lines = lines[:4] + "\\r\\n" + lines[4:]
    with websocket(port, kind) as socket:
        for text, guid, payloads in [
            (f'{{"REQ_GUID": "a", "Events": [{{"EVENT_BYTES": "{value}", "TYPE": "{kind}"}}]}}',
             "a", [b"value"]),
            (f'{{"reqGuid": "b", "events": [{{"eventBytes": "{value}", "type": "{kind}"}}]}}',
             "b", [b"value"]),
            (f'{{"unknown": {{"deep": [1, null]}}, "req_guid": "c", "events": null}}', "c", []),
            ('{"req_guid": "d", "sent_time": "2024-02-29T12:00:00.5Z"}', "d", []),
            ('{"req_guid": "first", "req_guid": "last"}', "last", []),
            ('{"req_guid": "\\ud800!"}', "\ufffd!", []),
            ('{"req_guid": null, "sent_time": null}', "", []),
            (f'{{"req_guid": "e", "events": [{{"event_bytes": "{lines}", "type": "{kind}"}}]}}',
             "e", [b"0123456789"]),
        ]:
            socket.send(text)
            check_json(socket.recv(), SUCCESS, OK, guid)
            promise(kind, *payloads)
    assert admin.values(topic) == [b"value", b"value", b"0123456789"]


@pytest.mark.parametrize("wrong", ["a b", "é", "../../etc/passwd", "a/b", "x" * 300, "\x00", "a\n"])
def test_a_type_that_makes_no_topic_name_is_refused_whole(port, proto, admin, kind, wrong):
    good = f"{kind}-good"
    with websocket(port, kind) as socket:
        socket.send(protobuf_request(proto, "wrong", [(good, b"1"), (wrong, b"2")]))
        answer = check_protobuf(proto, socket.recv(), ERROR, BAD_REQUEST, "wrong", "…", events=[1])
        assert "topic" in answer.reason
        socket.send(json_request("wrong", [(good, b"1"), (wrong, b"2")]))
        check_json(socket.recv(), ERROR, BAD_REQUEST, "wrong", "…", events=[1])
        socket.send(b"")
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "")
    row = admin.topics().get(f"clickstream-{good}-log")
    if row is not None:
        assert admin.values(row["name"]) == []


def test_a_message_of_the_greatest_size_is_taken(port, proto, kind, topic, promise, admin):
    halves = [b"\x01" * 500_000, b"\x02" * 500_000]
    events = [(kind, half) for half in halves]
    rest = MESSAGE_BYTES_MAX - len(protobuf_request(proto, "", events))
    # A guid of this length has one byte of tag and three of length before it.
    guid = "g" * (rest - 4)
    message = protobuf_request(proto, guid, events)
    assert len(message) == MESSAGE_BYTES_MAX
    with websocket(port, kind) as socket:
        socket.send(message)
        check_protobuf(proto, socket.recv(), SUCCESS, OK, guid)
    promise(kind, *halves)
    assert admin.values(topic) == halves


def test_connections_do_not_meet_each_others_answers(port, proto, kind, promise):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(websocket(port, f"{kind}-{n}")) for n in range(20)]
        for number, socket in enumerate(sockets):
            socket.send(protobuf_request(proto, f"{number}", [(f"{kind}-{number}", b"mine")]))
        for number, socket in reversed(list(enumerate(sockets))):
            check_protobuf(proto, socket.recv(), SUCCESS, OK, f"{number}")
            promise(f"{kind}-{number}", b"mine")
