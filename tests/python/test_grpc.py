"""gRPC by `grpcio`: the call, its refusals, deadlines, compression, sizes; health and reflection."""

import os
import queue
import random
import socket
import struct

import grpc
import h2.connection
import h2.events
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

from clients import (BAD_REQUEST, ERROR, OK, PATIENCE, SUCCESS, check_protobuf, protobuf_request)

ANY_BYTES = bytes(range(256))
ME = (("x-user-id", "grpcio"),)
SERVICE = "raystack.raccoon.v1beta1.EventService"
SEND_EVENT = f"/{SERVICE}/SendEvent"
STREAM = "ringtail.v1.EventStream"
# Go's limit, which Raccoon's clients know.
MESSAGE_BYTES_MAX = 4 << 20


def request(proto, guid, *events):
    return proto.SendEventRequest.FromString(protobuf_request(proto, guid, events))


def raw(channel, method=SEND_EVENT):
    """A unary call of bytes, so that they can be wrong."""
    return channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)


def failure(call, *words, **named):
    with pytest.raises(grpc.RpcError) as raised:
        call(*words, timeout=named.pop("timeout", PATIENCE), **named)
    return raised.value.code(), raised.value.details()


def test_a_batch_is_stored_and_answered(events, proto, kind, topic, promise, admin):
    sent = request(proto, "grpc-1", (kind, ANY_BYTES), (kind, b""))
    answer, call = events.SendEvent.with_call(sent, metadata=ME, timeout=PATIENCE)
    check_protobuf(proto, answer.SerializeToString(), SUCCESS, OK, "grpc-1")
    assert call.code() == grpc.StatusCode.OK
    promise(kind, ANY_BYTES, b"")
    assert admin.values(topic) == [ANY_BYTES, b""]


def test_an_empty_request_and_an_empty_guid_are_answered(events, proto):
    answer = events.SendEvent(proto.SendEventRequest(), metadata=ME, timeout=PATIENCE)
    check_protobuf(proto, answer.SerializeToString(), SUCCESS, OK, "")


def test_calls_side_by_side_are_each_answered(events, proto, kind, promise, topic, admin):
    sent = [request(proto, f"g-{number}", (kind, str(number).encode())) for number in range(300)]
    calls = [events.SendEvent.future(each, metadata=ME, timeout=PATIENCE) for each in sent]
    guids = [call.result().data["req_guid"] for call in calls]
    assert guids == [each.req_guid for each in sent]
    stored = admin.values(topic)
    assert sorted(stored, key=int) == [str(number).encode() for number in range(300)]
    promise(kind, *stored)


def test_a_call_without_an_id_fails(events, proto):
    code, details = failure(events.SendEvent, proto.SendEventRequest())
    assert (code, details) == (grpc.StatusCode.UNKNOWN, "connection id header missing")


def test_an_empty_id_is_accepted(events, proto):
    answer = events.SendEvent(proto.SendEventRequest(), metadata=(("x-user-id", ""),), timeout=PATIENCE)
    assert answer.code == OK


def test_what_is_no_request_is_internal(channel):
    code, details = failure(raw(channel), b"\x0a\xff", metadata=ME)
    assert code == grpc.StatusCode.INTERNAL
    assert details.startswith("cannot deserialize request: ")


def test_a_type_without_a_topic_is_an_answer(events, proto):
    answer = events.SendEvent(request(proto, "g", ("no topic / at all", b"x")), metadata=ME,
                              timeout=PATIENCE)
    check_protobuf(proto, answer.SerializeToString(), ERROR, BAD_REQUEST, "g", "event 0: …",
                   events=[0])


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_taken(events, proto, kind, topic, promise, admin, compression):
    payload = b"again and " * 5000
    answer = events.SendEvent(request(proto, "packed", (kind, payload)), metadata=ME,
                              compression=compression, timeout=PATIENCE)
    assert answer.code == OK
    promise(kind, payload)
    assert admin.values(topic) == [payload]


