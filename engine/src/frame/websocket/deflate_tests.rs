use super::*;
use http::HeaderValue;
use std::io::Write;

const BYTES_MAX: usize = 100_000;

/// A message as RFC 7692 (7.2.1) wants it: flushed, and without the last four bytes.
pub(in crate::frame::websocket) fn deflate(plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(plain).unwrap();
    encoder.flush().unwrap();
    let mut packed = encoder.get_ref().clone();
    assert!(packed.ends_with(&[0, 0, 0xff, 0xff]));
    packed.truncate(packed.len() - 4);
    packed
}

fn inflate(packed: &[u8]) -> Result<Vec<u8>, Fault> {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let inflated = inflater.inflate(packed)?;
    Ok(inflated.bytes.clone())
}

fn accept(offers: &[&str]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for offer in offers {
        let value = HeaderValue::from_str(offer).unwrap();
        headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    accept_deflate(&headers)
}

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn an_offer_is_accepted_without_context_takeover() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate ;client_max_window_bits = \"9\"; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover",
        "x-other, permessage-deflate",
        "x-other; a=\"b,permessage-deflate; c\" , permessage-deflate",
    ] {
        assert_eq!(accept(&[offer]).as_deref(), Some(PLAIN), "{offer}");
    }
}

#[test]
fn a_window_that_is_asked_of_the_server_is_granted() {
    for (text, bits) in [("8", 8), ("15", 15), ("\"10\"", 10)] {
        let offer = format!("permessage-deflate; server_max_window_bits={text}");
        let granted = format!("{PLAIN}; server_max_window_bits={bits}");
        assert_eq!(accept(&[&offer]), Some(granted));
    }
}

#[test]
fn what_cannot_be_honoured_is_declined_and_the_next_offer_is_looked_at() {
    let wrong = [
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits=\"1",
        "permessage-deflate;",
        "",
    ];
    for offer in wrong {
        assert_eq!(accept(&[offer]), None, "{offer}");
        let both = format!("{offer}, permessage-deflate");
        if !offer.contains('"') {
            assert_eq!(accept(&[&both]).as_deref(), Some(PLAIN), "{both}");
        }
        let lines = accept(&[offer, "permessage-deflate"]);
        assert_eq!(lines.as_deref(), Some(PLAIN), "{offer}");
    }
    assert_eq!(accept(&[]), None);
}

#[test]
fn the_examples_of_the_rfc_inflate() {
    let examples: [&[u8]; 4] = [
        // One block; a stored block; a final block; two blocks.
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        &[
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ],
    ];
    for packed in examples {
        assert_eq!(inflate(packed), Ok(b"Hello".to_vec()), "{packed:x?}");
    }
    assert_eq!(inflate(&[0x00]), Ok(Vec::new()));
    assert_eq!(inflate(&[]), Ok(Vec::new()));
}

#[test]
fn messages_of_every_size_come_back_up_to_the_limit() {
    for bytes in [1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, BYTES_MAX] {
        for width in [1, 251] {
            let plain: Vec<u8> = (0..bytes).map(|at| (at % width) as u8).collect();
            assert!(inflate(&deflate(&plain)) == Ok(plain), "{bytes} bytes");
        }
    }
    let over = deflate(&vec![1; BYTES_MAX + 1]);
    assert_eq!(inflate(&over), Err(Fault::TooLarge));
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let bomb = deflate(&vec![0; 64 << 20]);
    assert!(bomb.len() < BYTES_MAX);
    assert_eq!(inflate(&bomb), Err(Fault::TooLarge));
}

#[test]
fn torn_and_foreign_bytes_are_broken() {
    let packed = deflate(b"some bytes that are worth packing, packing, packing");
    for length in 1..packed.len() {
        let torn = inflate(&packed[..length]);
        assert_eq!(torn, Err(Fault::Deflate), "cut to {length}");
    }
    assert_eq!(inflate(b"{\"no\": \"deflate\"}"), Err(Fault::Deflate));
    // With the last four bytes, which are to be left out.
    let mut whole = packed;
    whole.extend_from_slice(&[0, 0, 0xff, 0xff]);
    assert_eq!(inflate(&whole), Err(Fault::Deflate));
}

#[test]
fn a_message_of_many_final_blocks_is_refused() {
    // An empty final block, again and again.
    let few = [[0x03, 0x00].repeat(FINAL_BLOCKS_MAX as usize), vec![0]].concat();
    assert_eq!(inflate(&few), Ok(Vec::new()));
    let many = [0x03, 0x00].repeat(100_000);
    assert_eq!(inflate(&many), Err(Fault::Deflate));
}

#[test]
fn memory_is_used_again_and_what_is_held_is_counted() {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let packed = deflate(&[7; 5_000]);
    let first = inflater.inflate(&packed).unwrap();
    let place = first.bytes.as_ptr();
    assert_eq!(inflater.held_bytes.get(), 5_000);
    drop(first);
    assert_eq!(inflater.held_bytes.get(), 0);
    assert_eq!(inflater.inflate(&packed).unwrap().bytes.as_ptr(), place);
}

/// For long: `cargo bolero test -p ringtail
/// frame::websocket::deflate::tests::any_bytes_inflate_within_the_limit`.
#[test]
fn any_bytes_inflate_within_the_limit() {
    let packed = deflate(&b"event after event ".repeat(50));
    bolero::check!()
        .with_type::<(bool, Vec<(u16, u8)>, Vec<u8>)>()
        .with_iterations(5_000)
        .for_each(|(raw, changes, bytes)| {
            let mut message = if *raw { bytes.clone() } else { packed.clone() };
            if !message.is_empty() {
                for (at, byte) in changes {
                    let at = usize::from(*at) % message.len();
                    message[at] = *byte;
                }
            }
            let inflater = Rc::new(Inflater::new(BYTES_MAX));
            if let Ok(inflated) = inflater.inflate(&message) {
                assert!(inflated.bytes.len() <= BYTES_MAX);
            }
            assert_eq!(inflater.held_bytes.get(), 0);
        });
}

