//! The words of transactions, in the newest versions that clusters without KIP-890's second part understand too, and that those
//! with it still do.
//!
//! | request | key | version | why this one |
//! |---|---|---|---|
//! | FindCoordinator    | 10 | 2 | the last without tagged fields |
//! | InitProducerId     | 22 | 4 | a producer that had a number may go on under the next epoch, and is told when it was fenced |
//! | AddPartitionsToTxn | 24 | 2 | the last without tagged fields, and for one producer |
//! | EndTxn             | 26 | 2 | the last without tagged fields |

use super::{Call, Garbled, METADATA, PRODUCE, Reading, Writing};

const FIND_COORDINATOR: Call = Call {
    key: 10,
    version: 2,
};
const INIT_PRODUCER_ID: Call = Call {
    key: 22,
    version: 4,
};
const ADD_PARTITIONS_TO_TXN: Call = Call {
    key: 24,
    version: 2,
};
const END_TXN: Call = Call {
    key: 26,
    version: 2,
};

/// What is said in transactions; a broker that does not understand all of it is left to librdkafka.
pub(in crate::kafka::direct) const SAID: [Call; 6] = [
    METADATA,
    PRODUCE,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
];

/// A coordinator of transactions, not of a group.
const OF_TRANSACTIONS: u8 = 1;
const NO_TAGS: u8 = 0;

/// Asks who keeps the transactions of this id.
pub(in crate::kafka::direct) fn find_coordinator(out: &mut Vec<u8>, number: i32, id: &str) {
    let from = out.len();
    let mut writing = Writing::begin(out, FIND_COORDINATOR, number);
    writing.string(id);
    writing.byte(OF_TRANSACTIONS);
    writing.end(from, 0);
}

/// The coordinator's address, or Kafka's error code.
pub(in crate::kafka::direct) fn read_coordinator(
    mut reading: Reading<'_>,
) -> Result<Result<(Box<str>, u16), i16>, Garbled> {
    let _throttled_ms = reading.int32()?;
    let code = reading.int16()?;
    let _why = reading.string()?;
    let _id = reading.int32()?;
    let host = reading.string()?.ok_or(Garbled)?.into();
    let port = reading.int32()?;
    if code != 0 {
        return Ok(Err(code));
    }
    let port = u16::try_from(port).map_err(|_| Garbled)?;
    Ok(Ok((host, port)))
}

/// Asks for the number and the epoch of this id's producer. Without `known` every other producer of the id is fenced, and
/// what it left open is given up; with it, only that producer may go on.
pub(in crate::kafka::direct) fn init_producer_id(
    out: &mut Vec<u8>,
    number: i32,
    (id, timeout_ms): (&str, i32),
    known: Option<(i64, i16)>,
) {
    let from = out.len();
    let mut writing = Writing::begin(out, INIT_PRODUCER_ID, number);
    writing.byte(NO_TAGS);
    writing.compact(id);
    writing.int32(timeout_ms);
    let (producer, epoch) = known.unwrap_or((-1, -1));
    writing.int64(producer);
    writing.int16(epoch);
    writing.byte(NO_TAGS);
    writing.end(from, 0);
}

/// A producer's number and its epoch, or Kafka's error code.
pub(in crate::kafka::direct) fn read_producer_id(
    mut reading: Reading<'_>,
) -> Result<Result<(i64, i16), i16>, Garbled> {
    reading.skip_tags()?;
    super::read_producer_id(reading)
}

/// Begins a request whose partitions are part of the producer's transaction from then on; topics follow, then
/// [`Writing::end`].
pub(in crate::kafka::direct) fn add_partitions<'a>(
    out: &mut Vec<u8>,
    number: i32,
    (id, (producer, epoch)): (&str, (i64, i16)),
    topics: impl ExactSizeIterator<Item = (&'a str, &'a [i32])>,
) {
    let from = out.len();
    let mut writing = Writing::begin(out, ADD_PARTITIONS_TO_TXN, number);
    writing.string(id);
    writing.int64(producer);
    writing.int16(epoch);
    writing.length(topics.len());
    for (topic, partitions) in topics {
        writing.string(topic);
        writing.length(partitions.len());
        for partition in partitions {
            writing.int32(*partition);
        }
    }
    writing.end(from, 0);
}

/// Gives topic, partition and Kafka's error code of each partition that was to be added.
pub(in crate::kafka::direct) fn read_added<'a>(
    mut reading: Reading<'a>,
    mut each: impl FnMut(&'a str, i32, i16),
) -> Result<(), Garbled> {
    let _throttled_ms = reading.int32()?;
    for _ in 0..reading.count(6)? {
        let name = reading.string()?.ok_or(Garbled)?;
        for _ in 0..reading.count(6)? {
            each(name, reading.int32()?, reading.int16()?);
        }
    }
    Ok(())
}

/// Commits the producer's transaction, or gives it up.
pub(in crate::kafka::direct) fn end_transaction(
    out: &mut Vec<u8>,
    number: i32,
    (id, (producer, epoch)): (&str, (i64, i16)),
    commit: bool,
) {
    let from = out.len();
    let mut writing = Writing::begin(out, END_TXN, number);
    writing.string(id);
    writing.int64(producer);
    writing.int16(epoch);
    writing.byte(u8::from(commit));
    writing.end(from, 0);
}

/// Kafka's error code; 0 for none.
pub(in crate::kafka::direct) fn read_ended(mut reading: Reading<'_>) -> Result<i16, Garbled> {
    let _throttled_ms = reading.int32()?;
    reading.int16()
}

