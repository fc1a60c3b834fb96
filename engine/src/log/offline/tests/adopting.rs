//! A new name for who forwards is in the log, and nothing else has changed.

use super::*;
use crate::log::format::forwarded::Forwarded;

fn cursor(scratch: &Scratch, journal: u32) -> Option<Forwarded> {
    let (disk, store) = open_store(&scratch.0, 2);
    let work = Work::begin(&disk, store, journal, None);
    let found = work.journal.forwarded();
    work.stop();
    found
}

fn adopted(scratch: &Scratch, journals: &[u32], name: u128) -> String {
    let mut out = Vec::new();
    assert!(adopt(std::slice::from_ref(&scratch.0), journals, name, &mut out).unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_new_name_stands_in_the_log_and_the_cursor_stays() {
    let scratch = store_with(40, None);
    let before = {
        let (disk, store) = open_store(&scratch.0, 2);
        let mut work = Work::begin(&disk, store, 1, None);
        let before = work.journal.begin_to_forward();
        fill(&mut work, 1, 40..60);
        work.stop();
        before
    };
    assert_eq!(before.identity, StoreId(0xabcd));
    let said = adopted(&scratch, &[1], 0x77);
    assert!(said.contains("journal 1: ringtail-0000") && said.contains("abcd-1 is now ringtail-"));
    assert_eq!(said.lines().count(), 1);
    let after = cursor(&scratch, 1).unwrap();
    let wanted = Forwarded {
        identity: StoreId(0x77),
        ..before
    };
    assert_eq!(after, wanted);
    assert_eq!(cursor(&scratch, 0), None);
    assert_clean(&scratch);
    // All of them; one that was never forwarded goes on from where it is.
    let said = adopted(&scratch, &[], 0x88);
    assert_eq!(said.lines().count(), 2);
    let first = cursor(&scratch, 0).unwrap();
    assert!(first.upto.is_some() && first.identity == StoreId(0x88));
    assert_eq!(cursor(&scratch, 1).unwrap().identity, StoreId(0x88));
    assert_eq!(cat_rows(&scratch.options()).len(), 100);
}

#[test]
fn a_journal_that_is_not_there_and_a_store_that_runs_are_refused() {
    let scratch = store_with(2, None);
    let paths = std::slice::from_ref(&scratch.0);
    let mut out = Vec::new();
    let refused = adopt(paths, &[2], 1, &mut out).unwrap_err();
    assert!(matches!(refused, Error::NoPartition { wanted: 2, last: 1 }));
    let held = File::create(scratch.0.join(LOCK)).unwrap();
    held.lock().unwrap();
    let refused = adopt(paths, &[], 1, &mut out).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }));
    assert!(out.is_empty());
}
