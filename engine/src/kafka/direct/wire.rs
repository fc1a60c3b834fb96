//! The words of Kafka's protocol that a producer needs, in versions without tagged fields
//! (<https://kafka.apache.org/protocol.html#protocol_messages>). All numbers are big-endian.
//!
//! | request | key | version | why this one |
//! |---|---|---|---|
//! | ApiVersions    | 18 | 0 | every broker answers it |
//! | Metadata       | 3  | 4 | |
//! | InitProducerId | 22 | 1 | |
//! | Produce        | 0  | 7 | |
//!
//! A message is its length (4 bytes), then a header (for requests: key, version, number, name of the client; for
//! answers: the number), then the body. `transaction` has the words of transactions, `batch` what is written into batches.
//!
//! Always:  what a broker says is a claim: lengths and counts are held against what is there.
//! Full:    an answer has up to [`ANSWER_BYTES_MAX`] bytes.

pub(super) mod batch;
pub(super) mod transaction;

/// Longer answers are refused. A cluster's metadata is asked for by topic, and fits many times over.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 20;
const CLIENT: &str = "ringtail";
const NOTHING: i16 = -1;
/// `acks=all`.
const ALL: i16 = -1;

/// A request's key and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    key: i16,
    version: i16,
}

pub(super) const API_VERSIONS: Call = Call {
    key: 18,
    version: 0,
};
pub(super) const METADATA: Call = Call { key: 3, version: 4 };
pub(super) const INIT_PRODUCER_ID: Call = Call {
    key: 22,
    version: 1,
};
pub(super) const PRODUCE: Call = Call { key: 0, version: 7 };

/// What is said here; a broker that does not understand all of it is left to librdkafka.
pub(super) const SAID: [Call; 3] = [METADATA, INIT_PRODUCER_ID, PRODUCE];

/// A broker's answer is not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that is not Kafka's protocol")]
pub(super) struct Garbled;

/// A request on its way to be written.
pub(super) struct Writing<'a>(&'a mut Vec<u8>);

impl<'a> Writing<'a> {
    /// Begins a request behind what is in `out`.
    pub(super) fn begin(out: &'a mut Vec<u8>, call: Call, number: i32) -> Self {
        let mut writing = Self(out);
        // Its length comes last.
        writing.int32(0);
        writing.int16(call.key);
        writing.int16(call.version);
        writing.int32(number);
        writing.string(CLIENT);
        writing
    }

    pub(super) fn int16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// # Panics
    /// When it is longer than names are.
    pub(super) fn string(&mut self, value: &str) {
        self.int16(i16::try_from(value.len()).expect("names are shorter than 32 KiB"));
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Where the next field will stand.
    pub(super) fn at(&self) -> usize {
        self.0.len()
    }

    /// A length, or a count.
    ///
    /// # Panics
    /// When it is 2 GiB or more: requests are bounded far below.
    pub(super) fn length(&mut self, length: usize) {
        self.int32(i32::try_from(length).expect("requests are shorter than 2 GiB"));
    }

    /// Writes a length or a count where room was left for it.
    pub(super) fn put(&mut self, at: usize, length: usize) {
        let length = i32::try_from(length).expect("requests are shorter than 2 GiB");
        self.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Forgets what was written from there on.
    pub(super) fn take_back(&mut self, at: usize) {
        self.0.truncate(at);
    }

    /// Says how long the request is, `beside` being what is sent with it and not written here.
    pub(super) fn end(mut self, from: usize, beside: usize) {
        self.put(from, self.0.len() - from - 4 + beside);
    }
}

pub(super) fn api_versions(out: &mut Vec<u8>, number: i32) {
    let from = out.len();
    Writing::begin(out, API_VERSIONS, number).end(from, 0);
}

/// Asks for these topics, and has a cluster that makes topics make those it does not have, as librdkafka's producers do.
pub(super) fn metadata<'a>(
    out: &mut Vec<u8>,
    number: i32,
    topics: impl ExactSizeIterator<Item = &'a str>,
) {
    let from = out.len();
    let mut writing = Writing::begin(out, METADATA, number);
    writing.length(topics.len());
    for topic in topics {
        writing.string(topic);
    }
    writing.0.push(1);
    writing.end(from, 0);
}

/// Asks for a producer's number, for records that are part of no transaction.
pub(super) fn init_producer_id(out: &mut Vec<u8>, number: i32) {
    let from = out.len();
    let mut writing = Writing::begin(out, INIT_PRODUCER_ID, number);
    writing.int16(NOTHING);
    writing.int32(i32::MAX);
    writing.end(from, 0);
}

/// Begins a request to produce, as part of this id's transaction if there is one; topics follow, then [`Writing::end`].
pub(super) fn produce<'a>(
    out: &'a mut Vec<u8>,
    number: i32,
    wait_ms: i32,
    transaction: Option<&str>,
) -> Writing<'a> {
    let mut writing = Writing::begin(out, PRODUCE, number);
    match transaction {
        Some(id) => writing.string(id),
        None => writing.int16(NOTHING),
    }
    writing.int16(ALL);
    writing.int32(wait_ms);
    writing
}

