//! Stores that live: restarts, retention, a writer at work.

use super::*;

#[test]
fn retention_and_restarts_stay_clean() {
    let scratch = Scratch::new();
    let (disk, store) = open_store(&scratch.0, 1);
    write_catalogue(&disk, store);
    for round in 0..6 {
        let mut work = Work::begin(&disk, store, 0, Some(6 * SEGMENT_BYTES));
        fill(&mut work, 0, round * 150..round * 150 + 150);
        if round % 2 == 0 {
            work.stop();
        }
        // Else it is dropped where it stands, as a crash would.
        assert_clean(&scratch);
        let rows = cat_rows(&scratch.options());
        let last = rows.last().unwrap();
        assert_eq!(last["offset"], round * 75 + 74);
    }
    let first = cat_rows(&scratch.options())[0]["offset"].as_u64();
    assert!(Some(0) < first, "retention has worked");
}

#[test]
fn of_a_running_store_only_what_is_proven_is_shown() {
    let scratch = Scratch::new();
    let (disk, store) = open_store(&scratch.0, 1);
    write_catalogue(&disk, store);
    let lock = File::create(scratch.0.join(LOCK)).unwrap();
    lock.lock().unwrap();
    let mut work = Work::begin(&disk, store, 0, Some(6 * SEGMENT_BYTES));
    for number in 0..400 {
        fill(&mut work, 0, number..number + 1);
        if number % 23 == 0 {
            assert_clean(&scratch);
            let rows = cat_rows(&scratch.options());
            let newest = rows.iter().map(|row| {
                let index = TOPICS.iter().position(|(_, name)| row["topic"] == *name);
                row["offset"].as_u64().unwrap() * 2 + index.unwrap() as u64
            });
            // The last frame has nobody behind it yet that says that it is durable.
            assert_eq!(newest.max(), number.checked_sub(1));
        }
    }
    // A closing frame says it.
    work.journal.tick();
    work.until(yield_once());
    let journal = work.journal.clone();
    work.until(async {
        while journal.size().recycled == 0 {
            yield_once().await;
        }
    });
    assert_clean(&scratch);
    drop((work, lock));
    assert_clean(&scratch);
}

/// Readers that are told to try again do.
fn when_not_busy(read: impl Fn() -> Result<bool, Error>) -> bool {
    loop {
        match read() {
            Err(Error::Busy { .. }) => {}
            done => return done.unwrap(),
        }
    }
}

#[test]
fn a_writer_at_work_is_not_taken_for_damage() {
    let scratch = Scratch::new();
    let (disk, store) = open_store(&scratch.0, 1);
    write_catalogue(&disk, store);
    let lock = File::create(scratch.0.join(LOCK)).unwrap();
    lock.lock().unwrap();
    let path = scratch.0.clone();
    let (say, hear) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let disk = PlainDisk::read_write(&path);
        let mut work = Work::begin(&disk, store, 0, Some(20 * SEGMENT_BYTES));
        let mut number = 0;
        while hear.try_recv().is_err() {
            fill(&mut work, 0, number..number + 1);
            number += 1;
        }
        work.stop();
    });
    for _ in 0..10 {
        assert!(when_not_busy(|| verify(
            &scratch.options(),
            &mut Vec::new()
        )));
        assert!(when_not_busy(|| cat(&scratch.options(), &mut Vec::new())));
    }
    say.send(()).unwrap();
    writer.join().unwrap();
    drop(lock);
    assert_clean(&scratch);
}
