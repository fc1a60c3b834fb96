//! Repair of what is damaged on one volume and whole on another.
//!
//! Always:  only a frame is taken that is whole, stands at the same place of the same life of the same file,
//!          continues the damaged copy's chain, and is continued by what follows it there.

use super::super::disk::Disk;
use super::super::format::Features;
use super::super::format::frame::FrameHeader;
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::journal::read_footer;
use super::super::mirror::Member;
use super::super::recover::{RecoverError, frames_are_sorted, recover};
use super::super::walk::{Scan, Window, read_whole};
use super::{Copy, Permissions, Place};
use crate::limit::REPAIRS_MAX;
use crate::unit::{Life, Sequence};
use std::cmp::Reverse;
use std::io;

/// Copied at once where a whole file is.
const PIECE_BYTES: u64 = 1 << 20;

/// Repairs every copy as far as the others allow, and recovers it anew.
pub(super) async fn heal_all<D: Disk>(
    copies: &mut [Copy<D>],
    place: Place<'_>,
    permissions: &Permissions,
    notes: &mut Vec<String>,
) {
    for index in 0..copies.len() {
        if permissions.without.contains(&copies[index].volume()) {
            continue;
        }
        for _ in 0..REPAIRS_MAX {
            let Some(note) = heal(copies, index, place, permissions).await else {
                break;
            };
            notes.push(note);
            let disk = copies[index].member.disk.clone();
            copies[index].found = recover(&disk, place.folder, place.identity).await;
        }
    }
}

/// Repairs the first damaged place of one copy; says what was done. A disk that fails repairs nothing.
async fn heal<D: Disk>(
    copies: &[Copy<D>],
    index: usize,
    place: Place<'_>,
    permissions: &Permissions,
) -> Option<String> {
    let damaged = &copies[index];
    let error = damaged.found.as_ref().err()?;
    let mut donors: Vec<&Copy<D>> = copies
        .iter()
        .filter(|copy| copy.volume() != damaged.volume())
        .filter(|copy| !permissions.without.contains(&copy.volume()))
        .collect();
    donors.sort_by_key(|copy| Reverse(copy.reach()));
    for donor in donors {
        let healed = heal_from(&damaged.member, error, donor, place).await;
        if let Ok(Some(what)) = healed {
            let (name, from) = (&damaged.member.name, &donor.member.name);
            return Some(format!("{name}: {what} was repaired from {from}"));
        }
    }
    let RecoverError::Header { file, .. } = error else {
        return None;
    };
    let healed = head_from_frames(&damaged.member.disk, file, place).await;
    let name = &damaged.member.name;
    healed
        .ok()?
        .then(|| format!("{name}: the header of {file} was written anew from its first frame"))
}

async fn heal_from<D: Disk>(
    damaged: &Member<D>,
    error: &RecoverError,
    donor: &Copy<D>,
    place: Place<'_>,
) -> io::Result<Option<String>> {
    let is_sound = donor.found.is_ok();
    let donor = &donor.member;
    match error {
        RecoverError::Damaged { file, .. }
            if is_sound && is_rewritten(damaged, donor, file, place).await? =>
        {
            let copied = copy_file(damaged, donor, file, place).await?;
            Ok(copied.then(|| format!("the whole of {file}")))
        }
        RecoverError::Damaged {
            file,
            position,
            sequence,
            life,
            chain,
            ..
        } => {
            let wanted = Wanted {
                file,
                position: *position,
                sequence: *sequence,
                life: *life,
                chain: *chain,
            };
            let frames = copy_frames(damaged, donor, wanted, place).await?;
            let what = format!("{file} from byte {position} on ({frames} frames)");
            Ok((0 < frames).then_some(what))
        }
        RecoverError::Header { file, .. } => {
            let copied = copy_header(damaged, donor, file, place).await?;
            Ok(copied.then(|| format!("the header of {file}")))
        }
        _ => Ok(None),
    }
}

async fn header_of<D: Disk>(disk: &D, file: &D::File) -> io::Result<Option<SegmentHeader>> {
    let block = disk.read(file, 0, HEADER_BYTES).await?;
    Ok(SegmentHeader::decode(block.as_ref()).ok())
}

