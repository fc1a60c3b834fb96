"""Raccoon's metrics by group and type, on the page and by StatsD."""

import os
import re
import socket
import time

from websockets.sync.client import connect

from clients import OK, PATIENCE, SUCCESS, check_protobuf, post, protobuf_request

GROUP = ("-H", "X-Group: riders")


def sample(page, name, **labels):
    """The sum of the samples that have these labels."""
    total = 0
    for line in page.splitlines():
        head, _, value = line.rpartition(" ")
        found = dict(re.findall(r'(\w+)="([^"]*)"', head))
        if head.split("{")[0] == name and labels.items() <= found.items():
            total += float(value)
    return total


def test_batches_are_counted_by_group_and_type(port, proto, kind, promise, topic, admin):
    before = admin.metrics()
    post(port, "application/proto", protobuf_request(proto, "", [(kind, b"12"), (kind, b"3")]), *GROUP)
    post(port, "application/proto", b"\xff", *GROUP)
    post(port, "text/plain", b"", *GROUP)
    promise(kind, b"12", b"3")
    after = admin.metrics()

    def grown(name, **labels):
        return sample(after, name, **labels) - sample(before, name, **labels)

    for reason, status in [("NA", "success"), ("serde", "failed"), ("unknowncontentype", "failed")]:
        labels = {"conn_group": "riders", "reason": reason, "status": status}
        assert grown("batches_read_total", **labels) == 1, reason
    own = {"conn_group": "riders", "event_type": kind}
    assert grown("events_rx_total", **own) == 2
    assert grown("events_rx_bytes_total", **own) == 3
    assert grown("kafka_messages_delivered_total", topic=topic, **own) == 2
    assert grown("server_processing_latency_milliseconds_count", conn_group="riders") == 1
    assert grown("event_processing_duration_milliseconds_count", conn_group="riders") == 1
    assert grown("event_rtt_ms_count") == 1


def test_connections_are_counted_by_group(port, kind, admin):
    def current():
        return sample(admin.metrics(), "connections_count_current", conn_group="drivers")

    before = sample(admin.metrics(), "user_session_duration_milliseconds_count", conn_group="drivers")
    headers = {"X-User-ID": kind, "X-Group": "drivers"}
    with connect(f"ws://127.0.0.1:{port}/api/v1/events", additional_headers=headers) as client:
        client.ping().wait(PATIENCE)
        assert current() == 1
    until = time.monotonic() + PATIENCE
    while current() != 0:
        assert time.monotonic() < until
    page = admin.metrics()
    assert sample(page, "user_session_duration_milliseconds_count", conn_group="drivers") == before + 1


def test_statsd_gets_the_same_names_with_tags(port, proto, kind, promise):
    # A group of its own, so that no other test's numbers come in the same line.
    group = f"couriers-{kind}"
    tags = f"conn_group={group}"
    wanted = {
        f"events_rx_total,{tags},event_type={kind}": 3,
        f"batches_read_total,status=success,reason=NA,{tags}": 1,
    }
    current = f"connections_count_current,{tags}:0|g"
    latency = re.compile(rf"server_processing_latency_milliseconds,{tags}:[\d.]+\|ms(\|@[\d.]+)?")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", int(os.environ["RINGTAIL_STATSD"])))
        server.settimeout(PATIENCE)
        body = protobuf_request(proto, "", [(kind, b"1")] * 3)
        answer = post(port, "application/proto", body, "-H", f"X-Group: {group}")
        check_protobuf(proto, answer.body, SUCCESS, OK, "")
        promise(kind, b"1", b"1", b"1")
        lines, counted = set(), dict.fromkeys(wanted, 0)
        until = time.monotonic() + PATIENCE
        # Counters go out as what is new, so a batch may be told of in two pieces.
        while counted != wanted or current not in lines or not any(map(latency.fullmatch, lines)):
            assert time.monotonic() < until, (counted, [line for line in lines if group in line])
            datagram = server.recv(65536)
            assert len(datagram) <= 1432
            for line in datagram.decode().split("\n"):
                lines.add(line)
                name, _, value = line.rpartition(":")
                if name in counted:
                    counted[name] += int(value.removesuffix("|c"))
        for line in lines:
            assert re.fullmatch(r"[\w,=.-]+:-?[\d.]+\|(c|g|ms)(\|@[\d.e-]+)?", line), line
