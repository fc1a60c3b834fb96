//! The keys of the log: see `key`.

use super::row::Key;
use super::row::Preset::{Number, Text};
use super::value::Kind;
use crate::limit;

/// What the log is kept on, for how long, and how it is written.
pub(super) static LOG: [Key; 22] = [
    Key {
        name: "log.level",
        variables: &["LOG_LEVEL"],
        kind: Kind::Choice(&["trace", "debug", "info", "warn", "error", "fatal", "panic"]),
        default: Text("info"),
        sentence: "How much the program says on standard error; fatal and panic mean error.",
    },
    Key {
        name: "log.volumes",
        variables: &["RINGTAIL_LOG_VOLUMES"],
        kind: Kind::Folders,
        default: Text("./ringtail-data"),
        sentence: "Folders that each hold a copy of the store, on ext4 or xfs.",
    },
    Key {
        name: "log.durable_volumes",
        variables: &["RINGTAIL_LOG_DURABLE_VOLUMES"],
        kind: Kind::Whole {
            min: 0,
            max: limit::VOLUMES_MAX as u64,
        },
        default: Number(0),
        sentence: "Copies that an acknowledgement waits for; 0 waits for all volumes in service.",
    },
    Key {
        name: "log.min_volumes",
        variables: &["RINGTAIL_LOG_MIN_VOLUMES"],
        kind: Kind::Whole {
            min: 0,
            max: limit::VOLUMES_MAX as u64,
        },
        default: Number(0),
        sentence: "With fewer volumes in service new events are refused; 0 means more than half of them, and one of two.",
    },
    Key {
        name: "log.lag_bytes",
        variables: &["RINGTAIL_LOG_LAG_BYTES"],
        kind: Kind::Size {
            min: limit::LAG_BYTES_MIN,
            max: limit::LAG_BYTES_MAX,
            step: 1,
        },
        default: Number(limit::LAG_BYTES_DEFAULT),
        sentence: "A volume that is this far behind the others is taken out of service; it counts for each journal.",
    },
    Key {
        name: "log.rebuild_bytes_per_second",
        variables: &["RINGTAIL_LOG_REBUILD_BYTES_PER_SECOND"],
        kind: Kind::Size {
            min: limit::BACKGROUND_RATE_MIN,
            max: limit::BACKGROUND_RATE_MAX,
            step: 1,
        },
        default: Number(limit::REBUILD_RATE_DEFAULT),
        sentence: "How fast each journal is copied to a volume that comes back or was damaged.",
    },
    Key {
        name: "log.read_bytes_per_second",
        variables: &["RINGTAIL_LOG_READ_BYTES_PER_SECOND"],
        kind: Kind::Size {
            min: limit::BACKGROUND_RATE_MIN,
            max: limit::BACKGROUND_RATE_MAX,
            step: 1,
        },
        default: Number(limit::READ_RATE_DEFAULT),
        sentence: "What readers of old records may take from the disk each second while events are written, in all; twice what is written where that is more.",
    },
    Key {
        name: "log.scrub_bytes_per_second",
        variables: &["RINGTAIL_LOG_SCRUB_BYTES_PER_SECOND"],
        kind: Kind::Size {
            min: 0,
            max: limit::BACKGROUND_RATE_MAX,
            step: 1,
        },
        default: Number(limit::SCRUB_RATE_DEFAULT),
        sentence: "How fast each journal's older log files are read again and checked; 0 never does.",
    },
    Key {
        name: "log.segment_bytes",
        variables: &["RINGTAIL_LOG_SEGMENT_BYTES"],
        kind: Kind::Size {
            min: limit::SEGMENT_BYTES_MIN,
            max: limit::SEGMENT_BYTES_MAX,
            step: limit::BLOCK_BYTES,
        },
        default: Number(limit::SEGMENT_BYTES_DEFAULT),
        sentence: "Size of one log file.",
    },
    Key {
        name: "log.segments_prepared",
        variables: &["RINGTAIL_LOG_SEGMENTS_PREPARED"],
        kind: Kind::Whole {
            min: 1,
            max: limit::SEGMENTS_PREPARED_MAX as u64,
        },
        default: Number(limit::SEGMENTS_PREPARED_DEFAULT as u64),
        sentence: "Log files that each journal keeps zero-filled ahead of use.",
    },
    Key {
        name: "log.retention_bytes",
        variables: &["RINGTAIL_LOG_RETENTION_BYTES"],
        kind: Kind::SizeOrNone {
            min: limit::RETENTION_SEGMENTS_MIN * limit::SEGMENT_BYTES_MIN,
        },
        default: Text("none"),
        sentence: "What the whole store may take, prepared files included, before its oldest log files are used again; none keeps everything.",
    },
    Key {
        name: "log.retention_age",
        variables: &["RINGTAIL_LOG_RETENTION_AGE"],
        kind: Kind::AgeOrNone,
        default: Text("none"),
        sentence: "How long records stay, counted from their receipt, such as 7d; none keeps them whatever their age.",
    },
    Key {
        name: "log.topics",
        variables: &["RINGTAIL_LOG_TOPICS"],
        kind: Kind::TopicRules,
        default: Text(""),
        sentence: "Bounds by topic, such as { pattern = \"click-*\", retention_age = \"7d\", retention_bytes = \"1GiB\" }; the first pattern that fits counts, and what it leaves out is the store's.",
    },
    Key {
        name: "log.repack_below",
        variables: &["RINGTAIL_LOG_REPACK_BELOW"],
        kind: Kind::Whole {
            min: 0,
            max: limit::REPACK_BELOW_MAX,
        },
        default: Number(limit::REPACK_BELOW_DEFAULT),
        sentence: "A full log file is rewritten without what is dead when less than this percentage of it is alive; 0 for never.",
    },
    Key {
        name: "log.repack_rate",
        variables: &["RINGTAIL_LOG_REPACK_RATE"],
        kind: Kind::Size {
            min: limit::REPACK_RATE_MIN,
            max: limit::REPACK_RATE_MAX,
            step: 1,
        },
        default: Number(limit::REPACK_RATE_DEFAULT),
        sentence: "Bytes in a second that all shards together read and write, at most, to rewrite log files.",
    },
    Key {
        name: "log.origin",
        variables: &["RINGTAIL_LOG_ORIGIN"],
        kind: Kind::Choice(&["full", "group", "none"]),
        default: Text("full"),
        sentence: "What is kept of each request beside its events: full, group (no connection ids) or none.",
    },
    Key {
        name: "log.commit_wait_us",
        variables: &["RINGTAIL_LOG_COMMIT_WAIT_US"],
        kind: Kind::Whole {
            min: 0,
            max: limit::COMMIT_WAIT_US_MAX as u64,
        },
        default: Number(0),
        sentence: "Microseconds that an idle journal waits for company before it commits: latency for less wear.",
    },
    Key {
        name: "log.frame_bytes",
        variables: &["RINGTAIL_LOG_FRAME_BYTES"],
        kind: Kind::Size {
            min: limit::FRAME_CLOSE_BYTES_MIN as u64,
            max: limit::FRAME_CLOSE_BYTES_MAX as u64,
            step: limit::BLOCK_BYTES,
        },
        default: Number(limit::FRAME_CLOSE_BYTES_DEFAULT as u64),
        sentence: "A commit of this size is closed as soon as another may be in flight.",
    },
    Key {
        name: "log.frames_in_flight",
        variables: &["RINGTAIL_LOG_FRAMES_IN_FLIGHT"],
        kind: Kind::Whole {
            min: 1,
            max: limit::FRAMES_IN_FLIGHT_MAX as u64,
        },
        default: Number(limit::FRAMES_IN_FLIGHT_DEFAULT as u64),
        sentence: "Commits that one journal has on their way to the disk at once.",
    },
    Key {
        name: "log.flush",
        variables: &["RINGTAIL_LOG_FLUSH"],
        kind: Kind::Choice(&["write-through", "data-sync", "never"]),
        default: Text("write-through"),
        sentence: "How a commit becomes durable; never is for measuring and loses acknowledged events with the power.",
    },
    Key {
        name: "log.tail_bytes",
        variables: &["RINGTAIL_LOG_TAIL_BYTES"],
        kind: Kind::Size {
            min: 0,
            max: limit::TAIL_BYTES_MAX,
            step: limit::BLOCK_BYTES,
        },
        default: Number(limit::TAIL_BYTES_DEFAULT),
        sentence: "Newest commits that each journal keeps in memory while readers keep up with it; 0 keeps none.",
    },
    Key {
        name: "log.allow_any_filesystem",
        variables: &["RINGTAIL_LOG_ALLOW_ANY_FILESYSTEM"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Use a volume that is neither on ext4 nor on xfs.",
    },
];