def test_the_largest_message_is_taken(events, proto, kind, topic, promise, admin):
    sizes = [900_000] * 4
    rest = MESSAGE_BYTES_MAX - request(proto, "large", *((kind, bytes(size)) for size in sizes)).ByteSize()
    # Its type, two tags and three lengths of up to four bytes take room too.
    sizes.append(rest - len(kind) - 12)
    whole = request(proto, "large", *((kind, bytes(size)) for size in sizes))
    assert MESSAGE_BYTES_MAX - 8 <= whole.ByteSize() <= MESSAGE_BYTES_MAX
    answer = events.SendEvent(whole, metadata=ME, timeout=PATIENCE)
    assert answer.code == OK
    promise(kind, *(bytes(size) for size in sizes))
    assert [len(value) for value in admin.values(topic)] == sizes


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_message_over_the_limit_exhausts_the_resource(channel, compression):
    code, details = failure(raw(channel), bytes(MESSAGE_BYTES_MAX + 1), metadata=ME,
                            compression=compression)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, details
    assert "larger than max" in details


# ---- the stream ----


def stream(channel, requests, metadata=ME, **named):
    """The answers to a stream of bytes."""
    call = channel.stream_stream(f"/{STREAM}/SendEvents", request_serializer=bytes,
                                 response_deserializer=bytes)
    return call(iter(requests), metadata=metadata, timeout=PATIENCE, **named)


def test_a_stream_answers_each_batch_in_its_turn(channel, proto, kind, topic, promise, admin):
    payloads = [str(number).encode() for number in range(500)]
    sent = [protobuf_request(proto, f"g-{number}", [(kind, payload)])
            for number, payload in enumerate(payloads)]
    answers = list(stream(channel, sent))
    assert len(answers) == len(sent)
    for number, answer in enumerate(answers):
        check_protobuf(proto, answer, SUCCESS, OK, f"g-{number}")
    promise(kind, *payloads)
    assert admin.values(topic) == payloads


def test_a_stream_answers_before_it_ends(channel, proto, kind, promise):
    requests = queue.SimpleQueue()
    answers = stream(channel, iter(requests.get, None))
    for number in range(5):
        requests.put(protobuf_request(proto, f"{number}", [(kind, b"x")]))
        check_protobuf(proto, next(answers), SUCCESS, OK, f"{number}")
        promise(kind, b"x")
    requests.put(None)
    assert list(answers) == []


def test_what_a_stream_refuses_does_not_end_it(channel, proto, kind, promise):
    sent = [b"\x0a\x03cut\xff", protobuf_request(proto, "bad", [("no topic / at all", b"x")]),
            protobuf_request(proto, "good", [(kind, b"x")])]
    answers = list(stream(channel, sent))
    check_protobuf(proto, answers[0], ERROR, BAD_REQUEST, "cut", "cannot deserialize request: …")
    check_protobuf(proto, answers[1], ERROR, BAD_REQUEST, "bad", "event 0: …", events=[0])
    check_protobuf(proto, answers[2], SUCCESS, OK, "good")
    promise(kind, b"x")


def test_an_empty_stream_ends_well(channel):
    assert list(stream(channel, [])) == []


def test_a_stream_without_an_id_fails(channel):
    with pytest.raises(grpc.RpcError) as raised:
        list(stream(channel, [b""], metadata=()))
    assert raised.value.code() == grpc.StatusCode.UNKNOWN
    assert raised.value.details() == "connection id header missing"


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_stream_answers_what_came_before_a_message_over_the_limit(
        channel, proto, kind, promise, compression):
    good = protobuf_request(proto, "good", [(kind, b"x")])
    answers = stream(channel, [good, bytes(MESSAGE_BYTES_MAX + 1)], compression=compression)
    check_protobuf(proto, next(answers), SUCCESS, OK, "good")
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    promise(kind, b"x")


# ---- by hand ----


