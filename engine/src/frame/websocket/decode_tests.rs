//! What the decoder promises.

use super::super::encode::{write_masked, write_message, write_ping};
use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MAX: usize = 1 << 20;

/// A client's frame: first byte, payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_masked(Encoding::Protobuf, payload, MASK, &mut out);
    out[0] = first;
    out
}

/// An item that owns what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Message(Encoding, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Decodes all of `bytes`, offered in pieces of `piece` bytes, as a connection would.
fn decode_in(bytes: &[u8], piece: usize, max: usize) -> (Vec<Owned>, Option<Fault>) {
    let (mut items, mut decoder, mut held) = (Vec::new(), Decoder::new(max), Vec::new());
    for part in bytes.chunks(piece) {
        held.extend_from_slice(part);
        loop {
            let before = held.len();
            let (item, consumed) = match decoder.next(&mut held) {
                Ok(next) => next,
                Err(fault) => return (items, Some(fault)),
            };
            assert!(consumed <= before);
            let owned = match item {
                Item::Message { encoding, payload } => Owned::Message(encoding, payload.to_vec()),
                Item::Ping(payload) => Owned::Ping(payload.to_vec()),
                Item::Pong(payload) => Owned::Pong(payload.to_vec()),
                Item::Close { code, reason } => Owned::Close(code, reason.to_owned()),
                Item::More { needed } => {
                    assert!(needed > before - consumed);
                    assert!(needed <= crate::limit::BUFFER_BYTES_MAX);
                    held.drain(..consumed);
                    break;
                }
            };
            assert!(consumed > 0);
            held.drain(..consumed);
            items.push(owned);
        }
    }
    (items, None)
}

fn decode(bytes: &[u8]) -> (Vec<Owned>, Option<Fault>) {
    decode_in(bytes, bytes.len().max(1), MAX)
}

fn fault_of(bytes: &[u8]) -> (u16, Fault) {
    let (_, fault) = decode(bytes);
    let fault = fault.expect("the bytes are faulty");
    (fault.close_code(), fault)
}

#[test]
fn a_message_is_yielded_where_it_lies() {
    let mut bytes = frame(0x82, b"payload");
    let range = bytes.as_ptr_range();
    let mut decoder = Decoder::new(MAX);
    let (item, consumed) = decoder.next(&mut bytes).unwrap();
    let Item::Message { encoding, payload } = item else {
        panic!("{item:?}");
    };
    assert_eq!(
        (encoding, payload, consumed),
        (Encoding::Protobuf, &b"payload"[..], 13)
    );
    assert!(range.contains(&payload.as_ptr()));
}

#[test]
fn whatever_the_pieces_the_messages_are_the_same() {
    let mut bytes = frame(0x81, "grüße".as_bytes());
    bytes.extend(frame(0x82, &vec![7; 70_000]));
    bytes.extend(frame(0x02, &[1; 300]));
    bytes.extend(frame(0x89, b"are you there"));
    bytes.extend(frame(0x00, &[]));
    bytes.extend(frame(0x80, &[2; 200]));
    bytes.extend(frame(0x8a, b""));
    bytes.extend(frame(0x88, b"\x03\xe8bye"));
    let expected = vec![
        Owned::Message(Encoding::Json, "grüße".into()),
        Owned::Message(Encoding::Protobuf, vec![7; 70_000]),
        Owned::Ping(b"are you there".to_vec()),
        Owned::Message(Encoding::Protobuf, [vec![1; 300], vec![2; 200]].concat()),
        Owned::Pong(Vec::new()),
        Owned::Close(Some(1000), "bye".to_owned()),
    ];
    for piece in [bytes.len(), 65_536, 1_000, 17, 3] {
        assert_eq!(
            decode_in(&bytes, piece, MAX),
            (expected.clone(), None),
            "{piece}"
        );
    }
    // Byte by byte, without the large one: that would be a quadratic test.
    assert_eq!(decode_in(&frame(0x81, b"x"), 1, MAX).0.len(), 1);
}

