//! One volume of a store: whose it is, what its journals hold, and how much of it may be shown.

use super::super::disk::Disk as _;
use super::super::format::loss::Losses;
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, SegmentHeader};
use super::super::format::superblock::Superblock;
use super::super::journal::Extent;
use super::super::recover::{self, Identity, RecoverError, segment_number};
use super::super::store::{self, CATALOGUE, CATALOGUE_JOURNAL, CATALOGUE_SEGMENT_BYTES, LOCK};
use super::super::walk::Window;
use super::Error;
use super::chain::{Chain, Segment, Visitor};
use super::plain::{PlainDisk, View, block_on};
use crate::unit::{JournalId, Life, Sequence, TopicId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A running store may move on while it is looked at; it is looked at again this often.
const ATTEMPTS: usize = 64;
/// What the same words refuse this often in a row is no sight of a writer at work.
const REFUSALS: usize = 4;

pub(super) struct Volume {
    pub(super) path: PathBuf,
    pub(super) superblock: Superblock,
    /// Another process holds the lock.
    running: bool,
    disk: PlainDisk,
}

/// Where a journal that is being written to ends for its readers: before this frame.
struct Cut {
    sequence: Sequence,
    file: String,
    position: u64,
}

/// What recovery found in a journal.
pub(super) struct Contents {
    pub(super) chain: Chain,
    pub(super) extents: HashMap<TopicId, Extent>,
    pub(super) names: HashMap<TopicId, String>,
    /// Topics that were deleted.
    pub(super) deleted: BTreeSet<TopicId>,
    /// Why the engine would not start on it.
    pub(super) refused: Option<RecoverError>,
}

impl Volume {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let folder = std::fs::metadata(path).and_then(|data| {
            if data.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        });
        folder.map_err(|source| Error::Volume {
            path: path.into(),
            source,
        })?;
        let disk = PlainDisk::read_only(path);
        let superblock = block_on(store::read_superblock(&disk));
        let superblock = superblock.map_err(|source| Error::Store {
            path: path.into(),
            source,
        })?;
        let superblock = superblock.ok_or_else(|| Error::NotAStore { path: path.into() })?;
        Ok(Self {
            path: path.into(),
            superblock,
            running: is_running(path),
            disk,
        })
    }

    /// A volume that the caller has locked.
    pub(super) fn stopped(path: &Path) -> Result<Self, Error> {
        let volume = Self::open(path)?;
        Ok(Self {
            running: false,
            ..volume
        })
    }

    /// The first of `volumes`: all hold the same.
    pub(super) fn first(volumes: &[PathBuf]) -> Result<Self, Error> {
        Self::open(volumes.first().ok_or(Error::NoVolume)?)
    }

    /// The journals that `partition` chooses.
    pub(super) fn journals(&self, partition: Option<u32>) -> Result<Vec<JournalId>, Error> {
        let count = self.superblock.journals;
        match partition {
            Some(wanted) if count <= wanted => Err(Error::NoPartition {
                wanted,
                last: count.saturating_sub(1),
            }),
            Some(wanted) => Ok(vec![JournalId(wanted)]),
            None => Ok((0..count).map(JournalId).collect()),
        }
    }

    pub(super) fn journal(&self, journal: JournalId) -> Result<Contents, Error> {
        let identity = Identity {
            store: self.superblock.store,
            journal,
            segment_bytes: self.superblock.segment_bytes,
        };
        self.contents(&store::journal_folder(journal), identity)
    }

    pub(super) fn catalogue(&self) -> Result<Contents, Error> {
        let identity = Identity {
            store: self.superblock.store,
            journal: CATALOGUE_JOURNAL,
            segment_bytes: self.catalogue_segment_bytes(),
        };
        self.contents(CATALOGUE, identity)
    }

    /// The size of the catalogue's segments: as the first one says whose file has it, else as the program makes them.
    fn catalogue_segment_bytes(&self) -> u64 {
        let names = block_on(self.disk.list(CATALOGUE)).unwrap_or_default();
        let mut names = names.iter().filter(|name| segment_number(name).is_some());
        let said = names.find_map(|name| {
            let file = block_on(self.disk.open(&format!("{CATALOGUE}/{name}"))).ok()?;
            let block = block_on(self.disk.read(&file, 0, HEADER_BYTES)).ok()?;
            let said = SegmentHeader::decode(&block).ok()?.segment_bytes;
            (block_on(self.disk.size(&file)).ok()? == said).then_some(said)
        });
        said.unwrap_or(CATALOGUE_SEGMENT_BYTES)
    }

    pub(super) fn refused(&self, source: RecoverError) -> Error {
        Error::Recover {
            path: self.path.clone(),
            source,
        }
    }

    fn contents(&self, folder: &str, identity: Identity) -> Result<Contents, Error> {
        let (mut latest, mut refusal, mut times) = (None, String::new(), 0);
        for _ in 0..ATTEMPTS {
            latest = self.contents_once(folder, identity)?;
            let Some(seen) = &latest else { continue };
            let Some(refused) = seen.refused.as_ref().filter(|_| self.running) else {
                break;
            };
            let said = refused.to_string();
            times = if said == refusal { times + 1 } else { 1 };
            if times == REFUSALS {
                break;
            }
            refusal = said;
        }
        latest.ok_or_else(|| Error::Busy {
            path: self.path.join(folder),
        })
    }

    /// `None` when the store was written to meanwhile and what was read does not fit together.
    fn contents_once(&self, folder: &str, identity: Identity) -> Result<Option<Contents>, Error> {
        let mut segments = self.in_use(folder, identity)?;
        if !self.running {
            return Ok(Some(self.recover(segments, folder, identity, None)));
        }
        // Headers are read one after the other. Two readings that agree are as good as one at a moment
        // between them; a segment that is taken into use from then on is not seen.
        let uses = |segments: &[Segment]| -> Vec<Life> {
            segments.iter().map(|segment| segment.life).collect()
        };
        if uses(&self.in_use(folder, identity)?) != uses(&segments) {
            return Ok(None);
        }
        let contents = self.recover(segments.clone(), folder, identity, None);
        let cut = match &contents.refused {
            None => contents.first_unproven()?,
            Some(refused) => contents.written_since(refused)?,
        };
        let Some(cut) = cut else {
            return Ok(Some(contents));
        };
        let end = Some(cut.sequence);
        segments.retain(|segment| segment.opening.first < cut.sequence);
        let contents = self.recover(segments, folder, identity, Some(cut));
        // Recovery reads the headers again: a file may have come to stand elsewhere in the chain.
        Ok((contents.chain.end == end).then_some(contents))
    }

    fn recover(
        &self,
        segments: Vec<Segment>,
        folder: &str,
        identity: Identity,
        cut: Option<Cut>,
    ) -> Contents {
        let files = segments.iter().map(|segment| segment.name.clone());
        let disk = if self.running {
            self.disk.through(View {
                folder: folder.to_owned(),
                files: files.collect(),
                cut: cut.map(|cut| (cut.file, cut.position)),
            })
        } else {
            self.disk.clone()
        };
        let recovered = block_on(recover::recover(&disk, folder, identity));
        let mut contents = Contents {
            chain: Chain {
                volume: self.path.clone(),
                disk,
                identity,
                segments,
                end: None,
                losses: Losses::default(),
                running: self.running,
            },
            extents: HashMap::new(),
            names: HashMap::new(),
            deleted: BTreeSet::new(),
            refused: None,
        };
        match recovered {
            Ok(recovered) => {
                let end = recovered.last.map_or(Sequence::FIRST, Sequence::next);
                contents.chain.end = Some(end);
                contents.chain.losses = recovered.losses;
                contents.extents = recovered.extents;
                contents.names = recovered.names;
                contents.deleted = recovered.deleted.into_keys().collect();
            }
            Err(error) => contents.refused = Some(error),
        }
        contents
    }

    /// The segments of `folder` whose header is good and says that they are in use, by first sequence.
    fn in_use(&self, folder: &str, identity: Identity) -> Result<Vec<Segment>, Error> {
        let failed = |path: &str, source| Error::Read {
            path: self.path.join(path),
            source,
        };
        let names = block_on(self.disk.list(folder)).map_err(|error| failed(folder, error))?;
        let mut segments = Vec::new();
        for name in names {
            if segment_number(&name).is_none() {
                continue;
            }
            let name = format!("{folder}/{name}");
            let file = block_on(self.disk.open(&name)).map_err(|error| failed(&name, error))?;
            let block = block_on(self.disk.read(&file, 0, HEADER_BYTES));
            let block = block.map_err(|error| failed(&name, error))?;
            if let Ok(header) = SegmentHeader::decode(&block)
                && header.store == identity.store
                && header.journal == identity.journal
                && let Some(opening) = header.opening
            {
                segments.push(Segment {
                    name,
                    file: Rc::new(file),
                    life: header.life,
                    opening,
                    kind: header.kind,
                    bytes: header.segment_bytes,
                });
            }
        }
        segments.sort_by_key(|segment| segment.opening.first);
        Ok(segments)
    }
}

