//! Writing: as fast as it goes, and one request at a time.

use crate::bed::{Bed, Done, latencies};

fn seconds_since(bed: &Bed, start: ringtail::unit::Micros) -> f64 {
    bed.now().since(start) as f64 / 1e6
}

/// Until every segment was used before, as in a store that has reached its bound.
async fn reach_steady_state(bed: &Bed) {
    bed.write_while(|_| bed.journal.size().recycled < 4).await;
}

pub(crate) async fn flat_out(bed: &Bed, seconds: f64) {
    reach_steady_state(bed).await;
    let start = bed.now();
    let done = bed
        .write_while(|_| seconds_since(bed, start) < seconds)
        .await;
    let took = seconds_since(bed, start);
    print_done(&done, took);
}

fn print_done(done: &Done, seconds: f64) {
    println!("seconds {seconds:.3}");
    println!("commits {}", done.commits);
    println!(
        "frame_bytes {}",
        done.log_bytes / done.commits.max(1) / 4096 * 4096
    );
    println!("bytes_per_second {:.0}", done.log_bytes as f64 / seconds);
    println!(
        "payload_per_second {:.0}",
        done.event_bytes as f64 / seconds
    );
    println!("events_per_second {:.0}", done.events as f64 / seconds);
    let per_event = done.log_bytes as f64 / done.events.max(1) as f64;
    println!("log_bytes_per_event {per_event:.1}");
}

pub(crate) async fn one_by_one(bed: &Bed, seconds: f64) {
    reach_steady_state(bed).await;
    let mut latency = latencies();
    let mut done = Done::default();
    bed.count(&mut done);
    done = Done::default();
    let bell = bed.bell();
    let start = bed.now();
    while seconds_since(bed, start) < seconds {
        let sent = bed.now();
        let ticket = bed.put(&bell).await;
        bed.until_durable(&bell, ticket).await;
        latency.saturating_record(bed.now().since(sent));
        bed.count(&mut done);
    }
    print_done(&done, seconds_since(bed, start));
    println!("p50_us {}", latency.value_at_quantile(0.50));
    println!("p99_us {}", latency.value_at_quantile(0.99));
}