/// Whether the same stretch of the journal lies in this file on both, and at least one has it rewritten: then
/// single frames do not match.
async fn is_rewritten<D: Disk>(
    damaged: &Member<D>,
    donor: &Member<D>,
    name: &str,
    place: Place<'_>,
) -> io::Result<bool> {
    let (from, to) = (donor.disk.open(name).await?, damaged.disk.open(name).await?);
    let good = header_of(&donor.disk, &from).await?;
    let (Some(good), Some(bad)) = (good, header_of(&damaged.disk, &to).await?) else {
        return Ok(false);
    };
    let identity = place.identity;
    let whose = (good.store, good.journal) == (identity.store, identity.journal);
    let same_range = good.opening.is_some() && good.opening == bad.opening;
    Ok(whose && same_range && (good.kind, bad.kind) != (Kind::Journal, Kind::Journal))
}

/// Whether every frame of a rewritten segment can be read, up to its footer. Of another only its recovery knows.
async fn is_whole<D: Disk>(disk: &D, file: &D::File) -> io::Result<bool> {
    let size = disk.size(file).await?;
    let header = header_of(disk, file).await?;
    let Some(header) = header.filter(|header| header.kind == Kind::Sorted) else {
        return Ok(true);
    };
    let Some(footer) = read_footer(disk, file, header.life, size).await? else {
        return Ok(false);
    };
    let mut window = Window::new(disk, file, size);
    let mut position = HEADER_BYTES as u64;
    while position < footer.end {
        match Frame::check(window.frame(position).await?) {
            Ok(frame) if frame.header.life == header.life => {
                position += frame.header.padded_bytes() as u64;
            }
            _ => return Ok(false),
        }
    }
    Ok(position == footer.end)
}

/// Puts a copy of the whole file into the place of the damaged one, if it is whole itself.
pub(super) async fn copy_file<D: Disk>(
    damaged: &Member<D>,
    donor: &Member<D>,
    name: &str,
    place: Place<'_>,
) -> io::Result<bool> {
    let (from, disk) = (donor.disk.open(name).await?, &damaged.disk);
    if !is_whole(&donor.disk, &from).await? {
        return Ok(false);
    }
    let unfinished = format!("{name}.new");
    match disk.remove(&unfinished).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    let to = disk.create(&unfinished).await?;
    let size = donor.disk.size(&from).await?;
    let mut position = 0;
    while position < size {
        let bytes = PIECE_BYTES.min(size - position) as usize;
        let piece = read_whole(&donor.disk, &from, position, bytes).await?;
        let mut buffer = disk.buffer(bytes);
        buffer.as_mut()[..bytes].copy_from_slice(&piece.as_ref()[..bytes]);
        disk.write(&to, position, disk.freeze(buffer, bytes))
            .await?;
        position += bytes as u64;
    }
    disk.flush(&to).await?;
    disk.rename(&unfinished, name).await?;
    disk.flush_folder(place.folder).await?;
    Ok(true)
}

/// Which of two volumes has failed.
#[derive(Debug)]
pub(super) enum Failed {
    Donor(io::Error),
    Target(io::Error),
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        let (Failed::Donor(error) | Failed::Target(error)) = failed;
        error
    }
}

/// The frame that is damaged, or missing.
pub(super) struct Wanted<'a> {
    pub(super) file: &'a str,
    pub(super) position: u64,
    pub(super) sequence: u64,
    pub(super) life: Life,
    pub(super) chain: u64,
}

fn belongs(place: Place<'_>, header: &FrameHeader, life: Life, position: u64) -> bool {
    let identity = place.identity;
    header.store == identity.store
        && header.journal == identity.journal
        && header.life == life
        && header.position == position
}

