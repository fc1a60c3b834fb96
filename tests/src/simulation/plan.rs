//! What one run is to be: everything that is drawn once from its seed.

use ringtail::log::format::StoreId;
use ringtail::log::journal::{Keeping, Settings};
use ringtail::log::mirror::Rules;
use ringtail::log::retention::{self, Bound, Rule, Wildcard};
use ringtail::log::simulated::{Behaviour, Random};
use ringtail::log::{Copies, Flush, Origin};
use ringtail::unit::JournalId;

/// Operations that every run does at least, and crashes that it survives.
pub const OPERATIONS_MIN: u64 = 500;
pub const CRASHES_MIN: u64 = 2;

/// The store of one run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Volumes that hold the store.
    pub volumes: usize,
    /// 0 for all; never 1, so that no acknowledged event is on the volume alone that is harmed.
    pub durable_volumes: u32,
    pub volumes_min: u32,
    pub journals: u32,
    pub segment_bytes: u64,
    pub catalogue_bytes: u64,
    pub prepared: usize,
    pub retention_bytes: Option<u64>,
    /// The age at which records go, in milliseconds; `None` for those of any age.
    pub age_ms: Option<u64>,
    /// As `age_ms`, and the bytes that are kept, of some topics by their names.
    pub topic_age_ms: Option<u64>,
    pub topic_bytes: Option<u64>,
    /// As the log's setting: segments of which less is alive are rewritten, in percent; 0 for never.
    pub repack_below: u32,
    pub origin: Origin,
    pub commit_wait_us: u64,
    pub frame_bytes: usize,
    pub frames_in_flight: usize,
    pub flush: Flush,
    /// Operations of the disk take fewer polls than this.
    pub polls_max: u64,
    /// As the disk's: one in so many operations takes so many polls more; 0 for never.
    pub stalls: u64,
    pub stall_polls: u64,
    /// Events are mostly shorter than this.
    pub event_bytes: u64,
}

/// The largest frame of a journal.
pub const FRAME_BYTES_MAX: usize = 32 << 10;

impl Plan {
    pub fn draw(random: &mut Random) -> Self {
        let segment_bytes = [96 << 10, 128 << 10, 192 << 10][random.below(3) as usize];
        let keeps = 5 + random.below(6);
        let volumes = [1, 1, 1, 1, 2, 3][random.below(6) as usize];
        Self {
            volumes,
            durable_volumes: if random.one_in(2) {
                0
            } else {
                volumes as u32 / 2 + 1
            },
            volumes_min: Copies::more_than_half(volumes as u32),
            journals: 1 + u32::from(random.one_in(3)),
            segment_bytes,
            catalogue_bytes: 64 << 10,
            prepared: 1 + random.below(2) as usize,
            retention_bytes: (!random.one_in(3)).then_some(keeps * segment_bytes),
            age_ms: random.one_in(4).then(|| 60_000 + random.below(300_000)),
            topic_age_ms: random.one_in(2).then(|| 20_000 + random.below(200_000)),
            topic_bytes: random.one_in(2).then(|| 2_000 + random.below(30_000)),
            repack_below: [0, 50, 90][random.below(3) as usize],
            origin: [Origin::Full, Origin::Group, Origin::None][random.below(3) as usize],
            commit_wait_us: if random.one_in(4) { 60 } else { 0 },
            frame_bytes: 4096 << random.below(3),
            frames_in_flight: 1 + random.below(5) as usize,
            flush: if random.one_in(2) {
                Flush::WriteThrough
            } else {
                Flush::DataSync
            },
            polls_max: [2, 6, 6, 20][random.below(4) as usize],
            stalls: random.below(2) * (40 + random.below(240)),
            stall_polls: 100 + random.below(1_200),
            event_bytes: [60, 60, 300, 3000][random.below(4) as usize],
        }
    }

    /// What an operator may change between two starts.
    pub fn edit(&mut self, random: &mut Random) {
        if !random.one_in(3) {
            return;
        }
        let keeps = 5 + random.below(6);
        self.retention_bytes = self.retention_bytes.map(|_| keeps * self.segment_bytes);
        self.prepared = 1 + random.below(2) as usize;
        if 1 < self.volumes {
            self.durable_volumes = 2 * random.below(2) as u32;
        }
        self.frames_in_flight = 1 + random.below(5) as usize;
        self.frame_bytes = 4096 << random.below(3);
        self.flush = if random.one_in(2) {
            Flush::WriteThrough
        } else {
            Flush::DataSync
        };
    }

    /// What an operator may change when all volumes are there and sound.
    pub fn edit_rules(&mut self, random: &mut Random) {
        let volumes = self.volumes as u64;
        self.volumes_min = 1 + random.below(volumes) as u32;
        self.durable_volumes = match random.below(volumes) as u32 {
            0 => 0,
            more => 1 + more,
        };
    }

    /// Disks without faults, as fast as they are.
    pub fn calm(&self) -> Behaviour {
        Behaviour {
            polls_max: self.polls_max,
            stalls: self.stalls,
            stall_polls: self.stall_polls,
            ..Behaviour::default()
        }
    }

    pub fn rules(&self) -> Rules {
        Rules {
            volumes_min: self.volumes_min,
            durable_volumes: self.durable_volumes,
            lag_bytes_max: 4 * self.segment_bytes,
        }
    }

    /// How long records stay: some topics, by the end of their names, have rules of their own.
    pub fn keep(&self) -> retention::Rules {
        let bound = |bound: Option<u64>| bound.map_or(Bound::Store, Bound::At);
        let rule = |pattern: &str, age_ms, bytes| Rule {
            pattern: Wildcard::parse(pattern).expect("letters of a topic's name"),
            age_ms,
            bytes,
        };
        let topics = [
            rule("*-0", Bound::None, Bound::None),
            rule("*1", Bound::None, bound(self.topic_bytes)),
            rule("*2", bound(self.topic_age_ms), Bound::Store),
            rule("*3", bound(self.topic_age_ms), bound(self.topic_bytes)),
        ];
        retention::Rules {
            age_ms: self.age_ms,
            topics: topics.into(),
        }
    }

    pub fn settings(&self, store: StoreId, journal: JournalId) -> Settings {
        Settings {
            store,
            journal,
            segment_bytes: self.segment_bytes,
            prepared: self.prepared,
            retention_bytes: self.retention_bytes,
            keeping: Keeping {
                rules: self.keep(),
                repack_below: self.repack_below,
                spool: None,
            },
            origin: self.origin,
            commit_wait_us: self.commit_wait_us,
            frame_bytes: self.frame_bytes,
            frame_bytes_max: FRAME_BYTES_MAX,
            frames_in_flight: self.frames_in_flight,
            flush: self.flush,
            tail_bytes: 0,
        }
    }
}