// ---- on a connection ----

use super::super::decode::{Decoder, Item};
use crate::frame::Encoding;

/// A client's frame: first byte, payload under 126 bytes, a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut out = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    out.extend_from_slice(payload);
    out
}

fn decoder(inflater: &Rc<Inflater>) -> Decoder {
    Decoder::new(BYTES_MAX).inflating(Rc::clone(inflater))
}

/// The first message of `bytes`, or the fault.
fn first(decoder: &mut Decoder, bytes: &mut [u8]) -> Result<(Encoding, Vec<u8>), Fault> {
    match decoder.next(bytes)?.0 {
        Item::Message { encoding, payload } => Ok((encoding, payload.to_vec())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_come_compressed_plain_and_in_fragments() {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let packed = deflate(b"Hello");
    let (one, other) = packed.split_at(3);
    let fragments = [frame(0x41, one), frame(0x00, b""), frame(0x80, other)].concat();
    let cases = [
        (frame(0xc1, &packed), Encoding::Json),
        (frame(0xc2, &packed), Encoding::Protobuf),
        (frame(0x82, b"Hello"), Encoding::Protobuf),
        (fragments, Encoding::Json),
    ];
    let mut decoder = decoder(&inflater);
    for (mut bytes, encoding) in cases {
        let message = first(&mut decoder, &mut bytes);
        assert_eq!(message, Ok((encoding, b"Hello".to_vec())));
    }
}

#[test]
fn the_bit_is_allowed_only_on_a_messages_first_frame_and_only_when_agreed() {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let packed = deflate(b"Hello");
    let wrong = [
        frame(0xc9, b"ping"),
        frame(0xc8, b""),
        [frame(0x42, &packed[..3]), frame(0xc0, &packed[3..])].concat(),
        [frame(0x02, b"He"), frame(0xc0, b"llo")].concat(),
        frame(0xa2, &packed),
        frame(0xd2, &packed),
    ];
    for mut bytes in wrong {
        let fault = first(&mut decoder(&inflater), &mut bytes);
        assert_eq!(fault, Err(Fault::ReservedBits), "{bytes:x?}");
    }
    let not_agreed = first(&mut Decoder::new(BYTES_MAX), &mut frame(0xc2, &packed));
    assert_eq!(not_agreed, Err(Fault::ReservedBits));
}

#[test]
fn faults_inside_have_their_codes() {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let packed = deflate(&vec![0; BYTES_MAX + 1]);
    let mut bytes = Vec::new();
    let encoding = Encoding::Protobuf;
    super::super::write_masked(encoding, &packed, [0; 4], &mut bytes);
    bytes[0] |= 0x40;
    for (mut bytes, fault, code) in [
        (bytes, Fault::TooLarge, 1009),
        (frame(0xc2, b"\xff\xff"), Fault::Deflate, 1007),
        (frame(0xc1, &deflate(b"\xff")), Fault::Text, 1007),
    ] {
        let found = first(&mut decoder(&inflater), &mut bytes).unwrap_err();
        assert_eq!((found, found.close_code()), (fault, code));
    }
}

#[test]
fn a_message_that_waits_is_yielded_again_also_when_it_lost_its_memory() {
    let inflater = Rc::new(Inflater::new(BYTES_MAX));
    let packed = deflate(b"Hello");
    let (one, other) = packed.split_at(3);
    let fragments = [frame(0x42, one), frame(0x80, other)].concat();
    for mut bytes in [frame(0xc2, &packed), fragments] {
        let mut decoder = decoder(&inflater);
        first(&mut decoder, &mut bytes).unwrap();
        for crowd in [0, INFLATED_BYTES_MAX] {
            let before = inflater.held_bytes.get();
            inflater.held_bytes.set(before + crowd);
            decoder.put_back();
            let held = inflater.held_bytes.get();
            assert_eq!(held, if crowd == 0 { 5 } else { crowd });
            let (_, again) = first(&mut decoder, &mut bytes).unwrap();
            assert_eq!(again, b"Hello");
            inflater.held_bytes.set(inflater.held_bytes.get() - crowd);
        }
        drop(decoder);
        assert_eq!(inflater.held_bytes.get(), 0);
    }
}

#[test]
fn a_connection_pays_one_pointer_for_what_was_not_agreed() {
    assert_eq!(size_of::<Option<Box<Deflate>>>(), size_of::<usize>());
}

/// For long: `cargo bolero test -p ringtail
/// frame::websocket::deflate::tests::any_frames_are_whole_messages_or_faults`.
#[test]
fn any_frames_are_whole_messages_or_faults() {
    bolero::check!()
        .with_type::<Vec<(u8, bool, Vec<u8>)>>()
        .with_iterations(5_000)
        .for_each(|frames| {
            let inflater = Rc::new(Inflater::new(200));
            let mut bytes = Vec::new();
            for (first, good, payload) in frames {
                let payload = &payload[..payload.len().min(60)];
                let packed = if *good {
                    &deflate(payload)[..]
                } else {
                    payload
                };
                bytes.extend(frame(*first, packed));
            }
            let mut decoder = Decoder::new(200).inflating(inflater);
            let mut start = 0;
            while let Ok((item, consumed)) = decoder.next(&mut bytes[start..]) {
                match item {
                    Item::Message { payload, .. } => assert!(payload.len() <= 200),
                    Item::More { .. } => break,
                    _ => {}
                }
                start += consumed;
            }
        });
}
