//! Takes batches along their whole way, so that callgrind can count: `perf/instructions.sh` runs this.
//!
//! Arguments: the shape, such as `10x200`, and how many batches share a commit.

mod path;

use path::{Path, request};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COMMITS: usize = 16;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [shape, together] = &words[..] else {
        println!("usage: instructions EVENTSxBYTES BATCHES_IN_A_COMMIT");
        return;
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (events, bytes) = shape.split_once('x').expect("EVENTSxBYTES");
    let frame = request(number(events), number(bytes));
    let together = number(together);
    let mut path = Path::open();
    // The steady state: every buffer has its size, every topic is defined.
    for _ in 0..4 {
        ringtail_counted(&mut path, &frame, together);
    }
    ringtail_measured(&mut path, &frame, together);
    println!("batches {}", COMMITS * together);
}

/// What is counted, by this name.
#[inline(never)]
fn ringtail_measured(path: &mut Path, frame: &[u8], together: usize) {
    for _ in 0..COMMITS {
        ringtail_counted(path, frame, together);
    }
    // So that this is a function of its own, whatever the optimiser thinks of it.
    black_box(&path.outbox);
}

#[inline(never)]
fn ringtail_counted(path: &mut Path, frame: &[u8], together: usize) {
    for _ in 0..together {
        path.take(black_box(frame));
    }
    assert_eq!(path.commit(), together);
}
