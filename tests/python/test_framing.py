"""RFC 6455 by hand: masks, fragments, control frames, close codes, sizes, text that is no text."""

import struct

import pytest

from clients import (BAD_REQUEST, BINARY, CLOSE, CONTINUATION, ERROR, MESSAGE_BYTES_MAX, OK, PING,
                     PONG, SUCCESS, TEXT, RawSocket, check_json, check_protobuf, frame,
                     protobuf_request)


@pytest.fixture
def raw(port, kind):
    with RawSocket(port, kind) as socket:
        yield socket.upgraded()


def test_a_frame_in_the_same_segment_as_the_upgrade_is_answered(port, proto, kind, promise):
    messages = [protobuf_request(proto, f"{n}", [(kind, b"%d" % n)]) for n in range(3)]
    first = b"".join(frame(BINARY, message) for message in messages)
    with RawSocket(port, kind, first) as raw:
        raw.upgraded()
        for number in range(3):
            opcode, payload = raw.receive()
            assert opcode == BINARY
            check_protobuf(proto, payload, SUCCESS, OK, f"{number}")
            promise(kind, b"%d" % number)


def test_half_a_frame_in_the_same_segment_as_the_upgrade_is_kept(port, proto, kind, promise):
    whole = frame(BINARY, protobuf_request(proto, "halves", [(kind, b"x" * 100)]))
    with RawSocket(port, kind, whole[:7]) as raw:
        raw.upgraded().send(whole[7:])
        check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "halves")
    promise(kind, b"x" * 100)


def test_fragments_with_a_ping_between_them_are_one_message(raw, proto, kind, promise):
    message = protobuf_request(proto, "parts", [(kind, b"y" * 1000)])
    raw.send(frame(BINARY, message[:10], fin=False), frame(PING, b"still there?"))
    assert raw.receive() == (PONG, b"still there?")
    raw.send(frame(CONTINUATION, b"", fin=False), frame(CONTINUATION, message[10:500], fin=False),
             frame(PING), frame(CONTINUATION, message[500:]))
    assert raw.receive() == (PONG, b"")
    opcode, payload = raw.receive()
    assert opcode == BINARY
    check_protobuf(proto, payload, SUCCESS, OK, "parts")
    promise(kind, b"y" * 1000)


def test_a_letter_may_be_split_between_fragments(raw):
    text = '{"req_guid": "é"}'.encode()
    cut = text.index("é".encode()) + 1
    raw.send(frame(TEXT, text[:cut], fin=False), frame(CONTINUATION, text[cut:]))
    opcode, payload = raw.receive()
    assert opcode == TEXT
    check_json(payload, SUCCESS, OK, "é")


def test_a_message_may_come_byte_by_byte(raw, proto, kind, promise):
    for byte in frame(BINARY, protobuf_request(proto, "slow", [(kind, b"z")])):
        raw.send(bytes([byte]))
    check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "slow")
    promise(kind, b"z")


def test_every_length_of_header_is_understood(raw, proto, kind, promise):
    for length in (0, 60, 90, 300, 60_000, 70_000, 300_000):
        payload = bytes(length)
        raw.send(frame(BINARY, protobuf_request(proto, f"{length}", [(kind, payload)])))
        check_protobuf(proto, raw.receive()[1], SUCCESS, OK, f"{length}")
        promise(kind, payload)


def test_a_pong_nobody_asked_for_is_ignored(raw, proto):
    raw.send(frame(PONG, b"?"), frame(BINARY))
    check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "")


@pytest.mark.parametrize("wrong", [
    pytest.param(frame(BINARY, b"", masked=False), id="unmasked"),
    pytest.param(frame(PING, b"x", masked=False), id="unmasked ping"),
    pytest.param(frame(BINARY, b"", rsv=4), id="compressed without having been agreed"),
    pytest.param(frame(BINARY, b"", rsv=1), id="a reserved bit"),
    pytest.param(frame(3, b""), id="an unknown opcode"),
    pytest.param(frame(11, b""), id="an unknown control opcode"),
    pytest.param(frame(CONTINUATION, b"x"), id="a continuation of nothing"),
    pytest.param(frame(BINARY, b"", fin=False) + frame(BINARY, b""), id="a second beginning"),
    pytest.param(frame(PING, b"x" * 126), id="a long ping"),
    pytest.param(frame(PING, b"x", fin=False), id="half a ping"),
    pytest.param(frame(CLOSE, b"x"), id="half a close code"),
    pytest.param(frame(CLOSE, struct.pack(">H", 1005)), id="a close code that is not sent"),
    pytest.param(frame(CLOSE, struct.pack(">H", 99)), id="a close code that is none"),
])
def test_what_breaks_the_protocol_is_closed_with_1002(raw, wrong):
    raw.send(wrong)
    raw.closed_with(1002)


@pytest.mark.parametrize("frames", [
    pytest.param([frame(TEXT, b'"\xff"')], id="a byte that is never UTF-8"),
    pytest.param([frame(TEXT, b'"\xc3"')], id="a letter without its end"),
    pytest.param([frame(TEXT, b'"\xed\xa0\x80"')], id="a surrogate"),
    pytest.param([frame(TEXT, b"\xc3", fin=False), frame(CONTINUATION, b"\x28")], id="in fragments"),
    pytest.param([frame(CLOSE, struct.pack(">H", 1000) + b"\xff")], id="a close reason"),
])
def test_text_that_is_no_text_is_closed_with_1007(raw, frames):
    raw.send(*frames)
    raw.closed_with(1007)


def test_a_message_over_the_limit_is_closed_with_1009_before_it_is_sent(raw):
    raw.send(frame(BINARY, b"", announce=MESSAGE_BYTES_MAX + 1))
    raw.closed_with(1009)


def test_a_length_beyond_all_memory_is_closed_with_1009(raw):
    raw.send(frame(BINARY, b"", announce=1 << 62))
    raw.closed_with(1009)


def test_fragments_over_the_limit_are_closed_with_1009(raw):
    half = bytes(MESSAGE_BYTES_MAX // 2)
    raw.send(frame(BINARY, half, fin=False), frame(CONTINUATION, half, fin=False))
    raw.send(frame(CONTINUATION, b"", announce=1))
    raw.closed_with(1009)


def test_a_close_is_answered_with_its_code(raw):
    raw.send(frame(CLOSE, struct.pack(">H", 1000) + b"done"))
    raw.closed_with(1000)


def test_a_close_without_a_code_is_answered(raw):
    raw.send(frame(CLOSE))
    opcode, payload = raw.receive()
    assert opcode == CLOSE
    assert payload in (b"", struct.pack(">H", 1000))


def test_what_was_sent_before_the_close_is_answered_before_it(raw, proto, kind, promise):
    raw.send(frame(BINARY, protobuf_request(proto, "last", [(kind, b"word")])),
             frame(BINARY, b"\xff"), frame(CLOSE, struct.pack(">H", 1000)))
    check_protobuf(proto, raw.receive()[1], SUCCESS, OK, "last")
    check_protobuf(proto, raw.receive()[1], ERROR, BAD_REQUEST, "",
                   "cannot deserialize request: …")
    raw.closed_with(1000)
    promise(kind, b"word")


def test_another_sites_page_is_refused_and_our_own_is_not(port, kind):
    with RawSocket(port, kind, headers=["Origin: https://elsewhere.example"]) as other:
        assert other.head.startswith("HTTP/1.1 403 "), other.head
    with RawSocket(port, kind, headers=[f"Origin: http://127.0.0.1:{port}"]) as own:
        own.upgraded()
