//! Verdicts become answers in the client's protocol, and find their way to it.

use crate::event::answer::{Answer, Code, EventFault, Status, encode};
use crate::frame::Encoding;
use crate::frame::websocket::write_message_with;
use crate::net::{Call, Outbox, Outcome, Protocol};
use crate::unit::Micros;
use std::rc::Rc;

/// Where an answer goes.
pub(super) enum To {
    Socket(Rc<Outbox>),
    Call(Rc<Call>),
}

impl To {
    /// Nothing else is waiting to be answered there.
    pub(super) fn is_free(&self) -> bool {
        match self {
            Self::Socket(outbox) => outbox.unanswered() == 0,
            Self::Call(_) => true,
        }
    }
}

/// What a request comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict<'a> {
    Accepted,
    /// It could not be decoded; the reason is the decoder's.
    Undecodable(&'a str),
    /// It was decoded and cannot be accepted, now or later; and which events are why.
    Refused(&'a str, &'a [EventFault]),
    /// It could not be made safe; and which events are why, where it is not all of them alike.
    Failed(&'a str, &'a [EventFault]),
}

/// A guid, kept until its answer; the usual 36 characters need no allocation.
#[derive(Debug)]
pub(super) enum Guid {
    Short {
        bytes: u8,
        text: [u8; Guid::SHORT_BYTES],
    },
    Long(Box<str>),
}

impl Guid {
    const SHORT_BYTES: usize = 38;

    pub(super) fn new(text: &str) -> Self {
        if Self::SHORT_BYTES < text.len() {
            return Self::Long(text.into());
        }
        let mut short = [0; Self::SHORT_BYTES];
        short[..text.len()].copy_from_slice(text.as_bytes());
        Self::Short {
            bytes: text.len() as u8,
            text: short,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Short { bytes, text } => {
                std::str::from_utf8(&text[..usize::from(*bytes)]).unwrap_or_default()
            }
            Self::Long(text) => text,
        }
    }
}

/// Gives one answer. `counted` says that the connection was told to expect it.
pub(super) fn give(
    to: &To,
    encoding: Encoding,
    guid: &str,
    verdict: Verdict<'_>,
    (now, counted): (Micros, bool),
) {
    match to {
        To::Socket(outbox) => outbox.answer(counted, |out| {
            write_message_with(encoding, out, |out| {
                with_answer(verdict, guid, now, Door::Socket, |answer| {
                    encode(encoding, answer, out);
                });
            });
        }),
        To::Call(call) => {
            let outcome = outcome(verdict);
            let door = match call.protocol {
                Protocol::Rest => Door::Rest,
                Protocol::Grpc => Door::Grpc,
                Protocol::GrpcStream => Door::Socket,
            };
            let mut body = Vec::with_capacity(64 + guid.len());
            with_answer(verdict, guid, now, door, |answer| {
                if door == Door::Grpc && outcome == Outcome::Undecodable {
                    body.extend_from_slice(answer.reason.as_bytes());
                } else {
                    encode(encoding, answer, &mut body);
                }
            });
            call.answer(outcome, body);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Socket,
    Rest,
    Grpc,
}

/// What a call's door is told.
fn outcome(verdict: Verdict<'_>) -> Outcome {
    match verdict {
        Verdict::Accepted => Outcome::Accepted,
        Verdict::Undecodable(_) => Outcome::Undecodable,
        Verdict::Refused(..) => Outcome::Refused,
        Verdict::Failed(..) => Outcome::Failed,
    }
}

/// The answer's fields, as Raccoon's clients know them.
fn with_answer(
    verdict: Verdict<'_>,
    guid: &str,
    now: Micros,
    door: Door,
    write: impl FnOnce(&Answer<'_>),
) {
    let text;
    let (code, reason, guid) = match (verdict, door) {
        (Verdict::Accepted, _) => (Code::Ok, "", Some(guid)),
        (Verdict::Undecodable(reason), Door::Socket | Door::Grpc) => {
            text = format!("cannot deserialize request: {reason}");
            (Code::BadRequest, text.as_str(), Some(guid))
        }
        (Verdict::Undecodable(_), Door::Rest) => {
            (Code::BadRequest, "deserialization failure", None)
        }
        (Verdict::Refused(reason, _), _) => (Code::BadRequest, reason, Some(guid)),
        (Verdict::Failed(reason, _), _) => {
            text = format!("cannot publish events: {reason}");
            (Code::InternalError, text.as_str(), Some(guid))
        }
    };
    let status = if code == Code::Ok {
        Status::Success
    } else {
        Status::Error
    };
    let events = match verdict {
        Verdict::Refused(_, events) | Verdict::Failed(_, events) => events,
        _ => &[],
    };
    write(&Answer {
        status,
        code,
        sent_time: now.seconds(),
        reason,
        guid,
        events,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_comes_back_as_it_was() {
        for bytes in [0, 1, 36, 38, 39, 500] {
            let text = "ä".repeat(bytes / 2) + &"g".repeat(bytes % 2);
            assert_eq!(Guid::new(&text).text(), text);
        }
    }
}
