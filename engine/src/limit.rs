//! Every bound on one page, with the relations between them checked at compile time.
//!
//! Where an operator may change a bound, the constant here is the default or the range.

use std::time::Duration;

/// What direct I/O reads and writes in; every frame starts and ends on such a border.
pub const BLOCK_BYTES: u64 = 4096;

// ---- a message and what is in it ----

/// Largest message a client may send, by default (`server.max_message_bytes`).
pub const MESSAGE_BYTES_DEFAULT: usize = 1 << 20;
/// What an operator may raise the message limit to.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Events in one batch. Raccoon has no limit; a message of 1 MiB rarely holds a tenth of it.
pub const BATCH_EVENTS_MAX: usize = 65_536;
/// Why a request is refused, in an answer.
pub const REASON_BYTES_MAX: usize = 256;
/// Events of a request whose faults an answer tells one by one.
pub const EVENT_FAULTS_MAX: usize = 16;
/// Groups within groups in unknown fields of protobuf, as deep as prost goes.
pub const PROTOBUF_DEPTH_MAX: u32 = 100;
/// Kafka's longest topic name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Topics that may come into being because a client names them (`policy.topics_max`).
pub const CLIENT_TOPICS_DEFAULT: usize = 10_000;
/// Topics one store can hold, whoever made them.
/// The opening frame of a segment names them all, so they must fit one frame.
pub const TOPICS_MAX: usize = 50_000;
/// Deleted topics that a journal remembers because segments may hold something of them.
pub const TOMBSTONES_MAX: usize = 20_000;
/// Rows of the topic table of one run of the program: those of deleted topics are not used again.
pub const TOPIC_ROWS_MAX: usize = 4 * TOPICS_MAX;
/// Rules by pattern (`log.topics`).
pub const TOPIC_RULES_MAX: usize = 256;

// ---- the log ----

/// One Kafka record batch.
pub const RECORD_BATCH_BYTES_MAX: usize = 1_000_000;
/// One event's payload: it must fit a record batch with its framing.
pub const EVENT_BYTES_MAX: usize = RECORD_BATCH_BYTES_MAX - 256;
/// One frame, header and padding included.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;
pub const SEGMENT_BYTES_MIN: u64 = 32 << 20;
pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Rows of accepted losses of a journal, and of topics' offsets in them all together: they must fit an opening
/// frame beside the checkpoint. Of more, neighbours share a row.
pub const LOSSES_MAX: usize = 1_000;
pub const LOST_RANGES_MAX: usize = 20_000;
/// Damaged places of one volume that a start repairs from other copies; more of them are left to a rebuild.
pub const REPAIRS_MAX: usize = 1024;
/// Segments that a start compares with the right copy to bring one volume up to date, beside those that
/// recovery has walked; a volume that is further behind is left to a rebuild.
pub const SEGMENTS_BEHIND_MAX: usize = 4;

/// Segment files that recovery looks at at once.
pub const FILES_AT_ONCE: usize = 64;

// ---- reading the log back, for each journal ----

/// Newest frames in memory, for readers that keep up (`log.tail_bytes`).
pub const TAIL_BYTES_DEFAULT: u64 = 16 << 20;
pub const TAIL_BYTES_MAX: u64 = 4 << 30;
/// What all readers together have on its way from the disk. More of it would not be faster on most disks, and
/// commits would wait behind it.
pub const READ_BYTES_AT_ONCE: usize = 512 << 10;
/// And while frames are committed: a flush waits behind what the disk has taken already. It is one direct read then.
pub const READ_BYTES_BESIDE_COMMITS: usize = 32 << 10;
/// What readers of old records take from the disk in a second while frames are committed, for the whole store
/// (`log.read_bytes_per_second`); with more of it the slowest commits wait markedly longer on a small disk.
pub const READ_RATE_DEFAULT: u64 = 40 << 20;
/// Commits go on when the last frame was given to the disk no longer ago than this.
pub const COMMITS_PAUSE: Duration = Duration::from_millis(20);
/// One direct read, unless a single record batch takes more.
pub const READ_BYTES_MAX: u64 = 128 << 10;
/// What lies between two batches of a topic is read with them when it takes no more.
pub const READ_GAP_BYTES: u64 = 32 << 10;
/// What is read for one reader before it is handed out; for one that goes on where it ended before, also if
/// that is more than it asked for.
pub const READ_AHEAD_BYTES: u64 = 512 << 10;
/// Stretches that were read ahead and not asked for yet.
pub const AHEAD_BYTES_KEPT: usize = 8 << 20;
/// Indexes of sealed segments, and what was found in them for single topics.
pub const INDEX_BYTES_KEPT: usize = 8 << 20;
/// Where topics begin in segments.
pub const START_BYTES_KEPT: usize = 1 << 20;
/// Readers whose last place is remembered, to know one that goes on.
pub const READERS_KNOWN: usize = 256;
/// Record batches that one look into an index gives.
pub const PLACES_AT_ONCE: usize = 256;

