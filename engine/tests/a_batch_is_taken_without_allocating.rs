//! From the bytes of a socket to the acknowledgement, a batch in the steady state allocates nothing.
//! A commit allocates a little, however many batches share it.

#[path = "../benches/path/mod.rs"]
mod path;

use path::{Path, request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts for each thread, so that tests beside this one do not matter.
struct Counting;

fn count() {
    // A thread that ends has nothing left to count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the one that is wanted.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// A commit of `together` batches: what taking them allocates, and what committing and answering does.
fn round(path: &mut Path, frame: &[u8], together: usize) -> (u64, u64) {
    let taking = allocations(|| (0..together).for_each(|_| path.take(frame)));
    let committing = allocations(|| assert_eq!(path.commit(), together));
    (taking, committing)
}

const SHAPES: [(usize, usize); 3] = [(1, 200), (10, 200), (50, 256)];
/// The futures, tables and places of one commit.
const OF_A_COMMIT_MAX: u64 = 4;

#[test]
fn the_counter_counts() {
    assert_eq!(
        allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))),
        1
    );
}

#[test]
fn taking_a_batch_allocates_nothing() {
    for (events, bytes) in SHAPES {
        let frame = request(events, bytes);
        let mut path = Path::open();
        for _ in 0..4 {
            round(&mut path, &frame, 64);
        }
        let (taking, _) = round(&mut path, &frame, 64);
        assert_eq!(taking, 0, "{events} x {bytes} B");
    }
}

#[test]
fn a_commit_allocates_a_few_times_however_many_batches_share_it() {
    for (events, bytes) in SHAPES {
        let frame = request(events, bytes);
        let mut path = Path::open();
        for together in [1, 16, 128] {
            for _ in 0..4 {
                round(&mut path, &frame, together);
            }
            let (_, committing) = round(&mut path, &frame, together);
            assert!(
                committing <= OF_A_COMMIT_MAX,
                "{together} batches of {events} x {bytes} B: {committing} allocations"
            );
        }
    }
}
