//! What is left of a journal with damaged places that no other copy can repair. Changes nothing on the disk.
//!
//! A damaged frame costs as little as can be: record batches alone, when header and table are whole; else the
//! frames up to the next one whose header is. Which offsets they held follows from what topics say later; where
//! nothing says it, as many are given up as the bytes could have held, so that none is used twice.
//!
//! Always:  damage that nothing proves to have been durable is a torn tail, here as in recovery.

use super::super::disk::Disk;
use super::super::format::frame::FrameHeader;
use super::super::format::loss::{Loss, LostRange, Toll};
use super::super::format::section::{BatchRow, Frame};
use super::super::format::segment::{HEADER_BYTES, Kind, Opening};
use super::super::walk::{Window, find_frames};
use super::{
    At, Found, Identity, RecoverError, Recovered, Recovery, Walked, absorb, during, known,
};
use crate::limit::BLOCK_BYTES;
use crate::unit::{Offset, Sequence, TopicId};
use std::collections::HashMap;
use std::io;

/// A record takes at least this many bytes.
const RECORD_BYTES_MIN: u64 = 7;

/// A damaged place that is given up.
#[derive(Clone, Debug)]
pub struct Wound {
    pub file: String,
    /// Bytes of the file, from the first to after the last.
    pub from: u64,
    pub to: u64,
    pub loss: Loss,
}

/// A journal without its damaged places.
pub struct Salvage<F> {
    /// Its losses count those that were recorded before and the new ones.
    pub recovered: Recovered<F>,
    /// What is not recorded yet.
    pub wounds: Vec<Wound>,
    /// Segments in use whose header is damaged: it can be written anew.
    pub headless: Vec<String>,
}

/// Recovers what can be read of the journal in `folder`.
///
/// # Errors
/// As recovery's, but for damage.
pub async fn salvage<D: Disk>(
    disk: &D,
    folder: &str,
    identity: Identity,
) -> Result<Salvage<D::File>, RecoverError> {
    let (recovery, headless) = Recovery::read_headers(disk, folder, identity).await?;
    let mut salvager = Salvager {
        recovery,
        wounds: Vec::new(),
        headless: Vec::new(),
        doubt: 0,
        resolved: 0,
        seen: HashMap::new(),
    };
    for (segment, _) in headless {
        salvager.adopt(segment).await?;
    }
    salvager.walk().await?;
    Ok(salvager.finish())
}

struct Salvager<'a, D: Disk> {
    recovery: Recovery<'a, D>,
    wounds: Vec<Wound>,
    headless: Vec<String>,
    /// Bytes that may have held records of any topic, so far.
    doubt: u64,
    /// How many of them the newest whole checkpoint has answered for all topics.
    resolved: u64,
    /// How many of them a topic's newest batch has answered for it.
    seen: HashMap<TopicId, u64>,
}

/// What became of the frame that was looked at.
enum Taken {
    /// It is taken, and how many of its bytes are lost with everything in them.
    Frame { lost: u64, ranges: Vec<LostRange> },
    /// It is none, or not the one that should come.
    Not,
}

