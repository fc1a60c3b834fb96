//! What the JSON form promises.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::Encoding;

/// What a request says: guid, time, events as (type, payload).
type Told = (String, Option<(i64, i32)>, Vec<(String, Vec<u8>)>);

fn decode(message: &[u8]) -> Result<Told, Refusal> {
    let mut batch = Batch::default();
    batch.decode(Encoding::Json, message)?;
    let source = batch.source(message);
    let text = |span: Span| std::str::from_utf8(span.of(source)).unwrap().to_owned();
    let event = |event: &EventSpan| (text(event.kind), event.payload.of(source).to_vec());
    let time = batch.sent_time.map(|time| (time.seconds, time.nanos));
    let events = batch.events.iter().map(event).collect();
    Ok((text(batch.guid), time, events))
}

fn told(message: &str) -> Told {
    decode(message.as_bytes()).unwrap_or_else(|refusal| panic!("{message}: {refusal}"))
}

fn reason(message: &str) -> String {
    let refusal = decode(message.as_bytes()).expect_err(message);
    assert_eq!(refusal.guid, "");
    assert!(!refusal.reason.is_empty());
    refusal.reason
}

#[test]
fn a_plain_request_is_read() {
    let message = r#" {"req_guid":"g-1","sent_time":{"seconds":1700000000,"nanos":5},
        "events":[{"event_bytes":"aGVsbG8=","type":"click"},{"type":"view","event_bytes":""}]} "#;
    let events = vec![
        ("click".into(), b"hello".to_vec()),
        ("view".into(), Vec::new()),
    ];
    assert_eq!(
        told(message),
        ("g-1".into(), Some((1_700_000_000, 5)), events)
    );
}

#[test]
fn names_are_matched_without_regard_to_case_and_in_both_styles() {
    let expected = told(
        r#"{"req_guid":"g","sent_time":{"seconds":1},"events":[{"event_bytes":"AA==","type":"t"}]}"#,
    );
    for message in [
        r#"{"reqGuid":"g","sentTime":{"seconds":1},"events":[{"eventBytes":"AA==","type":"t"}]}"#,
        r#"{"REQ_GUID":"g","Sent_Time":{"SECONDS":1},"Events":[{"EVENTBYTES":"AA==","Type":"t"}]}"#,
        r#"{"req\u005fguid":"g","sent_time":{"seconds":1},"events":[{"event_bytes":[0],"type":"t"}]}"#,
    ] {
        assert_eq!(told(message), expected, "{message}");
    }
}

#[test]
fn unknown_names_are_ignored_whatever_they_hold() {
    let message = r#"{"x":[{"y":[1e999,-0.5,true,null,"\ud800"]}],"req_guid":"g","seconds":"no",
        "events":[{"type":"t","more":{"event_bytes":7}}],"event_bytes":7}"#;
    assert_eq!(
        told(message),
        ("g".into(), None, vec![("t".into(), Vec::new())])
    );
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(told(&deep), Told::default());
}