// ---- what is forwarded from the log, for each journal ----

/// Bytes of frames under way to Kafka (`spool.in_flight_bytes`).
pub const SPOOL_BYTES_DEFAULT: u64 = 16 << 20;
pub const SPOOL_BYTES_MIN: u64 = 1 << 20;
pub const SPOOL_BYTES_MAX: u64 = 4 << 30;
/// Events of theirs: each costs librdkafka some 256 bytes beside its own.
pub const SPOOL_EVENTS_MAX: u64 = 200_000;
/// Dead letters that wait to become durable.
pub const SPOOL_LETTERS_MAX: usize = 4_096;
/// How long events wait for a topic that Kafka does not know (`spool.topic_wait_ms`).
pub const SPOOL_TOPIC_WAIT_MS_DEFAULT: u64 = 30_000;
/// What one transaction brings to Kafka at most, beside the frame that passes the bound
/// (`spool.transaction_events`, `spool.transaction_bytes`, `spool.transaction_ms`).
pub const SPOOL_TRANSACTION_EVENTS_DEFAULT: u64 = 100_000;
pub const SPOOL_TRANSACTION_EVENTS_MAX: u64 = 1_000_000;
pub const SPOOL_TRANSACTION_BYTES_DEFAULT: u64 = 12 << 20;
pub const SPOOL_TRANSACTION_BYTES_MIN: u64 = 64 << 10;
pub const SPOOL_TRANSACTION_BYTES_MAX: u64 = 1 << 30;
pub const SPOOL_TRANSACTION_MS_DEFAULT: u64 = 100;
pub const SPOOL_TRANSACTION_MS_MAX: u64 = 10_000;
/// A transaction whose newest frame was written so long ago brings a backlog, and may be so old: less than the first, so
/// that none is late because the one before it took its time.
pub const SPOOL_LATE: Duration = Duration::from_secs(2);
pub const SPOOL_LATE_TRANSACTION: Duration = Duration::from_secs(1);
/// Frames that wait for a journal's transactions; their bytes are bounded by `spool.in_flight_bytes`.
pub const SPOOL_PARCELS_MAX: usize = 1_024;
/// Words of a journal's transactions that wait for the shard.
pub const SPOOL_WORDS_MAX: usize = 256;
/// A record that says how far a journal came, as Kafka gives it back.
pub const SPOOL_CURSOR_BYTES_MAX: usize = 1_024;

/// Part of a busy shard's time, in percent, for who comes second of live events and what waits (`spool.share`).
pub const SPOOL_SHARE_DEFAULT: u64 = 25;
pub const SPOOL_SHARE_MAX: u64 = 50;
/// What all forwarders together read from the disk in a second (`spool.read_bytes_per_second`).
pub const SPOOL_READ_RATE_MIN: u64 = 1 << 20;
pub const SPOOL_READ_RATE_DEFAULT: u64 = 256 << 20;
pub const SPOOL_READ_RATE_MAX: u64 = 16 << 30;
/// Dead letters that are read at once to be sent again, and about how many bytes of them.
pub const SPOOL_RETRY_LETTERS: usize = 256;
pub const SPOOL_RETRY_BYTES: usize = 4 << 20;
/// How long one call may send letters again, how long the control core waits for that, and its client for both.
pub const SPOOL_RETRY_TIME: Duration = Duration::from_secs(60);
pub const SPOOL_RETRY_ANSWER_WAIT: Duration = Duration::from_secs(90);
pub const SPOOL_RETRY_CLIENT_WAIT: Duration = Duration::from_secs(120);

// ---- a connection ----

