use super::*;

fn range(topic: u128, first: u64, next: u64) -> LostRange {
    LostRange::new(TopicId(topic), Offset(first), Offset(next))
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn loss(first: u64, last: u64, topics: Vec<LostRange>) -> Loss {
    Loss {
        topics,
        ..Loss::new(sequence(first), sequence(last))
    }
}

fn example() -> Losses {
    let mut wide = loss(11, 16, vec![range(1, 9, 11)]);
    (wide.frames, wide.untold, wide.topics[0].lost) = (2, 3, 1);
    Losses {
        told: vec![
            loss(4, 4, vec![]),
            loss(7, 9, vec![range(1, 5, 9), range(2, 0, 3)]),
            wide,
        ],
        untold: 6,
        untold_offsets: 70,
    }
}

/// Adds losses to a journal of which nothing is gone.
fn add(losses: &mut Losses, new: impl IntoIterator<Item = Loss>) {
    losses.add(new, Sequence::FIRST, |_| Offset(0));
}

fn written(losses: &Losses) -> Losses {
    let mut out = Vec::new();
    write_losses(losses, &mut out);
    read_losses(&out).unwrap()
}

#[test]
fn what_goes_in_comes_out_as_it_is_drawn() {
    let mut out = Vec::new();
    write_losses(&example(), &mut out);
    assert_eq!(out.len(), 24 + 3 * LOSS_BYTES + 3 * RANGE_BYTES);
    assert_eq!(read_losses(&out), Ok(example()));
    assert_eq!(out[..8], *b"LOSS\x01\0\0\0");
    let u64_at = |at: usize| u64::from_le_bytes(out[at..at + 8].try_into().unwrap());
    assert_eq!((u64_at(8), u64_at(16)), (3 | 6 << 32, 70));
    assert_eq!((u64_at(24), u64_at(32), u64_at(40)), (4, 4, 1));
    assert_eq!((u64_at(56), u64_at(64), u64_at(72)), (7, 9, 3));
    assert_eq!((u64_at(80), u64_at(88)), (2, 1));
    assert_eq!((u64_at(104), u64_at(112), u64_at(120)), (5, 9, 4));
    assert_eq!((u64_at(184), u64_at(192)), (2, 1 | 3 << 32));
    for end in 0..out.len() {
        assert!(read_losses(&out[..end]).is_err());
    }
}

#[test]
fn what_has_no_number_is_read_and_another_form_is_named() {
    let mut out = Vec::new();
    write_losses(&example(), &mut out);
    assert_eq!(read_losses(&out[8..]), Ok(example()));
    // A row had no count of its frames once, and a range none of its offsets.
    let mut first = vec![1, 0, 0, 0, 0, 0, 0, 0];
    first.extend([4u64, 4, 0].into_iter().flat_map(u64::to_le_bytes));
    out[4] = 7;
    for (contents, form) in [(first, 0), (out, 7)] {
        let refused = read_losses(&contents).unwrap_err();
        assert_eq!(refused, Defect::Form { what: WHAT, form });
        assert!(refused.is_unknown());
        assert!(refused.to_string().contains("section of losses"));
    }
}

#[test]
fn more_is_not_lost_than_lies_between_the_ends() {
    let mut frames = example();
    frames.told[2].frames = 7;
    let mut offsets = example();
    offsets.told[1].topics[0].lost = 5;
    for wrong in [frames, offsets] {
        let mut out = Vec::new();
        write_losses(&wrong, &mut out);
        assert!(read_losses(&out).is_err(), "{wrong:?}");
    }
}

#[test]
fn lost_offsets_are_passed_over_also_when_they_adjoin() {
    let mut losses = example();
    losses.told[2].topics[0].lost = 2;
    let after = |topic, offset| losses.after(TopicId(topic), Offset(offset)).0;
    assert_eq!((after(1, 4), after(1, 5), after(1, 11)), (4, 11, 11));
    assert_eq!((after(2, 0), after(3, 0)), (3, 0));
}

#[test]
fn what_may_be_lost_is_told_from_what_is() {
    let mut losses = example();
    losses.told[2].untold = 0;
    let after = |offset| losses.after(TopicId(1), Offset(offset)).0;
    let beyond = |offset| losses.beyond(TopicId(1), Offset(offset)).0;
    assert_eq!((after(5), after(9), after(10)), (9, 9, 10));
    assert_eq!((beyond(5), beyond(9), beyond(11)), (11, 11, 11));
    // Where topics had no room, any may have lost anything.
    let beyond = example().beyond(TopicId(77), Offset(3));
    assert_eq!(beyond, Offset(u64::MAX));
}

#[test]
fn a_row_explains_as_many_missing_frames_as_it_counts() {
    let losses = example();
    let mut toll = Toll::default();
    let mut explain = |first, last| losses.explain(&mut toll, sequence(first), sequence(last));
    assert!(explain(4, 4) && explain(7, 9) && !explain(5, 5) && !explain(9, 10));
    // Of these six, two are lost.
    assert!(explain(11, 11) && explain(15, 15) && !explain(16, 16));
    let mut again = Toll::default();
    assert!(!losses.explain(&mut again, sequence(12), sequence(14)));
}

#[test]
fn rows_that_adjoin_explain_what_is_missing_over_both() {
    let told = vec![loss(4, 4, vec![]), loss(5, 7, vec![]), loss(9, 9, vec![])];
    let losses = Losses {
        told,
        ..Losses::default()
    };
    let explain = |first, last| {
        let mut toll = Toll::default();
        losses.explain(&mut toll, sequence(first), sequence(last))
    };
    assert!(explain(4, 7) && explain(4, 5) && explain(6, 7) && explain(9, 9));
    assert!(!explain(4, 8) && !explain(7, 9) && !explain(3, 4));
}

/// What was lost lies within a row and a range, and is counted.
fn assert_holds(losses: &Losses, all: &[Loss]) {
    for loss in all {
        let mut toll = Toll::default();
        assert!(losses.explain(&mut toll, loss.first, loss.last), "{loss:?}");
        for range in &loss.topics {
            assert!(
                range.next <= losses.beyond(range.topic, range.first),
                "{range:?}"
            );
        }
    }
    let offsets: u64 = all
        .iter()
        .flat_map(|loss| &loss.topics)
        .map(|range| range.lost)
        .sum();
    assert_eq!(
        (losses.places(), losses.offsets()),
        (all.len() as u64, offsets)
    );
}

#[test]
fn losses_keep_a_place_and_are_counted_however_many_there_are() {
    let (mut losses, mut all) = (Losses::default(), Vec::new());
    for round in 0..3 {
        let new: Vec<_> = (0..LOSSES_MAX as u64 - 100)
            .map(|number| {
                let at = 10 + round * 100_000 + number * number / 7 + 3 * number;
                let first = 3 * (round * 1_000 + number);
                loss(
                    at,
                    at,
                    vec![range(1, first, first + 2), range(2, first, first + 3)],
                )
            })
            .collect();
        all.extend(new.clone());
        add(&mut losses, new);
        losses = written(&losses);
        assert_holds(&losses, &all);
        assert!(losses.told.len() <= LOSSES_MAX);
    }
    // The newest are told one by one.
    assert!(losses.told[LOSSES_MAX / 2..].iter().all(Loss::is_exact));
    assert!(losses.told.iter().any(|row| !row.is_exact()));
}

#[test]
fn ranges_of_a_topic_come_together_before_any_is_left_out() {
    let mut losses = Losses::default();
    let topics = LOST_RANGES_MAX as u128 - 1;
    let all = [
        loss(
            4,
            4,
            (0..topics).map(|topic| range(topic, 10, 11)).collect(),
        ),
        loss(
            9,
            9,
            vec![range(5, 11, 13), range(6, 30, 40), range(7, 12, 13)],
        ),
    ];
    add(&mut losses, all.clone());
    losses = written(&losses);
    assert_holds(&losses, &all);
    assert!(losses.told.iter().all(|row| row.untold == 0));
    // Two that adjoin have become one, and two that nearly do; the farthest are apart.
    let exact = |topic, offset| losses.after(TopicId(topic), Offset(offset)).0;
    assert_eq!((exact(5, 10), exact(6, 10), exact(6, 30)), (13, 11, 40));
    assert_eq!(
        (exact(7, 10), losses.beyond(TopicId(7), Offset(10)).0),
        (10, 13)
    );
}

#[test]
fn of_more_topics_than_have_room_the_oldest_are_only_counted() {
    let mut losses = Losses::default();
    let topics = LOST_RANGES_MAX as u128;
    let all = [
        loss(4, 4, vec![range(topics, 0, 5)]),
        loss(9, 9, (0..topics).map(|topic| range(topic, 0, 2)).collect()),
    ];
    add(&mut losses, all.clone());
    losses = written(&losses);
    assert_eq!((losses.told[0].untold, losses.told[1].untold), (1, 0));
    assert_holds(&losses, &all);
}

#[test]
fn what_is_gone_from_the_log_gives_its_room_first() {
    let mut losses = Losses::default();
    let all: Vec<_> = (1..=LOSSES_MAX as u64)
        .map(|at| {
            loss(
                10 * at,
                10 * at,
                vec![range(1, at, at + 1), range(2, at, at + 1)],
            )
        })
        .collect();
    add(&mut losses, all.clone());
    let newest = 10 * (LOSSES_MAX as u64 + 1);
    let gone = |topic: TopicId| Offset(if topic.0 == 1 { 400 } else { u64::MAX });
    losses.add([loss(newest, newest, vec![])], sequence(4_000), gone);
    losses = written(&losses);
    assert!(losses.told.iter().all(Loss::is_exact));
    assert_eq!(losses.told[0].first, sequence(4_000));
    assert_eq!(losses.places(), all.len() as u64 + 1);
    assert_eq!(losses.offsets(), 2 * all.len() as u64);
}

#[test]
fn any_bytes_are_only_a_claim() {
    bolero::check!()
        .with_iterations(5_000)
        .for_each(|contents: &[u8]| {
            if let Ok(mut losses) = read_losses(contents) {
                assert_eq!(written(&losses), losses);
                let places = losses.places();
                add(&mut losses, [loss(1, 1, vec![])]);
                losses.join_rows(2);
                losses.join_ranges(1);
                assert_eq!(
                    losses.places().min(u64::from(u32::MAX)),
                    (places + 1).min(u64::from(u32::MAX))
                );
                written(&losses);
            }
        });
}