#[test]
fn null_means_absent() {
    assert_eq!(told("null"), Told::default());
    assert_eq!(told(" \t\r\n null "), Told::default());
    assert_eq!(
        told(r#"{"req_guid":null,"sent_time":null,"events":null}"#),
        Told::default()
    );
    let message = r#"{"events":[{"event_bytes":null,"type":null}],"sent_time":{"seconds":null,"nanos":null}}"#;
    assert_eq!(
        told(message),
        (String::new(), Some((0, 0)), vec![Default::default()])
    );
    assert!(reason(r#"{"events":[null]}"#).contains("expected an event as an object"));
    assert!(reason(r#"{"events":[{"event_bytes":[1,null]}]}"#).contains("null"));
}

#[test]
fn of_doubled_names_the_last_wins() {
    let message = r#"{"req_guid":"a","events":[{"type":"x"},{"type":"y"}],"REQ_GUID":"b",
        "sent_time":{"seconds":1},"events":[{"type":"p","type":"q","event_bytes":"AA==","eventBytes":[2]}],
        "sentTime":"1970-01-01T00:00:07Z"}"#;
    assert_eq!(
        told(message),
        ("b".into(), Some((7, 0)), vec![("q".into(), vec![2])])
    );
}

#[test]
fn payloads_are_base64_or_arrays() {
    let payload = |json: &str| {
        told(&format!(r#"{{"events":[{{"event_bytes":{json}}}]}}"#)).2[0]
            .1
            .clone()
    };
    assert_eq!(payload(r#""+/+/""#), [0xfb, 0xff, 0xbf]);
    assert_eq!(payload(r#""+\/+\/""#), [0xfb, 0xff, 0xbf]);
    assert_eq!(payload(r#""aGVs\r\nbG8=\n""#), b"hello");
    assert_eq!(payload(r#""\n""#), b"");
    assert_eq!(
        payload(r#""aGVsbG9=""#),
        b"hello",
        "bits behind the last byte"
    );
    assert_eq!(payload("[0, 127,255]"), [0, 127, 255]);
    assert_eq!(payload("[]"), b"");
    for bad in [
        r#""aGVsbG8""#,
        r#""aGVsbG8==""#,
        r#""-_-_""#,
        r#""a b=""#,
        r#""=\n===""#,
        "[256]",
        "[-1]",
        "[1.0]",
        r#"["1"]"#,
        "[[1]]",
        "7",
        "true",
        "{}",
    ] {
        reason(&format!(r#"{{"events":[{{"event_bytes":{bad}}}]}}"#));
    }
}

#[test]
fn times_are_objects_or_rfc_3339() {
    let time = |json: &str| told(&format!(r#"{{"sent_time":{json}}}"#)).1;
    assert_eq!(time(r#"{"seconds":-5,"nanos":-1}"#), Some((-5, -1)));
    assert_eq!(
        time(r#"{"nanos":1,"seconds":9223372036854775807}"#),
        Some((i64::MAX, 1))
    );
    assert_eq!(time("{}"), Some((0, 0)));
    assert_eq!(time(r#""2023-11-14T22:13:20Z""#), Some((1_700_000_000, 0)));
    assert_eq!(
        time(r#""2023-11-15t05:13:20.25+07:00""#),
        Some((1_700_000_000, 250_000_000))
    );
    assert_eq!(
        time(r#""1969-12-31T23:59:59.999999999z""#),
        Some((-1, 999_999_999))
    );
    for bad in [
        "1700000000",
        "true",
        "[]",
        r#""""#,
        r#""2023-11-14""#,
        r#""2023-11-14 22:13:20Z""#,
        r#""2023-11-14T22:13:20""#,
        r#""2023-13-14T22:13:20Z""#,
        r#""2023-00-00T22:13:20Z""#,
        r#""2023-02-30T22:13:20Z""#,
        r#""2023-11-14T22:13:20.Z""#,
        r#""2023-11-14T22:13:20+7:00""#,
        r#""2023-11-14T25:13:20Z""#,
        r#"{"seconds":1.5}"#,
        r#"{"seconds":"1"}"#,
        r#"{"seconds":9223372036854775808}"#,
        r#"{"nanos":2147483648}"#,
        r#"{"nanos":1e3}"#,
    ] {
        reason(&format!(r#"{{"sent_time":{bad}}}"#));
    }
}

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    let guid = |json: &str| told(&format!(r#"{{"req_guid":"{json}"}}"#)).0;
    assert_eq!(guid(r"\ud83e\udd9d"), "🦝");
    assert_eq!(guid(r"a\ud83eb"), "a\u{fffd}b");
    assert_eq!(guid(r"\udd9d\ud83e"), "\u{fffd}\u{fffd}");
    assert_eq!(guid(r"\ud83e\ud83e\udd9d"), "\u{fffd}🦝");
    assert_eq!(guid(r"\ud83e\n"), "\u{fffd}\n");
    assert_eq!(guid(r"\\ud83e \ud83e"), "\\ud83e \u{fffd}");
    assert_eq!(told(r#"{"req_guid\uDC00":"x","req_guid":"y"}"#).0, "y");
}

#[test]
fn what_is_not_a_request_is_refused() {
    for message in [
        "",
        " ",
        "{",
        "[]",
        "1",
        "\"\"",
        "true",
        "nul",
        "nullx",
        "{}{}",
        "{} x",
        "{,}",
        r#"{"a"}"#,
        r#"{"req_guid":7}"#,
        r#"{"req_guid":["g"]}"#,
        r#"{"events":{}}"#,
        r#"{"events":[[]]}"#,
        r#"{"events":[{"type":7}]}"#,
        r#"{"events":["x"]}"#,
        r#"{"req_guid":"a}"#,
        "{\"req_guid\":\"\n\"}",
        r#"{"req_guid":"\x"}"#,
        r#"{"req_guid":"\u12"}"#,
        "\u{feff}{}",
        r#"{"events":[,]}"#,
    ] {
        reason(message);
    }
    assert_eq!(
        decode(b"{\"req_guid\":\"\xff\"}").unwrap_err().reason,
        "the request is not UTF-8"
    );
}

#[test]
fn a_reason_stays_short() {
    let long = "ä".repeat(10_000);
    let reason = reason(&format!(r#"{{"events":"{long}"}}"#));
    assert!(reason.len() <= crate::limit::REASON_BYTES_MAX);
}

#[test]
fn too_many_events_are_refused_with_that_reason() {
    let message = |events: usize| format!(r#"{{"events":[{}{{}}]}}"#, "{},".repeat(events - 1));
    assert_eq!(told(&message(BATCH_EVENTS_MAX)).2.len(), BATCH_EVENTS_MAX);
    assert!(reason(&message(BATCH_EVENTS_MAX + 1)).starts_with("too many events"));
}

/// Writes a request in one of many styles.
fn write(told: &Told, style: u8) -> String {
    let name = |snake: &str, camel: &str| match style % 3 {
        0 => snake.to_owned(),
        1 => camel.to_owned(),
        _ => snake.to_uppercase(),
    };
    let mut members = vec![format!(
        "{:?}:{}",
        name("req_guid", "reqGuid"),
        quote(&told.0)
    )];
    if let Some((seconds, nanos)) = told.1 {
        let time = format!(r#"{{"nanos":{nanos},"seconds":{seconds}}}"#);
        members.push(format!("{:?}:{time}", name("sent_time", "sentTime")));
    }
    let events: Vec<String> = told
        .2
        .iter()
        .map(|(kind, payload)| {
            let bytes = if style & 8 == 0 {
                format!("{payload:?}")
            } else {
                quote(&BASE64.encode(payload))
            };
            let key = name("event_bytes", "eventBytes");
            format!(
                r#"{{"type":{},"unknown":[{{}}],{key:?}:{bytes}}}"#,
                quote(kind)
            )
        })
        .collect();
    members.push(format!(r#""events":[{}]"#, events.join(" , ")));
    if style & 16 != 0 {
        members.reverse();
    }
    format!("{{{}}}", members.join(","))
}

fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_read_back_in_whatever_style_it_was_written(
        guid in "\\PC{0,12}|[\"\\\\\n\t\u{0}]{1,3}",
        time in proptest::option::of((any::<i64>(), any::<i32>())),
        events in vec(("\\PC{0,6}", vec(any::<u8>(), 0..30)), 0..5),
        style in any::<u8>(),
    ) {
        let told = (guid, time, events);
        let message = write(&told, style);
        prop_assert_eq!(decode(message.as_bytes()), Ok(told), "{}", message);
    }

    #[test]
    fn a_damaged_request_is_refused_or_read_but_never_a_panic(
        events in vec(("[a-z]{0,6}", vec(any::<u8>(), 0..8)), 0..3),
        style in any::<u8>(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\\\"{}[],:0-u".to_vec())],
    ) {
        let mut message = write(&("g".into(), Some((1, 2)), events), style).into_bytes();
        let at = at.index(message.len());
        message[at] = byte;
        let is_json = serde_json::from_slice::<IgnoredAny>(&message).is_ok();
        // What is not JSON is never taken for a request.
        prop_assert!(decode(&message).is_err() || is_json);
    }
}

/// For long: `cargo bolero test -p ringtail
/// event::json::tests::any_bytes_are_refused_or_read_but_never_a_panic`.
#[test]
fn any_bytes_are_refused_or_read_but_never_a_panic() {
    bolero::check!()
        .with_iterations(20_000)
        .with_max_len(256)
        .for_each(|message| {
            let _ = decode(message);
            // Any text as a time, and as half a surrogate pair's surroundings.
            if let Ok(text) = std::str::from_utf8(message) {
                parse_rfc3339(text);
            }
            let mended = mend_surrogates(message);
            assert!(mended.is_none_or(|mended| mend_surrogates(&mended).is_none()));
        });
}

/// For long: `cargo bolero test -p ringtail
/// event::json::tests::any_digits_are_a_time_or_not_but_never_a_panic`.
#[test]
fn any_digits_are_a_time_or_not_but_never_a_panic() {
    bolero::check!()
        .with_type::<([u8; 14], u8)>()
        .with_iterations(20_000)
        .for_each(|(digits, zone)| {
            let mut digits = digits.iter().map(|digit| char::from(b'0' + digit % 10));
            let shape =
                ["0000-00-00T00:00:00Z", "0000-00-00T00:00:00.5-23:59"][usize::from(zone % 2)];
            let text: String = shape
                .chars()
                .map(|letter| {
                    if letter == '0' {
                        digits.next().unwrap_or('0')
                    } else {
                        letter
                    }
                })
                .collect();
            parse_rfc3339(&text);
        });
}
