//! `verify` notices what is damaged, and nothing else.

use super::super::super::format::footer::{FOOTER_BYTES, Footer};
use super::*;

#[test]
fn a_sound_store_is_clean_and_counted() {
    let scratch = store_with(400, None);
    let report = assert_clean(&scratch);
    assert_eq!(report["records"], 800);
    assert_eq!(report["damaged"], 0);
    assert!(8 < report["segments"].as_u64().unwrap());
    assert!(800 < report["frames"].as_u64().unwrap());
}

/// Flips, verifies, flips back; gives what was found.
fn damaged_at(scratch: &Scratch, path: &Path, at: u64) -> Option<serde_json::Value> {
    flip(path, at);
    let (clean, report) = verified(&scratch.options());
    flip(path, at);
    assert_eq!(clean, report["damaged"] == 0);
    (!clean).then_some(report)
}

#[test]
fn any_flipped_byte_that_means_something_is_noticed() {
    let scratch = store_with(150, None);
    let segments = frames_of(&scratch.0);
    assert!(2 < segments.len());
    let mut flips = Vec::new();
    for (index, (path, frames)) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        flips.extend([3, 20, 60, 4000].map(|at| (path, at)));
        // The last frame of all is a closing one: damage to it cannot be told from a tear.
        let proven = frames.len() - usize::from(is_last);
        for (start, end) in frames[..proven].iter().step_by(1 + index * 4) {
            // Sections end within eight bytes of the frame's end.
            let step = (end - start) / 3;
            flips.extend(
                [*start, start + 100, start + step, end - 8 - step / 2].map(|at| (path, at)),
            );
        }
        if !is_last {
            let footer = SEGMENT_BYTES - 4096;
            flips.extend([footer + 2, footer + 12, footer + 70, footer - 9].map(|at| (path, at)));
        }
    }
    let mut quiet = Vec::new();
    for (path, at) in flips {
        match damaged_at(&scratch, path, at) {
            Some(report) => assert_eq!(
                report["damaged"],
                report["places"].as_array().unwrap().len()
            ),
            None => quiet.push((path, at)),
        }
    }
    assert!(quiet.is_empty(), "{quiet:?}");
    assert_clean(&scratch);
}

#[test]
fn damage_in_the_catalogue_and_the_superblock_is_noticed() {
    let scratch = store_with(4, None);
    let catalogue = scratch.0.join(CATALOGUE).join("00000000.seg");
    for at in [20, 4096 + 80, 2 * 4096 + 80] {
        assert!(damaged_at(&scratch, &catalogue, at).is_some(), "{at}");
    }
    for at in [4, 100, 4096 + 100] {
        let path = scratch.0.join(store::SUPERBLOCK);
        assert!(damaged_at(&scratch, &path, at).is_some(), "{at}");
    }
    assert_clean(&scratch);
}

#[test]
fn one_damaged_place_is_told_once_and_the_rest_is_still_checked() {
    let scratch = store_with(150, None);
    let all = assert_clean(&scratch);
    let segments = frames_of(&scratch.0);
    let (path, frames) = &segments[0];
    let (start, end) = frames[frames.len() / 2];
    let report = damaged_at(&scratch, path, start + (end - start) / 2).unwrap();
    assert_eq!(report["damaged"], 1, "{report}");
    assert_eq!(report["places"][0]["position"], start);
    assert_eq!(report["places"][0]["file"], path.display().to_string());
    let frames = |report: &serde_json::Value| report["frames"].as_u64().unwrap();
    assert_eq!(frames(&report) + 1, frames(&all));

    flip(path, start + 600);
    let mut out = Vec::new();
    let error = cat(&scratch.options(), &mut out).unwrap_err();
    assert!(matches!(error, Error::Damaged { position, .. } if position == start));
    assert!(!out.is_empty(), "what lies before the damage is printed");
}

#[test]
fn a_missing_segment_is_noticed_wherever_it_was() {
    let scratch = store_with(150, None);
    let segments = frames_of(&scratch.0);
    for (path, _) in &segments[..segments.len() - 1] {
        let aside = scratch.0.join("aside");
        fs::rename(path, &aside).unwrap();
        let (clean, report) = verified(&scratch.options());
        assert!(!clean, "{}: {report}", path.display());
        fs::rename(&aside, path).unwrap();
    }
    assert_clean(&scratch);
}

#[test]
fn a_torn_tail_is_no_damage_and_is_not_shown() {
    let scratch = Scratch::new();
    let (disk, store) = open_store(&scratch.0, 1);
    write_catalogue(&disk, store);
    let mut work = Work::begin(&disk, store, 0, None);
    fill(&mut work, 0, 0..60);
    // Dropped without a closing frame: the last frame holds an event that nothing proves durable.
    drop(work);
    assert_eq!(cat_rows(&scratch.options()).len(), 60);
    let segments = frames_of(&scratch.0);
    let (path, frames) = segments.last().unwrap();
    let (start, end) = *frames.last().unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0; 64], u64::midpoint(start, end))
        .unwrap();
    assert_clean(&scratch);
    assert_eq!(cat_rows(&scratch.options()).len(), 59);
}

/// A segment was sealed, a crash lost the next one, and frames were added to it.
#[test]
fn a_footer_from_before_a_crash_is_no_damage() {
    let scratch = store_with(400, None);
    let (path, frames) = frames_of(&scratch.0).swap_remove(1);
    let whole = fs::read(&path).unwrap();
    let at = whole.len() - FOOTER_BYTES;
    let sealed = Footer::decode(&whole[at..]).unwrap();
    for (index, (position, _)) in frames.iter().enumerate().skip(1) {
        let (before, _) = FrameHeader::decode(&whole[frames[index - 1].0 as usize..]).unwrap();
        let (next, _) = FrameHeader::decode(&whole[*position as usize..]).unwrap();
        let earlier = Footer {
            last: before.sequence,
            chain_out: next.chain,
            end: *position,
            ..sealed
        };
        let false_one = Footer {
            chain_out: next.chain ^ 1,
            ..earlier
        };
        for (footer, is_clean) in [(earlier, true), (false_one, false)] {
            let mut bytes = whole.clone();
            footer.encode(&mut bytes[at..]);
            fs::write(&path, bytes).unwrap();
            let (clean, report) = verified(&scratch.options());
            assert_eq!(clean, is_clean, "frame {index}: {report}");
        }
    }
}
