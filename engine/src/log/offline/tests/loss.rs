//! What was given up is damage no more: `verify` counts it, `cat` passes over it.

use super::super::super::format::loss::Losses;
use super::super::super::mirror::{Member, Rules};
use super::super::super::reconcile::{Permissions, reconcile};
use super::*;

/// Starts the journal of the volume without what is damaged, with this account of its losses, and stops it.
fn give_up(scratch: &Scratch, account: impl FnOnce(&mut Losses)) {
    let disk = PlainDisk::read_write(&scratch.0);
    let identity = Identity {
        store: StoreId(0xabcd),
        journal: JournalId(0),
        segment_bytes: SEGMENT_BYTES,
    };
    let member = Member {
        volume: 0,
        name: scratch.0.display().to_string().into(),
        disk,
    };
    let rules = Rules {
        volumes_min: 1,
        durable_volumes: 0,
        lag_bytes_max: 0,
    };
    let permissions = Permissions {
        without_unknown: 0,
        without: Vec::new(),
        accept_loss: true,
    };
    let folder = store::journal_folder(JournalId(0));
    let reconciling = reconcile(vec![member], &folder, identity, rules, &permissions);
    let mut found = block_on(reconciling).unwrap_or_else(|error| panic!("{error}"));
    account(&mut found.recovered.losses);
    let settings = settings(identity, None);
    let clock = Rc::new(|| Micros(1_800_000_000_000_000));
    let table = table().into_iter();
    let starting = Journal::start(
        found.mirror,
        folder,
        settings,
        found.recovered,
        table,
        clock,
    );
    let (journal, mut committer, mut preparer) = block_on(starting).unwrap();
    journal.stop();
    block_on(async {
        let commit = async { while committer.step().await != Step::Stopped {} };
        future::join(commit, preparer.run()).await;
    });
}

#[test]
fn what_is_recorded_as_lost_is_counted_and_is_no_damage() {
    let scratch = store_with(150, None);
    let segments = frames_of(&scratch.0);
    let (path, frames) = segments.last().unwrap();
    let (start, end) = frames[frames.len() / 2];
    // In its payload, which begins behind the header.
    flip(path, start + 600 + (end - start) % 7);
    let (clean, report) = verified(&scratch.options());
    assert!(!clean, "{report}");
    give_up(&scratch, |_| {});
    let report = assert_clean(&scratch);
    assert_eq!(
        (&report["lost"], &report["damaged"]),
        (&1.into(), &0.into()),
        "{report}"
    );
    // One journal was given up, on its only volume; what it has lost is more than what is still damaged.
    assert_eq!(report["losses_accepted"], 1, "{report}");
    assert!(0 < report["offsets_lost"].as_u64().unwrap(), "{report}");
    let mut out = Vec::new();
    assert!(cat(&scratch.options(), &mut out).unwrap());
    let lines = out
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let printed = lines.count();
    assert!((200..300).contains(&printed), "{printed}");
}

#[test]
fn where_losses_share_a_row_what_else_is_damaged_is_damage() {
    let stores = (150..250)
        .step_by(10)
        .map(|records| store_with(records, None));
    let has_room = |store: &Scratch| 10 < frames_of(&store.0).last().unwrap().1.len();
    let scratch = { stores }.find(has_room).unwrap();
    let segments = frames_of(&scratch.0);
    let (path, frames) = segments.last().unwrap();
    let middle = frames.len() / 2;
    for at in [middle - 3, middle, middle + 3] {
        flip(path, frames[at].0 + 600);
    }
    give_up(&scratch, |losses| {
        assert_eq!(losses.told.len(), 3);
        losses.join_rows(1);
        assert_eq!((losses.told.len(), losses.told[0].frames), (1, 3));
    });
    let report = assert_clean(&scratch);
    assert_eq!(report["lost"], 3, "{report}");
    assert_eq!(report["losses_accepted"], 3, "{report}");
    let mut out = Vec::new();
    assert!(cat(&scratch.options(), &mut out).unwrap());
    // What lies between them is sound, and a fourth place was not accepted.
    flip(path, frames[middle + 1].0 + 600);
    let (clean, report) = verified(&scratch.options());
    assert!(!clean, "{report}");
    assert_eq!(
        (&report["lost"], &report["damaged"]),
        (&3.into(), &1.into()),
        "{report}"
    );
}