impl Contents {
    /// The place of the first frame that no later frame proves to be durable.
    fn first_unproven(&self) -> Result<Option<Cut>, Error> {
        for from in (0..self.chain.segments.len()).rev() {
            let mut tail = Tail::default();
            self.chain.walk(from, &mut tail)?;
            let end = tail.last.map_or(Sequence::FIRST, Sequence::next);
            let whole = Some(end) == self.chain.end && !tail.damaged;
            let reaches = tail
                .first
                .zip(tail.unproven.front())
                .is_some_and(|(first, unproven)| first < unproven.sequence);
            if whole && (reaches || from == 0) {
                return Ok(tail.unproven.pop_front());
            }
        }
        Ok(None)
    }

    /// What recovery took for a damaged frame, if it is whole by now: then the writer was at work between two
    /// looks, and everything before this frame had been durable.
    fn written_since(&self, refused: &RecoverError) -> Result<Option<Cut>, Error> {
        let RecoverError::Damaged {
            file,
            position,
            sequence,
            ..
        } = refused
        else {
            return Ok(None);
        };
        let chain = &self.chain;
        let Some(segment) = chain.segments.iter().find(|segment| segment.name == *file) else {
            return Ok(None);
        };
        let mut window = Window::new(&chain.disk, &segment.file, segment.bytes);
        let bytes = block_on(window.frame(*position));
        let bytes = bytes.map_err(|error| chain.read_error(file, error))?;
        let Ok(frame) = Frame::check(bytes) else {
            return Ok(None);
        };
        let header = frame.header;
        let whole = header.life == segment.life && header.sequence.get() == *sequence;
        Ok(whole.then(|| Cut {
            sequence: header.sequence,
            file: file.clone(),
            position: *position,
        }))
    }
}