/// What is read of an answer.
pub(super) struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    /// The number of the request that this answers, and its body.
    pub(super) fn begin(answer: &'a [u8]) -> Result<(i32, Self), Garbled> {
        let mut reading = Self(answer);
        let number = reading.int32()?;
        Ok((number, reading))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Garbled)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int16(&mut self) -> Result<i16, Garbled> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Result<i32, Garbled> {
        self.take().map(i32::from_be_bytes)
    }

    fn int64(&mut self) -> Result<i64, Garbled> {
        self.take().map(i64::from_be_bytes)
    }

    /// `None` for the absence of one.
    fn string(&mut self) -> Result<Option<&'a str>, Garbled> {
        let length = self.int16()?;
        if length == NOTHING {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Garbled)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Garbled)?;
        self.0 = rest;
        std::str::from_utf8(text).map(Some).map_err(|_| Garbled)
    }

    /// How many follow, each of at least so many bytes.
    fn count(&mut self, bytes_each: usize) -> Result<usize, Garbled> {
        let count = usize::try_from(self.int32()?).map_err(|_| Garbled)?;
        if self.0.len() / bytes_each < count {
            return Err(Garbled);
        }
        Ok(count)
    }

    /// Steps over numbers that nobody needs.
    fn skip_int32s(&mut self) -> Result<(), Garbled> {
        let bytes = 4 * self.count(4)?;
        self.0 = self.0.get(bytes..).ok_or(Garbled)?;
        Ok(())
    }
}

/// Whether the broker understands all of this.
pub(super) fn read_api_versions(mut reading: Reading<'_>, all: &[Call]) -> Result<bool, Garbled> {
    let fine = reading.int16()? == 0;
    let mut known = 0;
    for _ in 0..reading.count(6)? {
        let (key, least, most) = (reading.int16()?, reading.int16()?, reading.int16()?);
        let said = all.iter().find(|said| said.key == key);
        known += usize::from(said.is_some_and(|said| (least..=most).contains(&said.version)));
    }
    Ok(fine && known == all.len())
}

/// A broker: its number and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// What a cluster says of a topic: Kafka's error code, or each partition with who leads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TopicSeen {
    pub(super) name: Box<str>,
    pub(super) code: i16,
    /// Number and leader; nobody leads where that is negative.
    pub(super) partitions: Vec<(i32, i32)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) brokers: Vec<Broker>,
    pub(super) topics: Vec<TopicSeen>,
}

pub(super) fn read_metadata(mut reading: Reading<'_>) -> Result<Seen, Garbled> {
    let _throttled_ms = reading.int32()?;
    let mut brokers = Vec::new();
    for _ in 0..reading.count(12)? {
        let id = reading.int32()?;
        let host = reading.string()?.ok_or(Garbled)?.into();
        let port = u16::try_from(reading.int32()?).map_err(|_| Garbled)?;
        let _rack = reading.string()?;
        brokers.push(Broker { id, host, port });
    }
    let _cluster = reading.string()?;
    let _controller = reading.int32()?;
    let mut topics = Vec::new();
    for _ in 0..reading.count(9)? {
        let code = reading.int16()?;
        let name = reading.string()?.ok_or(Garbled)?.into();
        let [_internal] = reading.take()?;
        let mut partitions = Vec::new();
        for _ in 0..reading.count(18)? {
            let code = reading.int16()?;
            let (number, leader) = (reading.int32()?, reading.int32()?);
            reading.skip_int32s()?;
            reading.skip_int32s()?;
            // A partition without a leader says so by its code, and still names one in some versions.
            let leads = code != LEADER_NOT_AVAILABLE;
            partitions.push((number, if leads { leader } else { -1 }));
        }
        partitions.sort_unstable();
        topics.push(TopicSeen {
            name,
            code,
            partitions,
        });
    }
    Ok(Seen { brokers, topics })
}

/// Kafka's error code for an election that is under way.
pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;

/// A producer's number and its epoch, or Kafka's error code.
pub(super) fn read_producer_id(
    mut reading: Reading<'_>,
) -> Result<Result<(i64, i16), i16>, Garbled> {
    let _throttled_ms = reading.int32()?;
    let code = reading.int16()?;
    let (id, epoch) = (reading.int64()?, reading.int16()?);
    Ok(if code == 0 {
        Ok((id, epoch))
    } else {
        Err(code)
    })
}