impl<D: Disk> Salvager<'_, D> {
    /// A file without a header: its frames say which use it was in, if any of them is left.
    async fn adopt(&mut self, mut segment: Found<D::File>) -> Result<(), RecoverError> {
        let mut newest: Option<FrameHeader> = None;
        let mut from = HEADER_BYTES as u64;
        let whose = self.recovery.whose();
        loop {
            let younger = |header: &FrameHeader| {
                let known = newest.as_ref().map(|newest| newest.life);
                (header.store, header.journal) == whose && known < Some(header.life)
            };
            let found = self.find(&segment, from, younger).await?;
            let Some(header) = found else { break };
            from = header.position + BLOCK_BYTES;
            newest = Some(header);
        }
        if is_sorted(self.recovery.disk, &segment).await? {
            // Where it begins, only its header has said.
            self.recovery.found.spare.push(segment);
            return Ok(());
        }
        let oldest = self.recovery.in_use.first();
        let oldest = oldest.and_then(|oldest| oldest.opening);
        let first =
            newest.filter(|first| oldest.is_none_or(|oldest| oldest.first <= first.sequence));
        let Some(first) = first else {
            self.recovery.found.spare.push(segment);
            return Ok(());
        };
        segment.life = first.life;
        segment.opening = Some(Opening {
            first: first.sequence,
            chain_in: first.chain,
        });
        self.recovery.found.life_max = self.recovery.found.life_max.max(first.life);
        self.headless.push(segment.name.clone());
        self.recovery.in_use.push(segment);
        self.recovery
            .in_use
            .sort_by_key(|segment| segment.opening.map(|opening| opening.first));
        Ok(())
    }

    async fn find(
        &self,
        segment: &Found<D::File>,
        from: u64,
        wanted: impl Fn(&FrameHeader) -> bool,
    ) -> Result<Option<FrameHeader>, RecoverError> {
        let (disk, size) = (self.recovery.disk, segment.bytes);
        let found = find_frames(disk, &segment.file, from, size, wanted).await;
        during(found, || format!("read {}", segment.name))
    }

    async fn walk(&mut self) -> Result<(), RecoverError> {
        let Some(start) = self.recovery.choose_start().await? else {
            return Ok(());
        };
        let start = self.known_start(start).await?;
        let mut rest = self.recovery.in_use.split_off(start);
        self.recovery.found.sealed = std::mem::take(&mut self.recovery.in_use);
        let opening = rest.first().and_then(|segment| segment.opening);
        let opening = opening.expect("a segment in use has an opening");
        self.recovery.found.chain = opening.chain_in;
        let mut expected = opening.first;
        loop {
            let segment = rest.remove(0);
            match segment.kind {
                Kind::Journal => self.walk_segment(segment, &mut expected, &rest).await?,
                Kind::Sorted => self.pass_sorted(segment, &mut expected).await?,
            }
            if !self.go_on(&mut expected, &mut rest).await? {
                break;
            }
        }
        self.recovery.drop_empty_tail();
        self.recovery.found.spare.extend(rest);
        Ok(())
    }

    /// Goes back to a segment whose first frame is whole: only then it is known what topics had before.
    async fn known_start(&self, start: usize) -> Result<usize, RecoverError> {
        for index in (0..=start).rev() {
            let segment = &self.recovery.in_use[index];
            let mut window = Window::new(self.recovery.disk, &segment.file, segment.bytes);
            let bytes = window.frame(HEADER_BYTES as u64).await;
            let bytes = during(bytes, || format!("read {}", segment.name))?;
            let own = |frame: &Frame<'_>| frame.header.life == segment.life;
            if Frame::check(bytes).is_ok_and(|frame| own(&frame)) {
                return Ok(index);
            }
        }
        Ok(0)
    }

    /// Whether another segment follows, be it behind what is missing.
    async fn go_on(
        &mut self,
        expected: &mut Sequence,
        rest: &mut Vec<Found<D::File>>,
    ) -> Result<bool, RecoverError> {
        // A beginning that lies before what was read is what a crash left.
        while let Some(next) = rest.first().and_then(|next| next.opening)
            && next.first < *expected
        {
            let passed = rest.remove(0);
            self.recovery.found.spare.push(passed);
        }
        let next = rest.first().and_then(|next| next.opening);
        if next.is_some_and(|next| {
            (next.first, next.chain_in) == (*expected, self.recovery.found.chain)
        }) {
            return Ok(true);
        }
        let Some(at) = &self.recovery.at else {
            return Ok(false);
        };
        let (file, from, size) = (at.name.clone(), at.position, at.bytes);
        let Some(proof) = self.recovery.find_proof(*expected, at, rest).await? else {
            return Ok(false);
        };
        let upto = next.map_or(proof.sequence.next(), |next| next.first);
        self.wound((file, from, size), (*expected, upto), size - from);
        let chain = next.map_or(self.recovery.found.chain, |next| next.chain_in);
        self.recovery.found.chain = chain;
        let last = Sequence::new(upto.get() - 1);
        self.recovery.found.last = last;
        if let Some(walked) = self.recovery.found.walked.last_mut() {
            walked.last = last;
            walked.chain_out = chain;
        }
        self.recovery.found.closed = next.is_none();
        *expected = upto;
        Ok(next.is_some())
    }

    /// Walks one segment to its end, over damaged places.
    async fn walk_segment(
        &mut self,
        segment: Found<D::File>,
        expected: &mut Sequence,
        rest: &[Found<D::File>],
    ) -> Result<(), RecoverError> {
        let opening = segment.opening.expect("a segment in use has an opening");
        let mut walked = Walked::enter(segment, opening);
        let file = walked.segment.file.clone();
        let mut window = Window::new(self.recovery.disk, &file, walked.segment.bytes);
        let mut firsts = rest.iter().filter_map(|next| Some(next.opening?.first));
        let before = firsts.find(|first| *expected < *first);
        self.recovery.found.closed = false;
        while before != Some(*expected) {
            let (name, position) = (walked.segment.name.clone(), walked.end);
            let bytes = during(window.frame(position).await, || format!("read {name}"))?;
            let is_next = Frame::check(bytes)
                .is_ok_and(|frame| self.follows(&frame.header, &walked, *expected));
            let at = At::new(&walked.segment, position);
            let proven = is_next
                || self
                    .recovery
                    .find_proof(*expected, &at, rest)
                    .await?
                    .is_some();
            if !proven {
                break;
            }
            match self.take(bytes, &mut walked, *expected)? {
                Taken::Frame { lost, ranges } => {
                    if 0 < lost || !ranges.is_empty() {
                        let place = (name, position, walked.end);
                        self.wound(place, (*expected, expected.next()), lost);
                        self.note(ranges);
                        self.recovery.found.closed = true;
                    }
                    *expected = expected.next();
                }
                Taken::Not => {
                    let epoch = self.recovery.found.epoch;
                    let wanted = |header: &FrameHeader| {
                        self.recovery
                            .belongs(header, walked.segment.life, header.position)
                            && *expected <= header.sequence
                            && epoch <= header.epoch
                            && before.is_none_or(|before| header.sequence < before)
                    };
                    let from = position + BLOCK_BYTES;
                    let Some(header) = self.find(&walked.segment, from, wanted).await? else {
                        break;
                    };
                    let place = (name, position, header.position);
                    self.wound(
                        place,
                        (*expected, header.sequence),
                        header.position - position,
                    );
                    self.recovery.found.chain = header.chain;
                    self.recovery.found.closed = true;
                    walked.end = header.position;
                    *expected = header.sequence;
                }
            }
        }
        self.recovery.at = Some(At::new(&walked.segment, walked.end));
        self.recovery.found.walked.push(walked);
        Ok(())
    }

    /// A rewritten segment is taken as it is, or given up whole: what topics had in it follows from what they
    /// say later.
    async fn pass_sorted(
        &mut self,
        segment: Found<D::File>,
        expected: &mut Sequence,
    ) -> Result<(), RecoverError> {
        self.recovery.found.closed = false;
        self.recovery.pass_sorted(segment, expected).await.map(drop)
    }

    fn follows(&self, header: &FrameHeader, walked: &Walked<D::File>, expected: Sequence) -> bool {
        let found = &self.recovery.found;
        let (life, end) = (walked.segment.life, walked.end);
        self.recovery.belongs(header, life, end)
            && (header.sequence, header.chain) == (expected, found.chain)
            && found.epoch <= header.epoch
    }

    /// Takes what can be read of the frame that should come, if its header is whole.
    fn take(
        &mut self,
        bytes: &[u8],
        walked: &mut Walked<D::File>,
        expected: Sequence,
    ) -> Result<Taken, RecoverError> {
        let (header, chain_value) = match FrameHeader::decode(bytes) {
            Ok(decoded) => decoded,
            Err(defect) => {
                return known(&walked.segment.name, defect).map(|_| Taken::Not);
            }
        };
        if !self.follows(&header, walked, expected) {
            return Ok(Taken::Not);
        }
        if let Ok(frame) = Frame::check_but_payload(bytes) {
            self.answer(&frame);
            let mut ranges = Vec::new();
            let keep = |row: &BatchRow, batch: &[u8]| {
                let is_sound = row.check(batch).is_ok();
                if !is_sound {
                    ranges.push(LostRange::new(row.topic, row.base_offset, row.next()));
                }
                is_sound
            };
            let found = &mut self.recovery.found;
            let Err(defect) = absorb::absorb(found, &frame, walked, keep) else {
                return Ok(Taken::Frame { lost: 0, ranges });
            };
            known(&walked.segment.name, defect)?;
        }
        // Nothing in it can be told from anything else, but where it ends and what follows.
        let lost = header.padded_bytes() as u64;
        walked.end += lost;
        walked.last = Some(header.sequence);
        walked.chain_out = chain_value;
        let found = &mut self.recovery.found;
        (found.last, found.epoch, found.chain) = (walked.last, header.epoch, chain_value);
        let ranges = Vec::new();
        Ok(Taken::Frame { lost, ranges })
    }

    /// What a frame says of the offsets that were in use before it.
    fn answer(&mut self, frame: &Frame<'_>) {
        if self.doubt == 0 {
            return;
        }
        let mut ranges = Vec::new();
        for (row, _) in frame.batches().unwrap_or_default() {
            if self.recovery.found.deleted.contains_key(&row.topic) {
                continue;
            }
            let extent = self.recovery.found.extents.entry(row.topic).or_default();
            let (topic, first, next) = (row.topic, extent.next, row.base_offset);
            if self.seen.insert(topic, self.doubt) != Some(self.doubt) && first < next {
                ranges.push(LostRange::new(topic, first, next));
                extent.next = next;
            }
        }
        let (whole, rows) = frame.checkpoint().unwrap_or_default();
        for row in rows {
            if self.recovery.found.deleted.contains_key(&row.topic) {
                continue;
            }
            let extent = self.recovery.found.extents.get(&row.topic);
            let first = extent.map_or(Offset(0), |extent| extent.next).max(row.low);
            let batches = frame.batches().unwrap_or_default();
            let in_frame = batches.iter().any(|(batch, _)| batch.topic == row.topic);
            self.seen.insert(row.topic, self.doubt);
            if first < row.next && !in_frame {
                let (topic, next) = (row.topic, row.next);
                ranges.push(LostRange::new(topic, first, next));
            }
        }
        if whole {
            self.resolved = self.doubt;
        }
        self.note(ranges);
    }

    fn wound(
        &mut self,
        (file, from, to): (String, u64, u64),
        frames: (Sequence, Sequence),
        lost: u64,
    ) {
        let (first, next) = frames;
        let last = Sequence::new(next.get() - 1).filter(|last| first <= *last);
        self.doubt += lost;
        let loss = Loss::new(first, last.unwrap_or(first));
        self.wounds.push(Wound {
            file,
            from,
            to,
            loss,
        });
    }

    fn note(&mut self, ranges: Vec<LostRange>) {
        if let Some(wound) = self.wounds.last_mut() {
            wound.loss.topics.extend(ranges);
        }
    }

    /// Gives up the offsets that nothing has answered for, and tells what is not recorded yet.
    fn finish(mut self) -> Salvage<D::File> {
        let bound = |bytes: u64| bytes.div_ceil(RECORD_BYTES_MIN);
        let open = bound(self.doubt - self.resolved);
        let mut ranges = Vec::new();
        let found = &mut self.recovery.found;
        for (topic, extent) in &mut found.extents {
            let answered = self
                .seen
                .get(topic)
                .copied()
                .unwrap_or(0)
                .max(self.resolved);
            let lost = bound(self.doubt - answered);
            if 0 < lost {
                let (topic, first) = (*topic, extent.next);
                extent.next.0 = extent.next.0.saturating_add(lost);
                let next = extent.next;
                ranges.push(LostRange::new(topic, first, next));
            }
        }
        ranges.sort_by_key(|range| range.topic);
        found.floor = Offset(open);
        self.note(ranges);
        let mut recovered = self.recovery.found;
        let (known, mut toll) = (recovered.losses.clone(), Toll::default());
        let is_new = |wound: &Wound| {
            let (first, last) = (wound.loss.first, wound.loss.last);
            !known.explain(&mut toll, first, last)
        };
        let wounds: Vec<_> = self.wounds.into_iter().filter(is_new).collect();
        record(&mut recovered, &wounds);
        Salvage {
            recovered,
            wounds,
            headless: self.headless,
        }
    }
}