class ByHand:
    """One call over HTTP/2 whose every frame is ours: grpcio itself would end it at its deadline."""

    def __init__(self, *headers):
        address = ("127.0.0.1", int(os.environ["RINGTAIL_GRPC"]))
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.http = h2.connection.H2Connection()
        self.http.initiate_connection()
        self.http.send_headers(1, [
            (":method", "POST"), (":path", SEND_EVENT), (":scheme", "http"), (":authority", "here"),
            ("content-type", "application/grpc"), ("te", "trailers"), *headers])
        self.flush()

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def send(self, body, end=True):
        self.http.send_data(1, body, end_stream=end)
        self.flush()

    def answer(self):
        """The headers and trailers of the whole answer, and its body."""
        headers, body = {}, b""
        while True:
            received = self.socket.recv(65536)
            assert received, "the connection ended before the answer"
            for event in self.http.receive_data(received):
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    headers.update((name.decode(), value.decode()) for name, value in event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self.socket.close()
                    return headers, body
            self.flush()


@pytest.mark.parametrize("sent", [b"", b"\0\0\0\0\x09torn"])
def test_a_deadline_ends_a_call_whose_body_does_not_come(sent):
    call = ByHand(*ME, ("grpc-timeout", "50m"))
    call.send(sent, end=False)
    headers, body = call.answer()
    assert headers[":status"] == "200" and body == b""
    assert headers["grpc-status"] == "4"
    assert headers["grpc-message"].startswith("the deadline is over")


def test_an_answer_is_framed_and_ends_with_its_status(proto):
    call = ByHand(*ME)
    call.send(b"\0\0\0\0\0")
    headers, body = call.answer()
    assert headers["content-type"] == "application/grpc"
    assert headers["grpc-status"] == "0"
    assert body[:1] == b"\0" and int.from_bytes(body[1:5], "big") == len(body) - 5
    check_protobuf(proto, body[5:], SUCCESS, OK, "")


@pytest.mark.parametrize("body", [b"\0\0\0\0\x09torn", b"\2\0\0\0\0", b""])
def test_a_torn_message_and_none_at_all_are_internal(body):
    call = ByHand(*ME)
    call.send(body)
    assert call.answer()[0]["grpc-status"] == "13"


def test_a_prefix_that_claims_too_much_is_refused_at_once():
    call = ByHand(*ME)
    call.send(b"\0\xff\xff\xff\xff", end=False)
    assert call.answer()[0]["grpc-status"] == "8"


@pytest.mark.parametrize("method", [f"/{SERVICE}/Nothing", "/no.such.Service/SendEvent", "/x"])
def test_an_unknown_method_is_unimplemented(channel, method):
    code, _ = failure(raw(channel, method), b"", metadata=ME)
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_two_messages_in_a_unary_call_are_refused(channel):
    call = channel.stream_unary(SEND_EVENT, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as raised:
        call(iter([b"", b""]), metadata=ME, timeout=PATIENCE)
    assert raised.value.code() == grpc.StatusCode.INTERNAL


def test_what_is_not_http_2_is_turned_away():
    address = ("127.0.0.1", int(os.environ["RINGTAIL_GRPC"]))
    with socket.create_connection(address, timeout=PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        received = b""
        try:
            while more := plain.recv(65536):
                received += more
        except ConnectionResetError:
            pass
        assert b"HTTP/1.1 200" not in received


# ---- health ----


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_is_served(channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_of_a_stranger_is_not_found(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    wrong = health_pb2.HealthCheckRequest(service="stranger")
    code, _ = failure(stub.Check, wrong)
    assert code == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(wrong, timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_a_watch_says_the_state_at_once(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


# ---- reflection ----


def test_reflection_tells_the_contract(channel, proto):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        SERVICE, STREAM, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection"}
    pool = DescriptorPool(database)
    told = pool.FindMessageTypeByName("raystack.raccoon.v1beta1.SendEventRequest")
    ours = proto.SendEventRequest.DESCRIPTOR
    assert [(f.name, f.number) for f in told.fields] == [(f.name, f.number) for f in ours.fields]
    assert pool.FindServiceByName(SERVICE).methods[0].name == "SendEvent"
    assert pool.FindServiceByName(STREAM).methods[0].name == "SendEvents"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_reflection_answer_in_order(channel, version):
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    asked = [
        reflection_pb2.ServerReflectionRequest(host="h", list_services=""),
        reflection_pb2.ServerReflectionRequest(file_by_filename="no.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(),
    ]
    answers = list(call(iter(asked), timeout=PATIENCE))
    assert [answer.original_request for answer in answers] == asked
    kinds = [answer.WhichOneof("message_response") for answer in answers]
    assert kinds == ["list_services_response", "error_response", "file_descriptor_response",
                     "error_response"]
    assert answers[1].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_no_bytes_after_the_preface_bring_the_door_down(channel):
    address = ("127.0.0.1", int(os.environ["RINGTAIL_GRPC"]))
    seeded = random.Random(20261121)
    frame = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    for _ in range(300):
        noise = bytearray(frame * 3 + seeded.randbytes(seeded.randrange(200)))
        for _ in range(seeded.randrange(8)):
            noise[seeded.randrange(len(noise))] = seeded.randrange(256)
        with socket.create_connection(address, timeout=PATIENCE) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise)
            if seeded.random() < 0.5:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stub = health_pb2_grpc.HealthStub(channel)
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == 1
