//! What a client has to say, one thing at a time.

use super::{Client, Fault, is_fine, sys, text_of};
use std::ptr::{self, NonNull};

/// One thing that librdkafka had to say.
pub(in crate::kafka) struct Report {
    raw: NonNull<sys::rd_kafka_event_t>,
    /// Keeps the client alive: messages in here belong to its topics.
    #[expect(dead_code, reason = "held, never read")]
    client: Client,
}

/// What kind it is of, with its text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Told {
    /// To be read by [`Report::next_delivery`].
    Deliveries,
    /// Something about a broker or the client as a whole.
    Trouble {
        text: String,
        is_fatal: bool,
    },
    /// JSON.
    Statistics(Box<str>),
    /// A line for the log, and how grave it is: 0 to 7, as syslog counts.
    Line {
        grave: i32,
        text: String,
    },
    Nothing,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Delivery {
    pub(in crate::kafka) mark: u64,
    /// Of the record's value.
    pub(in crate::kafka) bytes: usize,
    pub(in crate::kafka) fault: Option<Fault>,
}

impl Report {
    /// Takes an event that is ours from here on.
    pub(super) fn new(raw: NonNull<sys::rd_kafka_event_t>, client: Client) -> Self {
        Self { raw, client }
    }

    pub(in crate::kafka) fn told(&self) -> Told {
        let raw = self.raw.as_ptr();
        // SAFETY: the event lives, and its texts live with it and end in zero.
        unsafe {
            match sys::rd_kafka_event_type(raw) {
                sys::RD_KAFKA_EVENT_DR => Told::Deliveries,
                sys::RD_KAFKA_EVENT_ERROR => {
                    let fatal = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL;
                    Told::Trouble {
                        text: text_of(sys::rd_kafka_event_error_string(raw)),
                        is_fatal: sys::rd_kafka_event_error(raw) == fatal,
                    }
                }
                sys::RD_KAFKA_EVENT_STATS => {
                    Told::Statistics(text_of(sys::rd_kafka_event_stats(raw)).into())
                }
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut text, mut grave) = (ptr::null(), ptr::null(), 0);
                    sys::rd_kafka_event_log(raw, &raw mut facility, &raw mut text, &raw mut grave);
                    let text = text_of(text);
                    Told::Line { grave, text }
                }
                _ => Told::Nothing,
            }
        }
    }

    pub(in crate::kafka) fn next_delivery(&mut self) -> Option<Delivery> {
        // SAFETY: the event lives, and the message until the next call.
        unsafe {
            let message = sys::rd_kafka_event_message_next(self.raw.as_ptr()).as_ref()?;
            Some(Delivery {
                mark: message._private.addr() as u64,
                bytes: message.len,
                fault: (!is_fine(message.err)).then_some(Fault(message.err)),
            })
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { sys::rd_kafka_event_destroy(self.raw.as_ptr()) };
    }
}