/// Takes what is given up to what was lost before.
fn record<F>(recovered: &mut Recovered<F>, wounds: &[Wound]) {
    let walked = recovered.walked.first().map(|walked| &walked.segment);
    let oldest = recovered.sealed.first().or(walked);
    let front = oldest.and_then(|segment| segment.opening);
    let front = front.map_or(Sequence::FIRST, |opening| opening.first);
    let (extents, deleted) = (&recovered.extents, &recovered.deleted);
    let low = |topic: TopicId| {
        if deleted.contains_key(&topic) {
            return Offset(u64::MAX);
        }
        extents.get(&topic).map_or(Offset(0), |extent| extent.low)
    };
    let new = wounds.iter().map(|wound| wound.loss.clone());
    recovered.losses.add(new, front, low);
}

/// Whether the frames of a file without a header are those of a rewritten segment: all carry its last sequence.
async fn is_sorted<D: Disk>(disk: &D, segment: &Found<D::File>) -> Result<bool, RecoverError> {
    let sorted = frames_are_sorted(disk, &segment.file, segment.bytes).await;
    during(sorted, || format!("read {}", segment.name))
}

/// As the two frames say that every rewritten segment begins with.
pub(in super::super) async fn frames_are_sorted<D: Disk>(
    disk: &D,
    file: &D::File,
    bytes: u64,
) -> io::Result<bool> {
    let mut window = Window::new(disk, file, bytes);
    let at = HEADER_BYTES as u64;
    let Ok((first, _)) = FrameHeader::decode(window.frame(at).await?) else {
        return Ok(false);
    };
    let next = window.frame(at + first.padded_bytes() as u64).await?;
    let same = |next: &FrameHeader| (next.life, next.sequence) == (first.life, first.sequence);
    Ok(FrameHeader::decode(next).is_ok_and(|(next, _)| same(&next)))
}