/// Remembers where the frames lie that are not yet proven to be durable.
#[derive(Default)]
struct Tail {
    first: Option<Sequence>,
    last: Option<Sequence>,
    damaged: bool,
    unproven: VecDeque<Cut>,
}

impl Visitor for Tail {
    fn frame(
        &mut self,
        segment: &Segment,
        position: u64,
        frame: &Frame<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let header = &frame.header;
        self.first = self.first.or(Some(header.sequence));
        self.last = Some(header.sequence);
        self.unproven.push_back(Cut {
            sequence: header.sequence,
            file: segment.name.clone(),
            position,
        });
        while self
            .unproven
            .front()
            .is_some_and(|cut| Some(cut.sequence) <= header.durable_upto)
        {
            self.unproven.pop_front();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn damage(&mut self, _: &Segment, _: u64, _: String) -> Result<(), Error> {
        self.damaged = true;
        Ok(())
    }
}

/// Whether a process holds the volume's lock. Asks for a shared lock and gives it back at once, so nobody is
/// kept out for longer than a moment.
fn is_running(volume: &Path) -> bool {
    let Ok(file) = File::open(volume.join(LOCK)) else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// A topic as it is printed when no catalogue names it.
pub(super) fn id_text(topic: TopicId) -> String {
    format!("{:032x}", topic.0)
}
