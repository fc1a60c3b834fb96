"""permessage-deflate (RFC 7692) by `websockets`, whose extension is on, and by hand."""

import struct
import zlib

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from clients import (BAD_REQUEST, BINARY, CONTINUATION, ERROR, MESSAGE_BYTES_MAX, OK, PING, PONG,
                     SUCCESS, RawSocket, check_json, check_protobuf, frame, json_request,
                     protobuf_request, websocket)

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
PACKED = 4


def deflate(plain):
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert packed.endswith(b"\0\0\xff\xff")
    return packed[:-4]


@pytest.fixture
def raw(port, kind):
    with RawSocket(port, kind, headers=[OFFER]) as socket:
        assert "permessage-deflate" in socket.upgraded().head
        yield socket


def extension(socket):
    (agreed,) = socket.protocol.extensions
    return agreed


def test_the_library_agrees_on_compression_without_contexts(port, proto, kind, topic, promise, admin):
    payloads = [b"again and " * 5000, bytes(range(256)), b""]
    with websocket(port, kind, compression="deflate") as socket:
        agreed = extension(socket)
        assert agreed.remote_no_context_takeover and agreed.local_no_context_takeover
        for number, payload in enumerate(payloads * 2):
            socket.send(protobuf_request(proto, f"{number}", [(kind, payload)]))
            check_protobuf(proto, socket.recv(), SUCCESS, OK, f"{number}")
        socket.send(json_request("json", [(kind, b"text")]))
        check_json(socket.recv(), SUCCESS, OK, "json")
    promise(kind, *payloads, *payloads, b"text")
    assert admin.values(topic) == payloads * 2 + [b"text"]


@pytest.mark.parametrize("options", [
    {"server_max_window_bits": 9}, {"client_max_window_bits": 9}, {"client_max_window_bits": True},
    {"server_no_context_takeover": True}, {"client_no_context_takeover": True},
    {"server_max_window_bits": 15, "client_max_window_bits": 15, "server_no_context_takeover": True,
     "client_no_context_takeover": True},
])
def test_every_offer_of_the_rfc_is_agreed_on(port, kind, promise, options):
    factory = ClientPerMessageDeflateFactory(**options)
    with websocket(port, kind, extensions=[factory]) as socket:
        agreed = extension(socket)
        bits = options.get("server_max_window_bits", 15)
        assert agreed.remote_max_window_bits == bits
        socket.send(json_request("packed", [(kind, b"x" * 3000)]))
        check_json(socket.recv(), SUCCESS, OK, "packed")
    promise(kind, b"x" * 3000)


@pytest.mark.parametrize("offer", [
    "permessage-deflate; server_max_window_bits=7", "permessage-deflate; mystery", "x-webkit-deflate",
    "permessage-deflate; server_no_context_takeover=1",
])
def test_what_cannot_be_honoured_is_declined(port, kind, offer):
    with RawSocket(port, kind, headers=[f"Sec-WebSocket-Extensions: {offer}"]) as socket:
        assert "sec-websocket-extensions" not in socket.upgraded().head.lower()
        socket.send(frame(BINARY, deflate(b""), rsv=PACKED))
        socket.closed_with(1002)


def test_fragments_of_a_compressed_message_are_one_message(raw, proto, kind, promise):
    packed = deflate(protobuf_request(proto, "parts", [(kind, b"y" * 9000)]))
    raw.send(frame(BINARY, packed[:5], fin=False, rsv=PACKED), frame(PING, b"?"),
             frame(CONTINUATION, packed[5:], fin=False), frame(CONTINUATION, b""))
    assert raw.receive() == (PONG, b"?")
    check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "parts")
    promise(kind, b"y" * 9000)


def test_plain_and_compressed_messages_mix(raw, proto, kind, promise):
    message = protobuf_request(proto, "one", [(kind, b"z" * 100)])
    raw.send(frame(BINARY, message), frame(BINARY, deflate(message), rsv=PACKED), frame(BINARY, message))
    for _ in range(3):
        check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "one")
    promise(kind, *[b"z" * 100] * 3)


def test_an_inflated_message_of_the_greatest_size_is_taken(raw, proto, kind, promise):
    events = [(kind, b"\x01" * 500_000), (kind, b"\x02" * 500_000)]
    rest = MESSAGE_BYTES_MAX - len(protobuf_request(proto, "", events))
    guid = "g" * (rest - 4)
    message = protobuf_request(proto, guid, events)
    assert len(message) == MESSAGE_BYTES_MAX
    raw.send(frame(BINARY, deflate(message), rsv=PACKED))
    check_protobuf(proto, raw.receive()[1], SUCCESS, OK, guid)
    promise(kind, *(payload for _, payload in events))


def test_a_bomb_is_closed_with_1009(raw):
    bomb = deflate(bytes(100 << 20))
    assert len(bomb) < MESSAGE_BYTES_MAX
    raw.send(frame(BINARY, bomb, rsv=PACKED))
    raw.closed_with(1009)


@pytest.mark.parametrize("wrong", [b"\xff\xff", deflate(b"cut short, cut short")[:-3], b"{}"])
def test_what_does_not_inflate_is_closed_with_1007(raw, wrong):
    raw.send(frame(BINARY, wrong, rsv=PACKED))
    raw.closed_with(1007)


@pytest.mark.parametrize("frames", [
    pytest.param([frame(PING, b"x", rsv=PACKED)], id="a ping"),
    pytest.param([frame(8, struct.pack(">H", 1000), rsv=PACKED)], id="a close"),
    pytest.param([frame(BINARY, b"", fin=False), frame(CONTINUATION, b"", rsv=PACKED)],
                 id="a later fragment"),
    pytest.param([frame(BINARY, b"", rsv=PACKED | 2)], id="a second reserved bit"),
])
def test_the_bit_in_a_wrong_place_is_closed_with_1002(raw, frames):
    raw.send(*frames)
    raw.closed_with(1002)


def test_inflated_bytes_that_are_no_request_are_refused_and_the_connection_goes_on(raw, proto):
    raw.send(frame(BINARY, deflate(b"\xff\xff"), rsv=PACKED), frame(BINARY, deflate(b""), rsv=PACKED))
    check_protobuf(proto, raw.receive()[1], ERROR, BAD_REQUEST, "", "cannot deserialize request: …")
    check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "")