/// One receive buffer; a shard lends them to connections that have bytes to read.
pub const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// Longest header of a WebSocket frame: two bytes, eight of length, four of mask.
pub const FRAME_HEADER_BYTES_MAX: usize = 14;
/// What a receive buffer can grow to: the largest message with its header.
pub const BUFFER_BYTES_MAX: usize = MESSAGE_BYTES_MAX + FRAME_HEADER_BYTES_MAX;
/// Bytes of an unfinished message that are copied out of a lent buffer (and back at the next wake);
/// more of them stay in a buffer of their own.
pub const PARKED_BYTES_MAX: usize = 32 << 10;
/// Answers that may wait for one client to read them before its requests are no longer read.
pub const OUTBOX_BYTES_MAX: usize = 256 << 10;
/// Inflated bytes of WebSocket messages that wait to be taken, for each shard; beyond it they are inflated again.
pub const INFLATED_BYTES_MAX: usize = 32 << 20;
/// Payload of a WebSocket control frame (RFC 6455, 5.5).
pub const CONTROL_FRAME_BYTES_MAX: usize = 125;
/// Head of an HTTP request.
pub const HTTP_HEAD_BYTES_MAX: usize = 32 << 10;
/// What hyper reads at once, and holds of one request.
pub const HTTP_BUFFER_BYTES: usize = 64 << 10;
/// From a connection's opening, or its last answer, to the end of its next request's head.
pub const HTTP_HEAD_WAIT: Duration = Duration::from_secs(30);
/// For the body of a request.
pub const HTTP_BODY_WAIT: Duration = Duration::from_secs(30);
/// A client that takes nothing for this long is gone (Raccoon's `WRITE_WAIT_INTERVAL_MS`).
pub const WRITE_WAIT: Duration = Duration::from_secs(5);
/// Between two pings of a WebSocket, and how long its last pong may be ago.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
pub const PONG_WAIT: Duration = Duration::from_secs(60);
/// What a ping of ours says.
pub const PING_PAYLOAD: &[u8] = b"--ping--";
/// How long the holder of a name has to show that it lives when another connection wants the name.
pub const PROOF_WAIT: Duration = Duration::from_secs(2);
/// Between two looks at what is due, at least.
pub const PULSE: Duration = Duration::from_millis(5);
/// Connections whose deadlines one shard can keep.
pub const LINES_MAX: usize = 1 << 24;
/// How long a closed connection may take to read its last bytes.
pub const LINGER: Duration = Duration::from_secs(1);
/// Before the next try to accept when there were no descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Returned receive buffers that a shard keeps.
pub const POOL_BUFFERS_IDLE_MAX: usize = 64;
/// Connections that wait for room in their shard with a receive buffer in hand; beyond them the
/// buffers are given back and nothing is received.
pub const PAUSED_BUFFERS_MAX: u32 = 64;
/// Bytes of REST bodies and gRPC messages that a shard holds before it has taken them.
pub const BODIES_BYTES_MAX: usize = 128 << 20;
/// Calls of one gRPC connection that may be open at once.
pub const GRPC_STREAMS_MAX: u32 = 128;
/// Requests of one gRPC stream that may wait for their answers.
pub const GRPC_STREAM_CALLS_MAX: usize = 64;
/// Largest gRPC message, by default (`server.grpc.max_message_bytes`): the same as Go's.
pub const GRPC_MESSAGE_BYTES_DEFAULT: usize = 4 << 20;
/// What one gRPC connection may send before it is read.
pub const GRPC_WINDOW_BYTES: u32 = 1 << 20;
/// How long a browser may remember the answer to a CORS preflight, in seconds.
pub const CORS_AGE_SECONDS_MAX: u64 = 600;
/// Origins, methods or headers that CORS may allow.
pub const CORS_NAMES_MAX: usize = 64;
/// Metadata of a gRPC call.
pub const GRPC_HEAD_BYTES_MAX: u32 = 16 << 10;
/// Answers of one gRPC call that wait to be sent.
pub const GRPC_SEND_BYTES_MAX: usize = 64 << 10;
/// A gRPC connection is asked whether it lives after this silence, and how long it may take to say so.
pub const GRPC_ALIVE_AFTER: Duration = Duration::from_secs(30);
pub const GRPC_ALIVE_WAIT: Duration = Duration::from_secs(20);
/// Messages of gRPC's health and reflection services.
pub const REFLECTION_BYTES_MAX: usize = 16 << 10;
/// How often a watcher's state of health is looked at.
pub const HEALTH_LOOK: Duration = Duration::from_millis(500);

// ---- a shard ----