impl Writing<'_> {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn int64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// A text as versions with tagged fields have it: its length and one more, as an unsigned varint.
    fn compact(&mut self, value: &str) {
        let mut rest = value.len() + 1;
        while 0x80 <= rest {
            self.byte(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.byte(rest as u8);
        self.0.extend_from_slice(value.as_bytes());
    }
}

impl Reading<'_> {
    fn unsigned(&mut self) -> Result<usize, Garbled> {
        let (mut value, mut shift) = (0_usize, 0);
        // Five bytes hold 32 bits.
        while shift < 35 {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(Garbled)
    }

    /// Steps over fields that only newer programs know.
    fn skip_tags(&mut self) -> Result<(), Garbled> {
        for _ in 0..self.unsigned()? {
            let _tag = self.unsigned()?;
            let bytes = self.unsigned()?;
            self.0 = self.0.get(bytes..).ok_or(Garbled)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, refuses_parts, text};
    use super::*;

    const PRODUCER: (i64, i16) = (0x0102_0304, 5);

    /// A request without its length and header.
    fn body(write: impl FnOnce(&mut Vec<u8>, i32)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, 7);
        let length = i32::from_be_bytes(out[..4].try_into().unwrap());
        assert_eq!(length as usize, out.len() - 4);
        assert_eq!(out[8..12], [0, 0, 0, 7]);
        assert_eq!(out[12..22], *b"\0\x08ringtail");
        out.split_off(22)
    }

    #[test]
    fn requests_are_written_as_the_protocol_has_them() {
        let found = body(|out, number| find_coordinator(out, number, "id"));
        assert_eq!(found, *b"\0\x02id\x01");
        let fresh = body(|out, number| init_producer_id(out, number, ("id", 258), None));
        let none = [0xff; 10];
        assert_eq!(
            fresh,
            [b"\0\x03id\0\0\x01\x02".as_slice(), &none, &[0]].concat()
        );
        let again = body(|out, number| init_producer_id(out, number, ("id", 258), Some(PRODUCER)));
        assert_eq!(again[8..], [0, 0, 0, 0, 1, 2, 3, 4, 0, 5, 0]);
        let long = "x".repeat(200);
        let long = body(|out, number| init_producer_id(out, number, (&long, 1), None));
        assert_eq!(long[..4], [0, 0xc9, 1, b'x']);
        let topics: [(&str, &[i32]); 2] = [("a", &[1, 2]), ("b", &[3])];
        let added = body(|out, number| {
            add_partitions(out, number, ("id", PRODUCER), topics.into_iter());
        });
        let who = b"\0\x02id\0\0\0\0\x01\x02\x03\x04\0\x05";
        let what = b"\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x01b\0\0\0\x01\0\0\0\x03";
        assert_eq!(added, [&who[..], what].concat());
        for commit in [true, false] {
            let ended = body(|out, number| end_transaction(out, number, ("id", PRODUCER), commit));
            assert_eq!(ended, [&who[..], &[u8::from(commit)]].concat());
        }
    }

    #[test]
    fn a_coordinator_is_found_or_why_it_is_not() {
        let mut answer = vec![0; 6];
        answer.extend_from_slice(&(-1_i16).to_be_bytes());
        numbers(&mut answer, &[3]);
        text(&mut answer, "host");
        numbers(&mut answer, &[9092]);
        assert_eq!(
            read_coordinator(Reading(&answer)),
            Ok(Ok(("host".into(), 9092)))
        );
        refuses_parts(&answer, read_coordinator);
        answer[5] = 15;
        assert_eq!(read_coordinator(Reading(&answer)), Ok(Err(15)));
    }

    #[test]
    fn a_number_is_read_behind_fields_of_newer_programs() {
        // Two fields: one of three bytes, one of none.
        let mut answer = vec![2, 0, 3, 9, 9, 9, 1, 0, 0, 0, 0, 0, 0, 0];
        answer.extend_from_slice(&77_i64.to_be_bytes());
        answer.extend_from_slice(&3_i16.to_be_bytes());
        assert_eq!(read_producer_id(Reading(&answer)), Ok(Ok((77, 3))));
        refuses_parts(&answer, read_producer_id);
        answer[13] = 90;
        assert_eq!(read_producer_id(Reading(&answer)), Ok(Err(90)));
        let endless = [0xff; 40];
        assert!(read_producer_id(Reading(&endless)).is_err());
    }

    #[test]
    fn each_partition_has_its_word() {
        let mut answer = Vec::new();
        numbers(&mut answer, &[0, 1]);
        text(&mut answer, "topic");
        numbers(&mut answer, &[2, 3]);
        answer.extend_from_slice(&[0, 51]);
        numbers(&mut answer, &[4]);
        answer.extend_from_slice(&[0, 0]);
        let mut seen = Vec::new();
        read_added(Reading(&answer), |name, partition, code| {
            seen.push((name, partition, code));
        })
        .unwrap();
        assert_eq!(seen, [("topic", 3, 51), ("topic", 4, 0)]);
        refuses_parts(&answer, |reading| read_added(reading, |_, _, _| {}));
        let ended = [0, 0, 0, 0, 0, 48];
        assert_eq!(read_ended(Reading(&ended)), Ok(48));
        refuses_parts(&ended, read_ended);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let _found = read_coordinator(Reading(bytes));
            let _number = read_producer_id(Reading(bytes));
            let _added = read_added(Reading(bytes), |_, _, _| {});
            let _ended = read_ended(Reading(bytes));
        });
    }
}
