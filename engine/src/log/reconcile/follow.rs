//! One volume gets what the right copy has and it has not: the end of the chain, a few segments, files in reserve.
//!
//! Always:  frames go to the disk in the order of the chain, each durable before the next, so that a crash
//!          leaves a copy that is only shorter. A file that goes to another use says first that it is in none.
//! Full:    a volume that lacks more than a few segments is not touched further.

use super::super::disk::Disk;
use super::super::format::Features;
use super::super::format::footer::FOOTER_BYTES;
use super::super::format::frame::FrameHeader;
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, Opening, SegmentHeader};
use super::super::journal::read_footer;
use super::super::mirror::Member;
use super::super::recover::{Found, RecoverError, Recovered, segment_number};
use super::super::walk::{Window, read_whole};
use super::heal::put;
use super::{Copy, Place};
use crate::limit::{BLOCK_BYTES, SEGMENTS_BEHIND_MAX};
use crate::unit::{Life, Sequence};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// Copied at once where the order does not matter.
const PIECE_BYTES: u64 = 1 << 20;

/// Why a volume cannot be brought up to date at a start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Behind {
    /// It was not even tried.
    #[error("{0}")]
    Left(String),
    #[error("it could not be brought up to date: {0}")]
    Disk(#[from] io::Error),
    #[error("it lacks {segments} segments of the journal")]
    TooFar { segments: usize },
    #[error("the right copy of {file} is damaged, too")]
    Source { file: String },
    /// Not this volume failed, but the one that it was to become like.
    #[error("the right copy of {file} could not be read: {source}")]
    Unread { file: String, source: io::Error },
}

/// A segment in use, as the right copy has it.
struct Original<F> {
    name: String,
    file: Rc<F>,
    life: Life,
    kind: Kind,
    /// Of the file.
    bytes: u64,
    opening: Opening,
    /// After its last frame, when recovery walked it.
    walked_end: Option<u64>,
    /// The sequence that the next segment begins with.
    next: Option<Sequence>,
}

/// A file of the volume that is brought up to date.
struct Target<F> {
    file: F,
    header: Option<SegmentHeader>,
    /// Of the file.
    bytes: u64,
}

/// Brings the volume of `copy` up to date; says what was done. Numbers that only this volume has seen are noted
/// in `found`, so that they are not given again.
pub(super) async fn follow<D: Disk>(
    best: &Member<D>,
    found: &mut Recovered<D::File>,
    copy: &Copy<D>,
    place: Place<'_>,
) -> Result<Vec<String>, Behind> {
    let originals = originals(found);
    let mut targets = read_targets(&copy.member.disk, place).await?;
    for target in targets.values() {
        let life = target.header.map(|header| header.life);
        found.life_max = found.life_max.max(life.unwrap_or_default());
    }
    let mut follower = Follower {
        best,
        to: &copy.member,
        place,
        changed: 0,
    };
    let from = differs_from(&follower, &originals, found, copy).await?;
    let lacking = originals.iter().filter(|original| {
        let target = targets.get(&original.name);
        let same = target.is_some_and(|target| target.header == Some(original.header(place)));
        !same || (original.walked_end.is_none() && original.reaches(from))
    });
    let segments = lacking.count();
    if SEGMENTS_BEHIND_MAX < segments {
        return Err(Behind::TooFar { segments });
    }
    follower.drop_strangers(found, &mut targets).await?;
    for original in &originals {
        let target = targets.get(&original.name);
        follower.bring(original, target, from).await?;
    }
    for spare in &found.spare {
        if !targets.contains_key(&spare.name) {
            follower.make_spare(&spare.name).await?;
        }
    }
    let name = &copy.member.name;
    let changed = follower.changed;
    Ok((0 < changed)
        .then(|| {
            format!(
                "{name}: {changed} places were brought up to date from {}",
                best.name
            )
        })
        .into_iter()
        .collect())
}