/// Bytes of requests accepted and not yet answered, for each shard (`shard.in_flight_bytes`).
pub const IN_FLIGHT_BYTES_DEFAULT: usize = 64 << 20;
/// Letters in the mailbox between the control core and a shard, each way.
pub const MAILBOX_DEPTH: usize = 1024;
/// Letters in the mailboxes to one shard from all others together, and in a single one of them.
pub const PEER_LETTERS_OF_SHARD: usize = 16_384;
pub const PEER_LETTERS_MIN: usize = 16;
pub const PEER_LETTERS_MAX: usize = 1024;
pub const SHARDS_MAX: usize = 1024;
/// Durable requests that a shard knows again by their guids (`dedupe.batches_max`): some 100 bytes each.
pub const DEDUPE_BATCHES_DEFAULT: u64 = 100_000;
pub const DEDUPE_BATCHES_MAX: u64 = 64_000_000;
/// How long they are known, at most (`dedupe.window_ms`), and when only a connection's own are.
pub const DEDUPE_WINDOW_MS_MAX: u64 = 86_400_000;
pub const DEDUPE_IN_CONNECTION_WINDOW_MS: u64 = 3_600_000;

// ---- what an operator may set, beside the bounds above ----

/// When a frame is closed while another is in flight (`log.frame_bytes`).
pub const FRAME_CLOSE_BYTES_DEFAULT: usize = 512 << 10;
pub const FRAME_CLOSE_BYTES_MIN: usize = 64 << 10;
pub const FRAME_CLOSE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
pub const FRAMES_IN_FLIGHT_DEFAULT: usize = 4;
pub const FRAMES_IN_FLIGHT_MAX: usize = 64;
pub const SEGMENTS_PREPARED_DEFAULT: u32 = 2;
pub const SEGMENTS_PREPARED_MAX: u32 = 64;
/// Longest wait of an idle journal for company (`log.commit_wait_us`).
pub const COMMIT_WAIT_US_MAX: u32 = 1_000_000;
/// Segments that retention leaves to each shard at least: the open one, the one before it, and
/// room to prepare the next.
pub const RETENTION_SEGMENTS_MIN: u64 = 4;
/// Segments that are ready ahead of use take this part of what retention leaves at most, but for one.
pub const RETENTION_PREPARED_PART: u64 = 4;
/// When a segment is rewritten without what is dead in it (`log.repack_below`), in percent alive.
pub const REPACK_BELOW_DEFAULT: u64 = 30;
pub const REPACK_BELOW_MAX: u64 = 90;
/// Bytes in a second of that work (`log.repack_rate`).
pub const REPACK_RATE_MIN: u64 = 1 << 20;
pub const REPACK_RATE_DEFAULT: u64 = 32 << 20;
pub const REPACK_RATE_MAX: u64 = 16 << 30;
pub const MESSAGE_BYTES_MIN: usize = 1 << 10;
pub const IN_FLIGHT_BYTES_MIN: usize = 4 * (MESSAGE_BYTES_MAX + 1);
pub const IN_FLIGHT_BYTES_MAX: usize = 16 << 30;
/// WebSockets of the whole server (`server.websocket.max_conn`).
pub const CONNECTIONS_DEFAULT: u64 = 30_000;
pub const CONNECTIONS_MAX: u64 = 10_000_000;
/// Longest wait for a client that an operator may set.
pub const WAIT_MS_MAX: u64 = 86_400_000;
/// Places that may hold a copy of the store.
pub const VOLUMES_MAX: usize = 16;
pub const DRAIN_GRACE_MS_DEFAULT: u64 = 5_000;
pub const DRAIN_GRACE_MS_MAX: u64 = 600_000;
/// Over how long the farewells to WebSockets are spread, and how often some are sent.
pub const DRAIN_WINDOW: Duration = Duration::from_secs(1);
pub const DRAIN_STEP: Duration = Duration::from_millis(10);

// ---- the control core ----

/// Open files that are asked of the host, and what the program does not start without.
pub const OPEN_FILES_WANTED: u64 = 131_072;
pub const OPEN_FILES_MIN: u64 = 1_024;
/// Topics that are made in one write of the catalogue; their definitions must fit one frame.
pub const TOPICS_AT_ONCE_MAX: usize = 4_096;