#[test]
fn what_breaks_the_protocol_is_closed_with_1002() {
    let mut unmasked = Vec::new();
    write_message(Encoding::Json, b"{}", &mut unmasked);
    assert_eq!(fault_of(&unmasked), (1002, Fault::Mask));
    for bits in [0x40, 0x20, 0x10, 0x70] {
        assert_eq!(
            fault_of(&frame(0x82 | bits, b"")),
            (1002, Fault::ReservedBits)
        );
    }
    for code in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(
            fault_of(&frame(0x80 | code, b"")),
            (1002, Fault::ReservedOpcode)
        );
    }
    for code in [8, 9, 10] {
        assert_eq!(
            fault_of(&frame(code, b"")),
            (1002, Fault::FragmentedControl)
        );
        assert_eq!(
            fault_of(&frame(0x80 | code, &[0; 126])),
            (1002, Fault::LongControl)
        );
    }
    assert_eq!(
        fault_of(&frame(0x80, b"")),
        (1002, Fault::UnexpectedContinuation)
    );
    let nested = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    assert_eq!(fault_of(&nested), (1002, Fault::MissingContinuation));
    let huge = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(fault_of(&huge), (1002, Fault::Length));
}

#[test]
fn close_frames_are_checked() {
    assert_eq!(
        decode(&frame(0x88, b"")).0,
        [Owned::Close(None, String::new())]
    );
    assert_eq!(fault_of(&frame(0x88, b"\x03")), (1002, Fault::CloseCode));
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(
            fault_of(&frame(0x88, &code.to_be_bytes())),
            (1002, Fault::CloseCode)
        );
    }
    for code in [1000u16, 1003, 1007, 1014, 3000, 4999] {
        let (items, fault) = decode(&frame(0x88, &code.to_be_bytes()));
        assert_eq!(
            (items, fault),
            (vec![Owned::Close(Some(code), String::new())], None)
        );
    }
    assert_eq!(
        fault_of(&frame(0x88, b"\x03\xe8\xff")),
        (1007, Fault::CloseReason)
    );
}

#[test]
fn text_that_is_not_utf8_is_closed_with_1007() {
    assert_eq!(fault_of(&frame(0x81, b"\xc0\xaf")), (1007, Fault::Text));
    let torn = [frame(0x01, b"\xe2\x82"), frame(0x80, b"\xac")].concat();
    assert_eq!(
        decode(&torn).0,
        [Owned::Message(Encoding::Json, "€".into())]
    );
    let broken = [frame(0x01, b"\xe2\x82"), frame(0x80, b"x")].concat();
    assert_eq!(fault_of(&broken), (1007, Fault::Text));
    assert_eq!(decode(&frame(0x82, b"\xc0\xaf")).1, None);
}

#[test]
fn too_large_is_decided_before_the_payload_comes() {
    let whole = frame(0x82, &[0; 101]);
    assert_eq!(decode_in(&whole[..6], 6, 100).1, Some(Fault::TooLarge));
    assert_eq!(Fault::TooLarge.close_code(), 1009);
    assert_eq!(decode_in(&frame(0x82, &[0; 100]), 200, 100).1, None);
    let parts = [frame(0x02, &[0; 60]), frame(0x00, &[0; 41])].concat();
    assert_eq!(
        decode_in(&parts[..66 + 6], 100, 100).1,
        Some(Fault::TooLarge)
    );
}

#[test]
fn empty_fragments_cost_no_memory() {
    let mut bytes = frame(0x02, b"");
    for _ in 0..50_000 {
        bytes.extend(frame(0x00, b""));
    }
    let mut decoder = Decoder::new(MAX);
    let all = bytes.len();
    assert_eq!(
        decoder.next(&mut bytes),
        Ok((Item::More { needed: 2 }, all))
    );
    assert_eq!(decoder.assembly.as_ref().unwrap().bytes.capacity(), 0);
}

#[test]
fn an_assembled_message_is_held_only_until_the_next_call() {
    let mut bytes = [frame(0x02, b"ab"), frame(0x80, b"c")].concat();
    let mut decoder = Decoder::new(MAX);
    let all = bytes.len();
    let (item, consumed) = decoder.next(&mut bytes).unwrap();
    let (encoding, payload) = (Encoding::Protobuf, &b"abc"[..]);
    assert_eq!((item, consumed), (Item::Message { encoding, payload }, all));
    assert_eq!(decoder.next(&mut []), Ok((Item::More { needed: 2 }, 0)));
    assert!(decoder.assembly.is_none());
}

