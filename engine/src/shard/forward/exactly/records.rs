//! The records of a parcel, one after the other, as Kafka gets them.

use super::super::send::{Sender, Senders};
use super::mail::{Lot, Parcel};
use crate::kafka::writer::Record;
use crate::kafka::{Header, Key, Settings};
use crate::log::format::batch::{Batch, RecordView};
use crate::log::format::frame::SectionKind;
use crate::log::format::origin::Origins;
use crate::log::format::section::Frame;
use crate::spool::exactly::judge::At;

const WHOLE: &str = "the follower has checked it";
const HEADERS_MAX: usize = 4;

/// One record on its way.
pub(super) struct Leaving<'a> {
    pub(super) at: At,
    pub(super) lot: &'a Lot,
    pub(super) view: RecordView<'a>,
    pub(super) sender: Sender<'a>,
}

/// Shows every lot of a parcel with its batch.
pub(super) fn lots(parcel: &Parcel, mut act: impl FnMut(&Lot, &[u8])) {
    let frame = Frame::check_but_payload(&parcel.frame).expect(WHOLE);
    let batches = frame.batches().expect(WHOLE);
    for lot in &parcel.lots {
        act(lot, batches[lot.batch as usize].1);
    }
}

/// Shows every record of a parcel, the one with this number in its set, but of lots that are not wanted, until `act` has
/// had enough.
pub(super) fn each<E>(
    (number, parcel): (u32, &Parcel),
    settings: &Settings,
    is_wanted: impl Fn(&Lot) -> bool,
    mut act: impl FnMut(&Leaving<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let frame = Frame::check_but_payload(&parcel.frame).expect(WHOLE);
    let batches = frame.batches().expect(WHOLE);
    let wanted = settings.key != Key::None || !settings.headers.is_empty();
    let contents = frame
        .section(SectionKind::ORIGINS)
        .filter(|_| wanted && !parcel.lots.is_empty());
    let origins = contents.and_then(|contents| Origins::read(contents).ok());
    for lot in parcel.lots.iter().filter(|lot| is_wanted(lot)) {
        let (_, bytes) = batches[lot.batch as usize];
        let batch = Batch::check(bytes).expect(WHOLE);
        let mut senders = Senders::of(origins.as_ref(), lot.batch);
        for (record, view) in (0..).zip(batch.records()) {
            let at = At {
                parcel: number,
                batch: lot.batch,
                record,
            };
            let sender = senders.next();
            act(&Leaving {
                at,
                lot,
                view,
                sender,
            })?;
        }
    }
    Ok(())
}

impl Leaving<'_> {
    /// The record with its key and headers.
    pub(super) fn with<T>(&self, settings: &Settings, act: impl FnOnce(&Record<'_>) -> T) -> T {
        let row = self.sender.row;
        let key = match settings.key {
            Key::None => &[],
            Key::ConnId => row.map_or(&[][..], |row| row.conn_id),
            Key::ConnGroup => row.map_or(&[][..], |row| row.conn_group),
            Key::ReqGuid => row.map_or(&[][..], |row| row.guid),
        };
        // What is sent again by an operator was received before it came to the log this time.
        let received = row.map_or(self.view.timestamp_ms, |row| row.received.millis());
        let received = if settings.headers.contains(&Header::Received) {
            received.to_string()
        } else {
            String::new()
        };
        let value_of = |header: Header| -> Option<&[u8]> {
            let of_topic = || self.lot.kind.as_deref().map(str::as_bytes);
            match header {
                Header::EventType => self.sender.kind.or_else(of_topic),
                Header::ConnGroup => row.map(|row| row.conn_group),
                Header::Received => Some(received.as_bytes()),
                Header::ReqGuid => row.map(|row| row.guid),
            }
        };
        let mut headers: [(Header, &[u8]); HEADERS_MAX] = [(Header::Received, &[]); HEADERS_MAX];
        let count = settings.headers.len().min(HEADERS_MAX);
        for (to, header) in headers.iter_mut().zip(&settings.headers) {
            *to = (*header, value_of(*header).unwrap_or_default());
        }
        act(&Record {
            key,
            value: self.view.value,
            headers: &headers[..count],
            timestamp_ms: self.view.timestamp_ms.max(1),
        })
    }
}
