//! Closing the open frame: its batches are completed, and its sections put behind them.

use super::super::super::format::batch::{self, BatchHeader};
use super::super::super::format::checksum;
use super::super::super::format::footer::Place;
use super::super::super::format::frame::{HEADER_BYTES, Section, SectionKind, section_align};
use super::super::super::format::origin;
use super::super::super::format::section::{self, BatchRow};
use super::super::topic::Topics;
use super::{Contents, KEPT_BATCHES, OpenBatch, Staging};
use crate::unit::TopicIndex;

/// Contents of frames whose memory is kept: as many as may be in flight, and some.
const KEPT_CONTENTS: usize = 8;

impl Staging {
    /// Completes the batches and writes the frame's sections, all but its header, into `frame`.
    /// Afterwards the staging is empty and ready for the next frame.
    pub(in super::super) fn close(
        &mut self,
        frame: &mut [u8],
        topics: &mut Topics,
        keep_origins: bool,
    ) -> Contents {
        let mut contents = self.spare.pop().unwrap_or_default();
        contents.end = HEADER_BYTES;
        contents.events = self.events;
        contents.event_bytes = self.event_bytes;
        if 0 < self.open {
            self.put_in_order();
            self.close_payload(frame, topics, &mut contents);
            if keep_origins {
                self.close_origins(frame, &mut contents);
            }
            self.close_definitions(frame, topics, &mut contents);
        }
        self.choose_direct();
        self.reset();
        contents
    }

    /// Takes the memory of a frame's contents back, for a later frame.
    pub(in super::super) fn recycle(&mut self, mut contents: Contents) {
        if self.spare.len() < KEPT_CONTENTS && contents.places.capacity() <= 2 * KEPT_BATCHES {
            contents.sections.clear();
            contents.places.clear();
            self.spare.push(contents);
        }
    }

    /// The order of batches in the frame: direct ones lie there already, the others follow.
    fn put_in_order(&mut self) {
        let batches = &self.batches[..self.open];
        let those = |direct: bool| {
            let all = batches.iter().enumerate();
            let those = all.filter(move |(_, batch)| batch.direct_at.is_some() == direct);
            those.map(|(index, _)| index)
        };
        self.order.clear();
        self.order.extend(those(true).chain(those(false)));
    }

    fn close_payload(&mut self, frame: &mut [u8], topics: &Topics, contents: &mut Contents) {
        let direct_end = self.payload_end;
        let mut at = self.payload_end;
        self.finished.clear();
        for (turn, index) in self.order.iter().enumerate() {
            let next = self.order.get(turn + 1);
            let next_direct = next.and_then(|next| self.batches[*next].direct_at);
            let open = &mut self.batches[*index];
            let place = if let Some(start) = open.direct_at {
                start..next_direct.unwrap_or(direct_end)
            } else {
                let start = at;
                at += open.aside.len();
                frame[start..at].copy_from_slice(&open.aside);
                start..at
            };
            self.finished
                .push(open.finish(&mut frame[place.clone()], topics));
            contents.places.push(open.place(place));
        }
        let bytes = (at - HEADER_BYTES) as u32;
        contents.sections.push(Section {
            kind: SectionKind::PAYLOAD,
            may_skip: false,
            bytes,
            checksum: 0,
        });
        contents.end = at;
        self.scratch.clear();
        section::write_batches(&self.finished, &mut self.scratch);
        contents.put(frame, SectionKind::BATCHES, false, &self.scratch);
    }

    fn close_origins(&mut self, frame: &mut [u8], contents: &mut Contents) {
        self.scratch.clear();
        let (rows, kinds) = (self.row_count, self.kinds.len() as u32);
        let row_bytes = self.rows.len() as u32;
        origin::write_head(rows, self.open as u32, kinds, row_bytes, &mut self.scratch);
        self.scratch.extend_from_slice(&self.rows);
        for index in &self.order {
            origin::write_runs(&self.batches[*index].runs, &mut self.scratch);
        }
        for kind in &self.kinds {
            origin::write_type(kind, &mut self.scratch);
        }
        contents.put(frame, SectionKind::ORIGINS, true, &self.scratch);
    }

    fn close_definitions(
        &mut self,
        frame: &mut [u8],
        topics: &mut Topics,
        contents: &mut Contents,
    ) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&[0; 4]);
        let mut count = 0u32;
        for batch in &self.batches[..self.open] {
            let Some(topic) = batch.topic else { continue };
            if topics.define(topic) {
                section::write_topic(topics.id(topic), topics.name(topic), &mut self.scratch);
                count += 1;
            }
        }
        if 0 < count {
            self.scratch[..4].copy_from_slice(&count.to_le_bytes());
            contents.put(frame, SectionKind::TOPICS, false, &self.scratch);
        }
    }

    /// The topic with the most bytes in this frame is direct in the next.
    fn choose_direct(&mut self) {
        let direct_bytes = self.payload_end - HEADER_BYTES;
        let largest = self.batches[..self.open]
            .iter()
            .filter(|batch| batch.direct_at.is_none())
            .max_by_key(|batch| batch.aside.len());
        if let Some(batch) = largest
            && direct_bytes < batch.aside.len()
        {
            self.direct = batch.topic;
        }
    }
}

impl OpenBatch {
    fn finish(&mut self, bytes: &mut [u8], topics: &Topics) -> BatchRow {
        let header = BatchHeader {
            base_offset: self.base_offset,
            records: self.records,
            base_timestamp_ms: self.base_ms,
            max_timestamp_ms: self.max_ms,
        };
        let crc32c = batch::finish(bytes, &header);
        let topic = self.topic.expect("an open batch has a topic");
        BatchRow {
            topic: topics.id(topic),
            base_offset: self.base_offset,
            newest_ms: self.max_ms,
            bytes: bytes.len() as u32,
            records: self.records,
            crc32c,
        }
    }

    fn place(&self, at: std::ops::Range<usize>) -> (TopicIndex, Place) {
        let topic = self.topic.expect("an open batch has a topic");
        let place = Place {
            base_offset: self.base_offset,
            position: at.start as u64,
            newest_ms: self.max_ms,
            bytes: at.len() as u32,
            records: self.records,
        };
        (topic, place)
    }
}

impl Contents {
    /// Puts one more section behind the last.
    pub(in super::super) fn put(
        &mut self,
        frame: &mut [u8],
        kind: SectionKind,
        may_skip: bool,
        bytes: &[u8],
    ) {
        let start = section_align(self.end);
        frame[self.end..start].fill(0);
        self.end = start + bytes.len();
        frame[start..self.end].copy_from_slice(bytes);
        self.sections.push(Section {
            kind,
            may_skip,
            bytes: bytes.len() as u32,
            checksum: checksum::crc64(bytes),
        });
    }
}