#[test]
fn an_item_that_was_put_back_comes_again_unharmed() {
    let fragments = [frame(0x01, b"a"), frame(0x89, b"p"), frame(0x80, b"b")].concat();
    for mut bytes in [frame(0x81, b"abc"), fragments, frame(0x88, b"\x03\xe8bye")] {
        let mut decoder = Decoder::new(MAX);
        loop {
            let (item, consumed) = decoder.next(&mut bytes).unwrap();
            if matches!(item, Item::More { .. }) {
                break;
            }
            let first = format!("{item:?} {consumed}");
            for _ in 0..2 {
                decoder.put_back();
                // It may have been parked, and more may have come behind it, in between.
                let mut moved = [&bytes[..], b"more"].concat();
                let (item, consumed) = decoder.next(&mut moved).unwrap();
                assert_eq!(format!("{item:?} {consumed}"), first);
                bytes = moved[..bytes.len()].to_vec();
            }
            let consumed = decoder.last.as_ref().unwrap().to as usize;
            bytes.drain(..consumed);
        }
    }
}

#[test]
fn a_clients_decoder_reads_what_the_server_writes() {
    let mut bytes = Vec::new();
    write_ping(b"?", &mut bytes);
    write_message(Encoding::Json, b"{}", &mut bytes);
    let mut decoder = Decoder::for_client(MAX);
    assert_eq!(decoder.next(&mut bytes), Ok((Item::Ping(b"?"), 3)));
    let (encoding, payload) = (Encoding::Json, &b"{}"[..]);
    let message = Item::Message { encoding, payload };
    assert_eq!(decoder.next(&mut bytes[3..]), Ok((message, 4)));
    assert_eq!(decoder.next(&mut frame(0x82, b"")), Err(Fault::Mask));
}

#[test]
fn a_length_longer_than_it_must_be_is_accepted_for_data_alone() {
    let mut long = vec![0x82, 0xfe, 0, 1];
    long.extend(MASK);
    long.push(b'x' ^ MASK[0]);
    assert_eq!(
        decode(&long).0,
        [Owned::Message(Encoding::Protobuf, b"x".to_vec())]
    );
    long[0] = 0x89;
    assert_eq!(fault_of(&long), (1002, Fault::LongControl));
}

/// Frames that are mostly sound, so that random ones get far: kind, whether final, payload.
fn frames_of(choices: &[(u8, bool, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, is_final, payload) in choices {
        let first = (code & 0x0f) | if *is_final { 0x80 } else { 0 } | (code & 0x70 & (code << 1));
        bytes.extend(frame(first, payload));
    }
    bytes
}

/// For long: `cargo bolero test -p ringtail
/// frame::websocket::decode::tests::any_bytes_decode_the_same_in_any_pieces`.
#[test]
fn any_bytes_decode_the_same_in_any_pieces() {
    bolero::check!()
        .with_type::<(Vec<u8>, u8)>()
        .with_iterations(10_000)
        .for_each(|(bytes, piece)| {
            let piece = usize::from(*piece).max(1);
            assert_eq!(
                decode_in(bytes, piece, 1_000),
                decode_in(bytes, bytes.len().max(1), 1_000)
            );
        });
}

/// For long: `cargo bolero test -p ringtail
/// frame::websocket::decode::tests::any_frames_decode_the_same_in_any_pieces`.
#[test]
fn any_frames_decode_the_same_in_any_pieces() {
    bolero::check!()
        .with_type::<(Vec<(u8, bool, Vec<u8>)>, u8)>()
        .with_iterations(5_000)
        .for_each(|(choices, piece)| {
            let bytes = frames_of(choices);
            let piece = usize::from(*piece).max(1);
            assert_eq!(
                decode_in(&bytes, piece, 200),
                decode_in(&bytes, bytes.len().max(1), 200)
            );
        });
}
