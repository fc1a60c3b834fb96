//! Reading: one topic from its start to its end, and what readers cost those who write.

use crate::bed::{Bed, latencies};
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use ringtail::log::journal::ReadError;
use ringtail::rt::timer::Interval;
use ringtail::unit::{Offset, TopicIndex};
use std::cell::Cell;
use std::time::Duration;

const PAGE_RECORDS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;

pub(crate) struct Phases {
    pub(crate) readers: u32,
    pub(crate) pairs: u32,
    pub(crate) clients: u32,
    pub(crate) pause_us: u64,
    pub(crate) seconds: f64,
}

/// Bytes that this process has had read from disks.
fn disk_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

pub(crate) async fn consume(bed: &Bed, fill: u64) -> Result<(), ReadError> {
    bed.write_while(|done| done.log_bytes < fill).await;
    let (start, read_before) = (bed.now(), disk_bytes());
    let end = bed.journal.extent(TopicIndex(0)).next;
    let (mut next, mut bytes) = (Offset(0), 0);
    while next < end {
        let page = bed
            .journal
            .read(TopicIndex(0), next, PAGE_RECORDS, PAGE_BYTES);
        let page = page.await?;
        next.0 += page.len() as u64;
        bytes += page
            .iter()
            .map(|record| record.value.len() as u64)
            .sum::<u64>();
    }
    let seconds = bed.now().since(start) as f64 / 1e6;
    println!("seconds {seconds:.3}");
    println!("events {}", next.0);
    println!("events_per_second {:.0}", next.0 as f64 / seconds);
    println!("payload_per_second {:.0}", bytes as f64 / seconds);
    let read = (disk_bytes() - read_before) as f64;
    println!("disk_bytes_per_event {:.0}", read / next.0 as f64);
    Ok(())
}

/// The percentiles of one phase, in microseconds, and what was read meanwhile.
struct Outcome {
    p50: u64,
    p99: u64,
    commits: u64,
    read_bytes: u64,
}

pub(crate) async fn beside_readers(bed: &Bed, fill: u64, phases: &Phases) -> Result<(), ReadError> {
    bed.write_while(|done| done.log_bytes < fill).await;
    let old: Vec<Offset> = (0..bed.shape.topics)
        .map(|topic| bed.journal.extent(TopicIndex(topic)).next)
        .collect();
    phase(bed, phases, 0, &old).await?;
    for pair in 0..phases.pairs {
        // Who goes first changes, so that a drift of the disk counts for neither.
        let (alone, beside) = if pair % 2 == 0 {
            let alone = phase(bed, phases, 0, &old).await?;
            (alone, phase(bed, phases, phases.readers, &old).await?)
        } else {
            let beside = phase(bed, phases, phases.readers, &old).await?;
            (phase(bed, phases, 0, &old).await?, beside)
        };
        println!(
            "pair {pair} alone_p50_us {} alone_p99_us {} beside_p50_us {} beside_p99_us {} ratio {:.3} \
             alone_requests {} beside_requests {} read_per_second {:.0}",
            alone.p50,
            alone.p99,
            beside.p50,
            beside.p99,
            beside.p99 as f64 / alone.p99.max(1) as f64,
            alone.commits,
            beside.commits,
            beside.read_bytes as f64 / phases.seconds,
        );
    }
    Ok(())
}

/// Clients that write, beside so many readers, for a time.
async fn phase(
    bed: &Bed,
    phases: &Phases,
    readers: u32,
    old: &[Offset],
) -> Result<Outcome, ReadError> {
    let until = bed.now().0 + (phases.seconds * 1e6) as u64;
    let over = || until <= bed.now().0;
    let read_bytes = Cell::new(0);
    let reads = (0..readers).map(|number| {
        let topic = number % bed.shape.topics;
        // Each begins at another place of what is old.
        let end = old[topic as usize];
        let start = Offset(end.0 / u64::from(readers) * u64::from(number));
        read_round(bed, TopicIndex(topic), start, end, over, &read_bytes)
    });
    let clients = (0..phases.clients).map(|_| client(bed, phases.pause_us, over));
    let (measured, read) = futures_util::future::join(join_all(clients), join_all(reads)).await;
    bed.drop_bells();
    read.into_iter().collect::<Result<(), _>>()?;
    let mut all = latencies();
    for latency in measured {
        all.add(latency).expect("histograms of one kind");
    }
    bed.count(&mut crate::bed::Done::default());
    Ok(Outcome {
        p50: all.value_at_quantile(0.50),
        p99: all.value_at_quantile(0.99),
        commits: all.len(),
        read_bytes: read_bytes.get(),
    })
}

async fn client(bed: &Bed, pause_us: u64, over: impl Fn() -> bool) -> Histogram<u64> {
    let mut latency = latencies();
    let bell = bed.bell();
    let mut pause = Interval::new(Duration::from_micros(pause_us));
    while !over() {
        let sent = bed.now();
        let ticket = bed.put(&bell).await;
        bed.until_durable(&bell, ticket).await;
        latency.saturating_record(bed.now().since(sent));
        pause.tick().await;
    }
    latency
}

/// Reads old records again and again.
async fn read_round(
    bed: &Bed,
    topic: TopicIndex,
    start: Offset,
    end: Offset,
    over: impl Fn() -> bool,
    read_bytes: &Cell<u64>,
) -> Result<(), ReadError> {
    let mut next = start;
    while !over() {
        let page = bed
            .journal
            .read(topic, next, PAGE_RECORDS, PAGE_BYTES)
            .await?;
        let bytes: usize = page.iter().map(|record| record.value.len()).sum();
        read_bytes.set(read_bytes.get() + bytes as u64);
        next.0 += page.len() as u64;
        if end <= next {
            next = Offset(0);
        }
        ringtail::log::wake::yield_now().await;
    }
    Ok(())
}