fn originals<F>(found: &Recovered<F>) -> Vec<Original<F>> {
    let whole = |segment: &Found<F>, opening, walked_end| Original {
        name: segment.name.clone(),
        file: segment.file.clone(),
        life: segment.life,
        kind: segment.kind,
        bytes: segment.bytes,
        opening,
        walked_end,
        next: None,
    };
    let sealed = found
        .sealed
        .iter()
        .filter_map(|segment| Some(whole(segment, segment.opening?, None)));
    let walked = found
        .walked
        .iter()
        .map(|walked| whole(&walked.segment, walked.opening, Some(walked.end)));
    let mut all: Vec<_> = sealed.chain(walked).collect();
    let firsts: Vec<_> = all.iter().map(|original| original.opening.first).collect();
    for (original, next) in all.iter_mut().zip(firsts.into_iter().skip(1)) {
        original.next = Some(next);
    }
    all
}

impl<F> Original<F> {
    fn header(&self, place: Place<'_>) -> SegmentHeader {
        SegmentHeader {
            kind: self.kind,
            segment_bytes: self.bytes,
            opening: Some(self.opening),
            ..unused(self.life, place)
        }
    }

    /// What was read of the right copy.
    fn read<T>(&self, result: io::Result<T>) -> Result<T, Behind> {
        result.map_err(|source| Behind::Unread {
            file: self.name.clone(),
            source,
        })
    }

    /// Whether it holds the frame `from` or a later one.
    fn reaches(&self, from: Sequence) -> bool {
        self.next.is_none_or(|next| from < next)
    }

    fn holds(&self, header: &FrameHeader, position: u64, place: Place<'_>) -> bool {
        header.store == place.identity.store
            && header.journal == place.identity.journal
            && header.life == self.life
            && header.position == position
    }
}

/// The header of a segment that is not in use.
fn unused(life: Life, place: Place<'_>) -> SegmentHeader {
    SegmentHeader {
        kind: Kind::Journal,
        store: place.identity.store,
        journal: place.identity.journal,
        life,
        segment_bytes: place.identity.segment_bytes,
        opening: None,
        features: Features::default(),
    }
}

/// The segment files of the volume. One of another size is as good as none, and goes.
async fn read_targets<D: Disk>(
    disk: &D,
    place: Place<'_>,
) -> io::Result<BTreeMap<String, Target<D::File>>> {
    let mut targets = BTreeMap::new();
    for name in disk.list(place.folder).await? {
        if segment_number(&name).is_none() {
            continue;
        }
        let path = format!("{}/{name}", place.folder);
        let file = disk.open(&path).await?;
        let bytes = disk.size(&file).await?;
        let block = disk.read(&file, 0, HEADER_BYTES).await?;
        let header = SegmentHeader::decode(block.as_ref()).ok();
        let rewritten = header.filter(|header| header.kind == Kind::Sorted);
        let wanted = rewritten.map_or(place.identity.segment_bytes, |header| header.segment_bytes);
        if bytes != wanted {
            disk.remove(&path).await?;
            disk.flush_folder(place.folder).await?;
            continue;
        }
        let target = Target {
            file,
            header,
            bytes,
        };
        targets.insert(path, target);
    }
    Ok(targets)
}

/// The first sequence from which on the two copies may differ.
async fn differs_from<D: Disk>(
    follower: &Follower<'_, D>,
    originals: &[Original<D::File>],
    found: &Recovered<D::File>,
    copy: &Copy<D>,
) -> Result<Sequence, Behind> {
    let last = found.last.unwrap_or(Sequence::FIRST);
    let theirs = match &copy.found {
        Ok(theirs) => theirs,
        Err(RecoverError::Damaged { sequence, .. }) => {
            return Ok(Sequence::new(*sequence).unwrap_or(Sequence::FIRST));
        }
        // Headers tell what is missing.
        Err(_) => return Ok(last.next()),
    };
    let (Some(end), Some(tail)) = (theirs.last, theirs.walked.last()) else {
        return Ok(Sequence::FIRST);
    };
    let next = end.next();
    // The chain holds everything before it: who agrees on one frame agrees on all before.
    let mut agree = (found.last, found.chain) == (theirs.last, theirs.chain);
    for original in originals {
        agree |= original.opening.first == next && original.opening.chain_in == theirs.chain;
        if (&original.name, original.life) == (&tail.segment.name, tail.segment.life) {
            let mut window = Window::new(&follower.best.disk, &original.file, original.bytes);
            let header = FrameHeader::decode(original.read(window.frame(tail.end).await)?);
            agree |= header.is_ok_and(|(header, _)| {
                original.holds(&header, tail.end, follower.place)
                    && (header.sequence, header.chain) == (next, theirs.chain)
            });
        }
    }
    let walked = theirs.walked.first().map(|first| first.opening.first);
    Ok(if agree {
        next
    } else {
        walked.unwrap_or(Sequence::FIRST)
    })
}

