"""REST by curl: content types, encodings, refusals, methods, sizes."""

import base64
import gzip
import json

import pytest

from clients import (BAD_REQUEST, ERROR, MESSAGE_BYTES_MAX, OK, SUCCESS, check_json,
                     check_protobuf, curl, json_request, post, protobuf_request)

ANY_BYTES = bytes(reversed(range(256)))


@pytest.mark.parametrize("content_type", [
    "application/proto", "application/x-protobuf", "application/protobuf",
    "application/proto; charset=utf-8",
])
def test_protobuf_is_answered_in_protobuf(port, proto, kind, topic, promise, admin, content_type):
    body = protobuf_request(proto, "rest", [(kind, ANY_BYTES), (kind, b"")])
    answer = post(port, content_type, body, "-H", "X-User-ID: curl")
    assert answer.status == 200
    assert answer.content_type == content_type.split(";")[0]
    check_protobuf(proto, answer.body, SUCCESS, OK, "rest")
    promise(kind, ANY_BYTES, b"")
    assert admin.values(topic) == [ANY_BYTES, b""]


@pytest.mark.parametrize("content_type", [
    "application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8",
])
def test_json_is_answered_in_json(port, kind, topic, promise, admin, content_type):
    answer = post(port, content_type, json_request("rest", [(kind, ANY_BYTES)]))
    assert answer.status == 200
    assert answer.content_type == "application/json"
    check_json(answer.body, SUCCESS, OK, "rest")
    promise(kind, ANY_BYTES)
    assert admin.values(topic) == [ANY_BYTES]


def test_the_python_clients_form_is_taken(port, kind, topic, promise, admin):
    event = {"type": kind, "event_bytes": base64.b64encode(b"from python").decode()}
    sent = {"seconds": 1_700_000_000, "nanos": 123_000_000}
    body = {"req_guid": "py", "sent_time": sent, "events": [event]}
    answer = post(port, "application/json", json.dumps(body, indent=2))
    assert answer.status == 200
    check_json(answer.body, SUCCESS, OK, "py")
    promise(kind, b"from python")
    assert admin.values(topic) == [b"from python"]


@pytest.mark.parametrize("content_type", [
    None, "text/plain", "application/xml", "application/jsonx", "application/x-www-form-urlencoded",
])
def test_another_content_type_is_refused_in_json(port, content_type):
    answer = post(port, content_type, "{}")
    assert answer.status == 400
    assert answer.content_type == "application/json"
    check_json(answer.body, ERROR, BAD_REQUEST, None, "invalid content type")


def test_undecodable_bodies_are_refused(port, proto, kind):
    whole = protobuf_request(proto, "cut", [(kind, b"x" * 50)])
    for body in (b"\xff\xff", whole[:-1], b"{}"):
        answer = post(port, "application/proto", body)
        assert answer.status == 400
        assert answer.content_type == "application/proto"
        check_protobuf(proto, answer.body, ERROR, BAD_REQUEST, None, "deserialization failure")
    for body in ("{", "[]", json_request("cut", [(kind, b"x")])[:-1], b'"\xff"', ""):
        answer = post(port, "application/json", body)
        assert answer.status == 400
        assert answer.content_type == "application/json"
        check_json(answer.body, ERROR, BAD_REQUEST, None, "deserialization failure")


def test_an_empty_protobuf_body_and_a_null_are_empty_requests(port, proto):
    answer = post(port, "application/proto", b"")
    assert answer.status == 200
    check_protobuf(proto, answer.body, SUCCESS, OK, "")
    answer = post(port, "application/json", "null")
    assert answer.status == 200
    check_json(answer.body, SUCCESS, OK, "")


def test_a_type_that_makes_no_topic_name_is_refused_with_the_reason(port, kind):
    answer = post(port, "application/json", json_request("bad", [(kind, b"1"), ("a b", b"2")]))
    assert answer.status == 400
    said = check_json(answer.body, ERROR, BAD_REQUEST, "bad", "…", events=[1])
    assert "topic" in said["reason"]


def test_a_body_over_the_limit_is_413(port):
    answer = post(port, "application/proto", bytes(MESSAGE_BYTES_MAX + 1))
    assert answer.status == 413
    chunked = post(port, "application/proto", bytes(MESSAGE_BYTES_MAX + 1),
                   "-H", "Transfer-Encoding: chunked")
    assert chunked.status == 413


def test_a_chunked_body_is_taken(port, proto, kind, topic, promise, admin):
    body = protobuf_request(proto, "chunks", [(kind, bytes(100_000))])
    answer = post(port, "application/proto", body, "-H", "Transfer-Encoding: chunked")
    assert answer.status == 200
    check_protobuf(proto, answer.body, SUCCESS, OK, "chunks")
    promise(kind, bytes(100_000))
    assert admin.values(topic) == [bytes(100_000)]


def test_wrong_methods_and_paths(port):
    base = f"http://127.0.0.1:{port}"
    for method in ("PUT", "DELETE", "PATCH"):
        assert curl(f"{base}/api/v1/events", "-X", method).status == 405
    assert curl(f"{base}/ping", "-X", "POST").status == 405
    assert curl(f"{base}/nothing/here").status == 404
    assert curl(f"{base}/api/v1/events").status == 426, "a GET that is no upgrade"


def test_ping_is_answered_with_pong(port):
    answer = curl(f"http://127.0.0.1:{port}/ping")
    assert (answer.status, answer.body) == (200, b"pong")


def test_one_connection_serves_many_requests(port, kind, topic, promise, admin):
    url = f"http://127.0.0.1:{port}/api/v1/events"
    body = json_request("again", [(kind, b"again")])
    words = ["-H", "Content-Type: application/json"]
    answer = curl(url, *words, url, "-o", "/dev/null", body=body)
    assert answer.status == 200
    promise(kind, b"again", b"again")
    assert admin.values(topic) == [b"again", b"again"]


def test_each_event_that_cannot_be_accepted_is_named(port, proto, kind):
    events = [(kind if number % 3 else "no topic / at all", b"x") for number in range(9)]
    answer = post(port, "application/json", json_request("some", events))
    assert answer.status == 400
    check_json(answer.body, ERROR, BAD_REQUEST, "some",
               "3 of 9 events, the first is event 0: …", events=[0, 3, 6])
    events = [("no topic / at all", b"x")] * 500
    answer = post(port, "application/proto", protobuf_request(proto, "all", events))
    check_protobuf(proto, answer.body, ERROR, BAD_REQUEST, "all", "500 of 500 events, …",
                   events=range(16))


def test_a_gzipped_body_is_taken(port, kind, topic, promise, admin):
    payload = b"again and " * 5000
    body = gzip.compress(json_request("packed", [(kind, payload)]).encode())
    answer = post(port, "application/json", body, "-H", "Content-Encoding: gzip")
    assert answer.status == 200
    check_json(answer.body, SUCCESS, OK, "packed")
    promise(kind, payload)
    assert admin.values(topic) == [payload]


def test_a_zip_bomb_gets_413(port):
    bomb = gzip.compress(b" " * (200 << 20))
    assert len(bomb) < MESSAGE_BYTES_MAX
    answer = post(port, "application/json", bomb, "-H", "Content-Encoding: gzip")
    assert answer.status == 413
    check_json(answer.body, ERROR, BAD_REQUEST, None, "message too large")


@pytest.mark.parametrize("coding, status", [("gzip", 400), ("zstd", 400), ("br", 415)])
def test_a_body_that_does_not_inflate_is_refused(port, coding, status):
    answer = post(port, "application/json", "{}", "-H", f"Content-Encoding: {coding}")
    assert answer.status == status
