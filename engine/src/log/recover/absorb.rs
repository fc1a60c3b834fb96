//! What the whole frames of a journal say, taken one after the other.

use super::super::format::Defect;
use super::super::format::footer::Place;
use super::super::format::forwarded::Forwarded;
use super::super::format::frame::SectionKind;
use super::super::format::loss;
use super::super::format::section::{self, BatchRow, Frame};
use super::super::journal::Extent;
use super::{Recovered, Walked};

/// Takes what a frame of the chain says; of its batches, those that `keep` accepts. The offsets of the others
/// have been in use all the same.
pub(super) fn absorb<F>(
    found: &mut Recovered<F>,
    frame: &Frame<'_>,
    walked: &mut Walked<F>,
    mut keep: impl FnMut(&BatchRow, &[u8]) -> bool,
) -> Result<(), Defect> {
    let payload_at = frame.payload_at();
    let mut at = walked.end + payload_at as u64;
    for (row, bytes) in frame.batches()? {
        // What was staged when a topic was deleted comes behind its tombstone, and counts for nothing.
        if !found.deleted.contains_key(&row.topic) {
            let extent = found.extents.entry(row.topic).or_default();
            if extent.next != row.base_offset {
                return Err(Defect::Malformed("order of offsets"));
            }
            extent.next = row.next();
            extent.newest_ms = row.newest_ms;
        }
        at += bytes.len() as u64;
        if !keep(&row, bytes) {
            continue;
        }
        let place = Place {
            base_offset: row.base_offset,
            position: at - bytes.len() as u64,
            newest_ms: row.newest_ms,
            bytes: row.bytes,
            records: row.records,
        };
        walked.places.push((row.topic, place));
        walked.records += u64::from(row.records);
    }
    for (topic, _) in frame.topics()? {
        walked.defined.push(topic);
    }
    absorb_state(found, frame)?;
    found.last = Some(frame.header.sequence);
    found.chain = frame.chain_value;
    let (sequence, durable) = (frame.header.sequence, frame.header.durable_upto);
    walked.unproven.push((sequence, walked.end));
    walked
        .unproven
        .retain(|(sequence, _)| durable < Some(*sequence));
    walked.end += frame.header.padded_bytes() as u64;
    walked.last = found.last;
    walked.chain_out = found.chain;
    Ok(())
}

/// Takes what a frame says beside its batches.
pub(super) fn absorb_state<F>(found: &mut Recovered<F>, frame: &Frame<'_>) -> Result<(), Defect> {
    for (topic, name) in frame.topics()? {
        if !found.deleted.contains_key(&topic) {
            found.names.insert(topic, name.to_owned());
        }
    }
    let (_, rows) = frame.checkpoint()?;
    let rows = rows.into_iter();
    for row in rows.filter(|row| !found.deleted.contains_key(&row.topic)) {
        // Watermarks wait in line to be committed: a later one may have come first, with a new segment.
        let before = found.extents.get(&row.topic).map(|extent| extent.low);
        let extent = Extent {
            low: row.low.max(before.unwrap_or_default()),
            next: row.next,
            newest_ms: row.newest_ms,
        };
        found.extents.insert(row.topic, extent);
    }
    for row in frame.tombstones()? {
        found.extents.remove(&row.topic);
        found.names.remove(&row.topic);
        found.deleted.insert(row.topic, row.clean_from);
    }
    if let Some(contents) = frame.section(SectionKind::MEMBERSHIP) {
        found.membership = Some(section::read_membership(contents)?);
    }
    if let Some(contents) = frame.section(SectionKind::CURSOR) {
        absorb_cursor(found, frame, contents)?;
    }
    if let Some(contents) = frame.section(SectionKind::LOSS) {
        found.losses = loss::read_losses(contents)?;
    }
    found.epoch = frame.header.epoch;
    Ok(())
}

/// Takes how far the journal was forwarded. Cursors wait in line to be committed: an opening frame may have
/// repeated a later one first.
fn absorb_cursor<F>(
    found: &mut Recovered<F>,
    frame: &Frame<'_>,
    contents: &[u8],
) -> Result<(), Defect> {
    let forwarded = Forwarded::read(contents)?;
    if forwarded.store != frame.header.store || Some(frame.header.sequence) <= forwarded.upto {
        return Err(Defect::Misplaced("section of the cursor"));
    }
    if found
        .forwarded
        .is_none_or(|before| before.upto <= forwarded.upto)
    {
        found.forwarded = Some(forwarded);
    }
    Ok(())
}