struct Follower<'a, D: Disk> {
    best: &'a Member<D>,
    to: &'a Member<D>,
    place: Place<'a>,
    changed: u64,
}

impl<D: Disk> Follower<'_, D> {
    /// Files that the right copy has not, or has in another use, hold nothing that counts. They say so before
    /// frames are written elsewhere that take their numbers.
    async fn drop_strangers(
        &mut self,
        found: &Recovered<D::File>,
        targets: &mut BTreeMap<String, Target<D::File>>,
    ) -> io::Result<()> {
        let walked = found.walked.iter().map(|walked| &walked.segment);
        let in_use: Vec<&str> = found
            .sealed
            .iter()
            .chain(walked)
            .map(|one| &*one.name)
            .collect();
        let spare = |name: &str| found.spare.iter().any(|spare| spare.name == name);
        let disk = &self.to.disk;
        let mut gone = Vec::new();
        for (name, target) in targets.iter() {
            if in_use.contains(&name.as_str()) {
                continue;
            }
            if !spare(name) || target.bytes != self.place.identity.segment_bytes {
                disk.remove(name).await?;
                gone.push(name.clone());
            } else if target.header.is_none_or(|header| header.opening.is_some()) {
                self.write_header(&target.file, unused(Life(0), self.place))
                    .await?;
            }
            self.changed += 1;
        }
        if !gone.is_empty() {
            disk.flush_folder(self.place.folder).await?;
        }
        targets.retain(|name, _| !gone.contains(name));
        Ok(())
    }

    async fn write_header(&self, file: &D::File, header: SegmentHeader) -> io::Result<()> {
        let mut block = [0; HEADER_BYTES];
        header.encode(&mut block);
        put(&self.to.disk, file, 0, &block).await
    }

    /// Makes the volume's file of a segment in use like the original.
    async fn bring(
        &mut self,
        original: &Original<D::File>,
        target: Option<&Target<D::File>>,
        from: Sequence,
    ) -> Result<(), Behind> {
        let wanted = original.header(self.place);
        let Some(target) = target else {
            return self.make(original).await;
        };
        let same = target.header == Some(wanted);
        if original.kind == Kind::Sorted || target.bytes != original.bytes {
            // One of them was rewritten. The whole file goes beside and takes the name.
            return if same && !original.reaches(from) {
                Ok(self.to.disk.flush(&target.file).await?)
            } else {
                self.make(original).await
            };
        }
        let is_prepared = target.header == Some(unused(original.life, self.place));
        if same || is_prepared {
            if !same {
                self.changed += 1;
                self.write_header(&target.file, wanted).await?;
            }
            if !same || original.walked_end.is_some() || original.reaches(from) {
                self.copy_frames(original, &target.file).await?;
                self.copy_footer(original, &target.file).await?;
            }
            self.to.disk.flush(&target.file).await?;
            return Ok(());
        }
        self.changed += 1;
        self.write_header(&target.file, unused(Life(0), self.place))
            .await?;
        self.copy_all(original, &target.file).await?;
        self.to.disk.flush(&target.file).await?;
        Ok(self.write_header(&target.file, wanted).await?)
    }

    /// Frame by frame, each durable before the next; those that are the same already are left alone.
    async fn copy_frames(
        &mut self,
        original: &Original<D::File>,
        file: &D::File,
    ) -> Result<(), Behind> {
        let size = original.bytes;
        let mut source = Window::new(&self.best.disk, &original.file, size);
        let mut target = Window::new(&self.to.disk, file, size);
        let mut position = HEADER_BYTES as u64;
        let mut expected = original.opening.first;
        while original.next != Some(expected) && original.walked_end != Some(position) {
            let bytes = original.read(source.frame(position).await)?;
            let frame = Frame::check(bytes).ok().filter(|frame| {
                original.holds(&frame.header, position, self.place)
                    && frame.header.sequence == expected
            });
            let Some(frame) = frame else {
                if let Some(end) = original.walked_end {
                    // What was given up is the same on all.
                    self.changed += 1;
                    return self.copy_range(original, file, position..end).await;
                }
                let file = original.name.clone();
                return Err(Behind::Source { file });
            };
            let length = frame.header.padded_bytes();
            if target.bytes(position, length).await? != &bytes[..length] {
                self.changed += 1;
                put(&self.to.disk, file, position, &bytes[..length]).await?;
            }
            position += length as u64;
            expected = expected.next();
        }
        Ok(())
    }

    /// Index, and when that is durable the footer, which speaks for it; if the original is sealed.
    async fn copy_footer(
        &mut self,
        original: &Original<D::File>,
        file: &D::File,
    ) -> Result<(), Behind> {
        let size = original.bytes;
        let footer = read_footer(&self.best.disk, &original.file, original.life, size).await;
        let Some(footer) = original.read(footer)? else {
            return Ok(());
        };
        let start = size - FOOTER_BYTES as u64 - footer.index_bytes;
        let start = start / BLOCK_BYTES * BLOCK_BYTES;
        let footer_at = size - FOOTER_BYTES as u64;
        self.copy_range(original, file, start..footer_at).await?;
        self.copy_range(original, file, footer_at..size).await
    }

    /// Everything but the header, in pieces; only what differs is written.
    async fn copy_all(
        &mut self,
        original: &Original<D::File>,
        file: &D::File,
    ) -> Result<(), Behind> {
        let all = HEADER_BYTES as u64..original.bytes;
        self.copy_range(original, file, all).await
    }

    async fn copy_range(
        &self,
        original: &Original<D::File>,
        file: &D::File,
        range: Range<u64>,
    ) -> Result<(), Behind> {
        let (best, to) = (&self.best.disk, &self.to.disk);
        let mut position = range.start;
        while position < range.end {
            let bytes = PIECE_BYTES.min(range.end - position) as usize;
            let piece = read_whole(best, &original.file, position, bytes).await;
            let piece = original.read(piece)?;
            let there = to.read(file, position, bytes).await?;
            if there.as_ref().get(..bytes) != Some(&piece.as_ref()[..bytes]) {
                let mut buffer = to.buffer(bytes);
                buffer.as_mut()[..bytes].copy_from_slice(&piece.as_ref()[..bytes]);
                to.write(file, position, to.freeze(buffer, bytes)).await?;
            }
            position += bytes as u64;
        }
        Ok(to.flush(file).await?)
    }

    /// A segment in use that the volume has no file of, or another form.
    async fn make(&mut self, original: &Original<D::File>) -> Result<(), Behind> {
        let file = self.create(&original.name).await?;
        self.copy_all(original, &file).await?;
        self.write_header(&file, original.header(self.place))
            .await?;
        Ok(self.name(&original.name).await?)
    }

    /// A file in reserve.
    async fn make_spare(&mut self, name: &str) -> Result<(), Behind> {
        let file = self.create(name).await?;
        let (disk, size) = (&self.to.disk, self.place.identity.segment_bytes);
        for position in (0..size).step_by(PIECE_BYTES as usize) {
            let bytes = PIECE_BYTES.min(size - position) as usize;
            let mut buffer = disk.buffer(bytes);
            buffer.as_mut()[..bytes].fill(0);
            disk.write(&file, position, disk.freeze(buffer, bytes))
                .await?;
        }
        disk.flush(&file).await?;
        self.write_header(&file, unused(Life(0), self.place))
            .await?;
        Ok(self.name(name).await?)
    }

    /// A new file under a name that means nothing yet.
    async fn create(&mut self, name: &str) -> io::Result<D::File> {
        self.changed += 1;
        let (disk, unfinished) = (&self.to.disk, format!("{name}.new"));
        let entries = disk.list(self.place.folder).await?;
        if entries
            .iter()
            .any(|entry| unfinished.ends_with(entry.as_str()))
        {
            disk.remove(&unfinished).await?;
        }
        disk.create(&unfinished).await
    }

    async fn name(&self, name: &str) -> io::Result<()> {
        let unfinished = format!("{name}.new");
        self.to.disk.rename(&unfinished, name).await?;
        self.to.disk.flush_folder(self.place.folder).await
    }
}
