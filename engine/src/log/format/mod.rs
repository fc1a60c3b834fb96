//! The on-disk format, drawn once, here. Little-endian throughout; Kafka's record batches keep
//! their own big-endian.
//!
//! ```text
//! volume/
//!   lock                      held exclusively by the one process that writes
//!   superblock                two copies of one block
//!   catalogue/ 00000000.seg   the catalogue of topics: a journal whose frames hold definitions
//!   journal-0/ 00000000.seg   journal 0: segments, numbered by file, not by age
//!              00000001.seg   (a header's `life` and `first sequence` say which use it is)
//!
//! segment:  | header 4096 | frame | frame | … | unused | index | footer 4096 |
//! frame:    | header 512: fields 128, directory 24 × 16 | section | section | … | pad to 4096 |
//! ```
//!
//! | frame header | bytes | |
//! |---|---|---|
//! | 0   | 8  | magic `RTLFRAME` |
//! | 8   | 8  | CRC-64 of bytes 16..512: the frame's *chain value* |
//! | 16  | 16 | store |
//! | 32  | 4  | journal |
//! | 36  | 2  | version |
//! | 38  | 2  | sections in the directory |
//! | 40  | 8  | epoch |
//! | 48  | 8  | life |
//! | 56  | 8  | position in the segment |
//! | 64  | 8  | sequence |
//! | 72  | 8  | `durable_upto`: the writer's contiguous durable mark when the frame was built, 0 for none |
//! | 80  | 8  | chain: the chain value of the frame before |
//! | 88  | 8  | time, µs since 1970 |
//! | 96  | 4  | length of header and sections, without the padding |
//! | 100 | 4  | zero |
//! | 104 | 24 | feature bits: compatible, read-only-compatible, incompatible |
//! | 128 | 16 × 24 | directory: kind `u16`, flags `u16`, length `u32`, CRC-64 `u64` |
//!
//! Sections follow in the order of the directory, each starting at a multiple of 8. The header's
//! checksum covers the directory, which holds the checksum of every section but one: `payload`, the
//! record batches, which `batches` (the table) covers batch by batch. So the chain holds everything
//! in place, and a payload can be moved later without breaking it.

//!
//! A *sorted* segment takes the place of one of which little was alive. It has the same file name,
//! first sequence, chain-in, last sequence and chain-out, a life of its own, and a file that is as long
//! as its header says. Its frames are chained among themselves from the chain-in on; each carries the
//! last sequence of the range, and no `durable_upto`:
//!
//! ```text
//! | header | checkpoint as the old one opened, topics of which batches follow
//!          | checkpoint after the last sequence, tombstones, the last section of each other kind
//!          | payload, batches, origins: what was alive, by topic and offset | … | index | footer |
//! ```

pub mod batch;
pub mod checksum;
pub mod cursor;
pub mod footer;
pub mod forwarded;
pub mod frame;
pub mod loss;
pub mod origin;
pub mod section;
pub mod segment;
pub mod superblock;

/// Version of every structure of this format.
pub const VERSION: u16 = 1;

/// A store's name for ever: random, drawn when its first volume is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub u128);

/// What a reader must know to read, and a writer to write. No bit is in use yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// A program that does not know these may read and write.
    pub compatible: u64,
    /// A program that does not know these may read.
    pub read_only_compatible: u64,
    /// A program that does not know these must stop.
    pub incompatible: u64,
}

impl Features {
    /// The bits that this program knows, of each kind.
    pub const KNOWN: Self = Self {
        compatible: 0,
        read_only_compatible: 0,
        incompatible: 0,
    };
    pub const BYTES: usize = 24;

    pub(crate) fn write(self, out: &mut cursor::Writer<'_>) {
        out.u64(self.compatible);
        out.u64(self.read_only_compatible);
        out.u64(self.incompatible);
    }

    pub(crate) fn read(from: &mut cursor::Reader<'_>) -> Option<Self> {
        Some(Self {
            compatible: from.u64()?,
            read_only_compatible: from.u64()?,
            incompatible: from.u64()?,
        })
    }

    /// Refuses a structure that needs what this program does not know; names the bits.
    pub fn check(self) -> Result<(), Defect> {
        match self.incompatible & !Self::KNOWN.incompatible {
            0 => Ok(()),
            bits => Err(Defect::UnknownFeature { bits }),
        }
    }
}

/// Why bytes from a disk are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Not such a structure at all: unused space, or something else's bytes.
    #[error("no {0} here")]
    Absent(&'static str),
    #[error("the {0} does not match its checksum")]
    Checksum(&'static str),
    /// The checksum is right, the content is not: written by a broken program.
    #[error("the {0} is malformed")]
    Malformed(&'static str),
    #[error("format version {0} is not known to this program")]
    Version(u16),
    /// A part of it that has a form of its own; 0 for one from before its forms were numbered.
    #[error("its {what} has the form {form}, which this program does not know")]
    Form { what: &'static str, form: u16 },
    #[error("it uses the incompatible features {bits:#x}, which this program does not know")]
    UnknownFeature { bits: u64 },
    /// A good structure that belongs elsewhere: another store, journal, life or place.
    #[error("the {0} belongs to another place")]
    Misplaced(&'static str),
}

impl Defect {
    /// Whether it is no damage: another program can read it.
    pub fn is_unknown(self) -> bool {
        matches!(
            self,
            Self::Version(_) | Self::Form { .. } | Self::UnknownFeature { .. }
        )
    }
}