/// Values of a label that clients choose, before the rest is counted as `other` (`metric.labels_max`).
pub const LABEL_VALUES_DEFAULT: u64 = 256;
pub const LABEL_VALUES_MAX: u64 = 4_096;
/// One datagram of StatsD lines: what fits an Ethernet frame behind IPv6 and some tunnel.
pub const STATSD_DATAGRAM_BYTES_MAX: usize = 1_432;
pub const STATSD_PERIOD_MS_DEFAULT: u64 = 10_000;
pub const STATSD_PERIOD_MS_MAX: u64 = 3_600_000;
/// Questions to the shards that may be open at once, and how long each may take.
pub const TICKETS_MAX: usize = 256;
pub const TICKET_WAIT_MS: u64 = 5_000;
/// Connections to the admin port that are served at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Records in one answer of the admin port.
pub const ADMIN_RECORDS_DEFAULT: u32 = 100;
pub const ADMIN_RECORDS_MAX: u32 = 10_000;
/// Body of one request to the admin port.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 << 10;

/// A volume that is out of service is tried again after so long, and after up to so many times that.
pub const VOLUME_RETRY_MS: u64 = 5_000;
pub const VOLUME_RETRY_ROUNDS_MAX: u64 = 64;
/// A volume that has not answered for so long while others have is taken out of service.
pub const VOLUME_ANSWER_US_MAX: u64 = 30_000_000;
/// How far a volume may be behind before it is taken out of service, in bytes of one journal.
pub const LAG_BYTES_MIN: u64 = 16 << 20;
pub const LAG_BYTES_MAX: u64 = 4 << 30;
pub const LAG_BYTES_DEFAULT: u64 = 128 << 20;
/// Rates of work in the background, in bytes per second for each journal.
pub const BACKGROUND_RATE_MIN: u64 = 1 << 20;
pub const BACKGROUND_RATE_MAX: u64 = 64 << 30;
pub const REBUILD_RATE_DEFAULT: u64 = 128 << 20;
pub const SCRUB_RATE_DEFAULT: u64 = 8 << 20;

const _: () = {
    assert!(SEGMENT_BYTES_MIN.is_multiple_of(BLOCK_BYTES));
    assert!(FRAME_BYTES_MAX.is_multiple_of(BLOCK_BYTES as usize));
    // A frame always fits an empty segment with room for header and index.
    assert!((FRAME_BYTES_MAX as u64) * 2 <= SEGMENT_BYTES_MIN);
    // The largest request fits one frame, framing included (about 16 bytes for each event).
    assert!(MESSAGE_BYTES_MAX + BATCH_EVENTS_MAX * 32 <= FRAME_BYTES_MAX / 2);
    assert!(RECEIVE_BUFFER_BYTES <= BUFFER_BYTES_MAX);
    assert!(PARKED_BYTES_MAX < RECEIVE_BUFFER_BYTES);
    // What hyper has read when a connection becomes a WebSocket fits a receive buffer.
    assert!(HTTP_HEAD_BYTES_MAX <= HTTP_BUFFER_BYTES && HTTP_BUFFER_BYTES <= RECEIVE_BUFFER_BYTES);
    // Spans into a message are 32 bits wide.
    assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize);
    assert!(GRPC_MESSAGE_BYTES_DEFAULT <= MESSAGE_BYTES_MAX);
    assert!(MESSAGE_BYTES_MAX * 8 <= BODIES_BYTES_MAX);
    assert!(EVENT_BYTES_MAX < RECORD_BATCH_BYTES_MAX);
    assert!(MESSAGE_BYTES_MAX < IN_FLIGHT_BYTES_DEFAULT / 4);
    assert!(MESSAGE_BYTES_MAX < IN_FLIGHT_BYTES_MIN / 4);
    // A segment's opening frame: checkpoint and definition of each topic, the tombstones, and the losses.
    assert!(
        TOPICS_MAX * (TOPIC_NAME_BYTES_MAX + 58)
            + TOMBSTONES_MAX * 24
            + LOSSES_MAX * 32
            + LOST_RANGES_MAX * 40
            + 4096
            <= FRAME_BYTES_MAX
    );
    assert!(TOPICS_AT_ONCE_MAX * (TOPIC_NAME_BYTES_MAX + 64) <= FRAME_BYTES_MAX / 2);
    assert!(FRAME_CLOSE_BYTES_MIN.is_multiple_of(BLOCK_BYTES as usize));
    assert!(READ_BYTES_MAX.is_multiple_of(BLOCK_BYTES) && READ_BYTES_MAX <= READ_AHEAD_BYTES);
    assert!(READ_BYTES_MAX as usize <= READ_BYTES_AT_ONCE);
    assert!(READ_BYTES_BESIDE_COMMITS.is_multiple_of(BLOCK_BYTES as usize));
    assert!(READ_BYTES_BESIDE_COMMITS <= READ_BYTES_AT_ONCE);
};

/// As much of `text` as fits `bytes_max`, cut between characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