/// A file with its size, if there is one of this name.
async fn open<D: Disk>(disk: &D, name: &str) -> io::Result<Option<(D::File, u64)>> {
    match disk.open(name).await {
        Ok(file) => {
            let size = disk.size(&file).await?;
            Ok(Some((file, size)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies the frame and those behind it that are damaged too; gives how many.
pub(super) async fn copy_frames<D: Disk>(
    damaged: &Member<D>,
    donor: &Member<D>,
    wanted: Wanted<'_>,
    place: Place<'_>,
) -> Result<u64, Failed> {
    let Some((from, from_size)) = open(&donor.disk, wanted.file)
        .await
        .map_err(Failed::Donor)?
    else {
        return Ok(0);
    };
    let Some((to, to_size)) = open(&damaged.disk, wanted.file)
        .await
        .map_err(Failed::Target)?
    else {
        return Ok(0);
    };
    if from_size != to_size {
        return Ok(0);
    }
    let (mut source, mut target) = (
        Window::new(&donor.disk, &from, from_size),
        Window::new(&damaged.disk, &to, to_size),
    );
    let (mut position, mut chain) = (wanted.position, wanted.chain);
    let mut sequence = Sequence::new(wanted.sequence);
    let mut copied = 0;
    while let Some(expected) = sequence {
        let good = |bytes: &[u8]| {
            let frame = Frame::check(bytes).ok()?;
            let header = &frame.header;
            let follows = belongs(place, header, wanted.life, position)
                && header.sequence == expected
                && header.chain == chain;
            follows.then(|| (header.padded_bytes(), frame.chain_value))
        };
        let bytes = source.frame(position).await.map_err(Failed::Donor)?;
        let Some((length, chain_value)) = good(bytes) else {
            break;
        };
        let bytes = bytes[..length].to_vec();
        let there = target.frame(position).await.map_err(Failed::Target)?;
        if good(there).is_some() {
            break;
        }
        let after = target.frame(position + length as u64).await;
        let after = after.map_err(Failed::Target)?;
        if let Ok((next, _)) = FrameHeader::decode(after)
            && belongs(place, &next, wanted.life, position + length as u64)
            && next.sequence == expected.next()
            && next.chain != chain_value
        {
            break;
        }
        let copying = put(&damaged.disk, &to, position, &bytes).await;
        copying.map_err(Failed::Target)?;
        copied += 1;
        position += length as u64;
        chain = chain_value;
        sequence = Some(expected.next());
    }
    Ok(copied)
}

/// Copies the header of a segment when the frames behind the damaged one are of the same life.
async fn copy_header<D: Disk>(
    damaged: &Member<D>,
    donor: &Member<D>,
    name: &str,
    place: Place<'_>,
) -> io::Result<bool> {
    let from = donor.disk.open(name).await?;
    let block = read_whole(&donor.disk, &from, 0, HEADER_BYTES).await?;
    let Ok(header) = SegmentHeader::decode(&block.as_ref()[..HEADER_BYTES]) else {
        return Ok(false);
    };
    let identity = place.identity;
    if (header.store, header.journal) != (identity.store, identity.journal)
        || header.opening.is_none()
    {
        return Ok(false);
    }
    let to = damaged.disk.open(name).await?;
    if damaged.disk.size(&to).await? != header.segment_bytes
        || newest_life(&damaged.disk, &to, place).await? != Some(header.life)
    {
        return Ok(false);
    }
    let block = block.as_ref()[..HEADER_BYTES].to_vec();
    put(&damaged.disk, &to, 0, &block).await?;
    Ok(true)
}

/// The youngest use that left a frame in the file.
async fn newest_life<D: Disk>(
    disk: &D,
    file: &D::File,
    place: Place<'_>,
) -> io::Result<Option<Life>> {
    let size = disk.size(file).await?;
    let mut newest = None;
    let mut scan = Scan::new(disk, file, HEADER_BYTES as u64, size);
    let ours = |header: &FrameHeader| belongs(place, header, header.life, header.position);
    while let Some(header) = scan.next(ours).await? {
        newest = newest.max(Some(header.life));
    }
    Ok(newest)
}

/// A segment's first frame says all that its header says.
pub(super) async fn head_from_frames<D: Disk>(
    disk: &D,
    name: &str,
    place: Place<'_>,
) -> io::Result<bool> {
    let file = disk.open(name).await?;
    // A rewritten segment's frames do not say where it begins.
    if disk.size(&file).await? != place.identity.segment_bytes
        || frames_are_sorted(disk, &file, place.identity.segment_bytes).await?
    {
        return Ok(false);
    }
    let newest = newest_life(disk, &file, place).await?;
    let mut window = Window::new(disk, &file, place.identity.segment_bytes);
    let at = HEADER_BYTES as u64;
    let first = match Frame::check(window.frame(at).await?) {
        Ok(frame) => frame.header,
        Err(_) => return Ok(false),
    };
    if newest != Some(first.life) || !belongs(place, &first, first.life, at) {
        return Ok(false);
    }
    let header = SegmentHeader {
        kind: Kind::Journal,
        store: first.store,
        journal: first.journal,
        life: first.life,
        segment_bytes: place.identity.segment_bytes,
        opening: Some(Opening {
            first: first.sequence,
            chain_in: first.chain,
        }),
        features: Features::default(),
    };
    let mut block = [0; HEADER_BYTES];
    header.encode(&mut block);
    put(disk, &file, 0, &block).await?;
    Ok(true)
}

/// Writes and makes durable. Whole blocks.
pub(super) async fn put<D: Disk>(
    disk: &D,
    file: &D::File,
    position: u64,
    bytes: &[u8],
) -> io::Result<()> {
    let mut buffer = disk.buffer(bytes.len());
    buffer.as_mut()[..bytes.len()].copy_from_slice(bytes);
    let frozen = disk.freeze(buffer, bytes.len());
    disk.write_durable(file, position, frozen).await
}
