"""What operators read: topics, records, metrics, health."""

import base64
import json
import time

from clients import (BAD_REQUEST, ERROR, OK, SUCCESS, check_json, check_protobuf, json_request,
                     post, protobuf_request, websocket)


def test_topics_tell_first_and_next_offset(port, kind, topic, promise, admin):
    for number in range(3):
        post(port, "application/json", json_request("", [(kind, b"%d" % number)]))
        promise(kind, b"%d" % number)
    row = admin.topics()[topic]
    (partition,) = row["partitions"]
    assert partition == {"partition": 0, "first": 0, "next": 3, "dead_bytes": 0}


def test_records_are_read_by_offset_and_limit(port, kind, topic, promise, admin):
    payloads = [bytes([number]) * number for number in range(50)]
    before = time.time()
    post(port, "application/json", json_request("", [(kind, payload) for payload in payloads]))
    promise(kind, *payloads)
    rows = admin.records(topic)
    assert [row["offset"] for row in rows] == list(range(50))
    for row, payload in zip(rows, payloads, strict=True):
        assert set(row) == {"offset", "timestamp_ms", "value_base64"}
        assert base64.b64decode(row["value_base64"], validate=True) == payload
        assert type(row["timestamp_ms"]) is int
        assert abs(row["timestamp_ms"] / 1000 - before) < 10
    assert admin.records(topic, offset=45) == rows[45:]
    assert admin.records(topic, offset=7, limit=3) == rows[7:10]
    assert admin.records(topic, offset=50) == []


def test_questions_without_an_answer_are_refused(port, kind, topic, promise, admin):
    post(port, "application/json", json_request("", [(kind, b"x")]))
    promise(kind, b"x")
    assert admin.get("/topics/never-heard-of/partitions/0/records")[0] == 404
    assert admin.get(f"/topics/{topic}/partitions/77/records")[0] == 404
    assert admin.get(f"/topics/{topic}/partitions/0/records?offset=many")[0] == 400
    assert admin.get(f"/topics/{topic}/partitions/0/records?limit=-1")[0] == 400
    assert admin.get("/nothing")[0] == 404


def test_health_is_told(admin):
    assert admin.get("/healthz")[0] == 200
    assert admin.get("/readyz")[0] == 200


def _value(page, name, **labels):
    """The sum of a metric's samples that bear these labels."""
    found = 0.0
    for line in page.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            if all(f'{key}="{value}"' in line for key, value in labels.items()):
                found += float(line.rsplit(" ", 1)[1])
    return found


def test_metrics_count_what_happens(port, proto, kind, promise, admin):
    before = admin.metrics()
    with websocket(port, kind) as socket:
        socket.send(protobuf_request(proto, "m", [(kind, b"12345"), (kind, b"678")]))
        check_protobuf(proto, socket.recv(), SUCCESS, OK, "m")
        socket.send("{")
        check_json(socket.recv(), ERROR, BAD_REQUEST, "", "cannot deserialize request: …")
        during = admin.metrics()
    post(port, "text/plain", "{}")
    promise(kind, b"12345", b"678")
    after = admin.metrics()

    def grown(name, since=before, until=after, **labels):
        return _value(until, name, **labels) - _value(since, name, **labels)

    assert grown("batches_read_total", status="success") == 1
    assert grown("batches_read_total", reason="serde") == 1
    assert grown("batches_read_total", reason="unknowncontentype") == 1
    assert grown("events_rx_total") == 2
    assert grown("events_rx_bytes_total") == 8
    assert grown("user_connection_success_total") == 1
    assert _value(during, "connections_count_current") >= 1
    assert grown("ringtail_events_accepted_total") == 2
    assert grown("ringtail_events_durable_total") == 2
    assert grown("ringtail_commits_total") >= 1


def test_the_metrics_page_is_whole(admin):
    page = admin.metrics()
    for name in [
        "batches_read_total", "events_rx_total", "events_rx_bytes_total",
        "user_connection_success_total", "user_connection_failure_total",
        "connections_count_current", "user_session_duration_milliseconds",
        "ringtail_received_bytes_total",
        "ringtail_events_accepted_total", "ringtail_events_accepted_bytes_total",
        "ringtail_events_durable_total", "ringtail_events_durable_bytes_total",
        "ringtail_batches_refused_total", "ringtail_commits_total", "ringtail_commit_bytes",
        "ringtail_flush_seconds", "ringtail_in_flight_bytes",
        "ringtail_receive_to_durable_seconds",
    ]:
        assert f"# TYPE {name} " in page, f"{name} is not on the page"
    samples = [line for line in page.splitlines() if line and not line.startswith("#")]
    for line in samples:
        float(line.rsplit(" ", 1)[1])
    names = [line.rsplit(" ", 1)[0] for line in samples]
    assert len(names) == len(set(names)), "a sample stands twice on the page"


def test_topics_and_metrics_are_plain_to_any_reader(admin):
    status, content_type, body = admin.get("/topics")
    assert (status, content_type) == (200, "application/json")
    json.loads(body)