/// Gives topic, partition and Kafka's error code of each batch that was sent.
pub(super) fn read_produced<'a>(
    mut reading: Reading<'a>,
    mut each: impl FnMut(&'a str, i32, i16),
) -> Result<(), Garbled> {
    for _ in 0..reading.count(6)? {
        let name = reading.string()?.ok_or(Garbled)?;
        for _ in 0..reading.count(30)? {
            let (partition, code) = (reading.int32()?, reading.int16()?);
            let _offset = reading.int64()?;
            let _appended_ms = reading.int64()?;
            let _first_offset = reading.int64()?;
            each(name, partition, code);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every answer that is cut short is refused, and so is one that promises more than it has.
    pub(super) fn refuses_parts<T>(
        answer: &[u8],
        read: impl Fn(Reading<'_>) -> Result<T, Garbled>,
    ) {
        assert!(read(Reading(answer)).is_ok());
        for length in 0..answer.len() {
            assert!(read(Reading(&answer[..length])).is_err(), "{length} bytes");
        }
    }

    pub(super) fn text(out: &mut Vec<u8>, text: &str) {
        out.extend_from_slice(&(text.len() as i16).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn numbers(out: &mut Vec<u8>, numbers: &[i32]) {
        for number in numbers {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    #[test]
    fn metadata_says_who_leads_what() {
        let mut answer = Vec::new();
        numbers(&mut answer, &[0, 1, 7]);
        text(&mut answer, "host");
        numbers(&mut answer, &[9092]);
        answer.extend_from_slice(&NOTHING.to_be_bytes());
        text(&mut answer, "cluster");
        numbers(&mut answer, &[7, 1]);
        answer.extend_from_slice(&[0, 0]);
        text(&mut answer, "topic");
        answer.push(0);
        numbers(&mut answer, &[2]);
        answer.extend_from_slice(&LEADER_NOT_AVAILABLE.to_be_bytes());
        numbers(&mut answer, &[1, 7, 0, 0]);
        answer.extend_from_slice(&[0, 0]);
        numbers(&mut answer, &[0, 7, 2, 7, 8, 1, 7]);
        let seen = read_metadata(Reading(&answer)).unwrap();
        let broker = Broker {
            id: 7,
            host: "host".into(),
            port: 9092,
        };
        assert_eq!(seen.brokers, [broker]);
        assert_eq!(&*seen.topics[0].name, "topic");
        assert_eq!(seen.topics[0].partitions, [(0, 7), (1, -1)]);
        refuses_parts(&answer, read_metadata);
    }

    #[test]
    fn each_batch_has_its_word() {
        let mut answer = Vec::new();
        numbers(&mut answer, &[1]);
        text(&mut answer, "topic");
        numbers(&mut answer, &[1, 3]);
        answer.extend_from_slice(&6_i16.to_be_bytes());
        answer.extend_from_slice(&[0; 24]);
        let mut seen = Vec::new();
        let mut read = |name: &str, partition, code| seen.push((name.to_owned(), partition, code));
        read_produced(Reading(&answer), &mut read).unwrap();
        assert_eq!(seen, [("topic".to_owned(), 3, 6)]);
        refuses_parts(&answer, |reading| read_produced(reading, |_, _, _| {}));
    }

    #[test]
    fn a_broker_that_does_not_understand_all_is_known_by_its_answer() {
        let answer = |ranges: &[(i16, i16, i16)]| {
            let mut answer = vec![0, 0];
            numbers(&mut answer, &[ranges.len() as i32]);
            for (key, least, most) in ranges {
                for number in [key, least, most] {
                    answer.extend_from_slice(&number.to_be_bytes());
                }
            }
            answer
        };
        let enough = answer(&[(0, 3, 12), (3, 0, 13), (22, 0, 5), (99, 0, 0)]);
        assert_eq!(read_api_versions(Reading(&enough), &SAID), Ok(true));
        refuses_parts(&enough, |reading| read_api_versions(reading, &SAID));
        for little in [
            answer(&[(0, 8, 12), (3, 0, 13), (22, 0, 5)]),
            answer(&[(0, 3, 6), (3, 0, 13), (22, 0, 5)]),
            answer(&[(0, 3, 12), (3, 0, 13)]),
        ] {
            assert_eq!(read_api_versions(Reading(&little), &SAID), Ok(false));
        }
    }

    #[test]
    fn a_producers_number_or_why_there_is_none() {
        let mut answer = vec![0; 4];
        answer.extend_from_slice(&[0, 0]);
        answer.extend_from_slice(&77_i64.to_be_bytes());
        answer.extend_from_slice(&3_i16.to_be_bytes());
        assert_eq!(read_producer_id(Reading(&answer)), Ok(Ok((77, 3))));
        refuses_parts(&answer, read_producer_id);
        answer[5] = 15;
        assert_eq!(read_producer_id(Reading(&answer)), Ok(Err(15)));
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let mut out = vec![9; 3];
        metadata(&mut out, 5, ["one", "two"].into_iter());
        let length = i32::from_be_bytes(out[3..7].try_into().unwrap());
        assert_eq!(length as usize, out.len() - 7);
        assert_eq!(out[7..15], [0, 3, 0, 4, 0, 0, 0, 5]);
        assert!(out.ends_with(b"\0\x03one\0\x03two\x01"));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let Ok((_, reading)) = Reading::begin(bytes) else {
                return;
            };
            let rest = reading.0;
            let _seen = read_metadata(Reading(rest));
            let _known = read_api_versions(Reading(rest), &SAID);
            let _number = read_producer_id(Reading(rest));
            let _words = read_produced(Reading(rest), |_, _, _| {});
        });
    }
}
