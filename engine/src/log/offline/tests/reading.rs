//! `cat` and `topics` give back what was written.

use super::*;

#[test]
fn every_record_comes_back_as_it_was_written() {
    let scratch = store_with(120, None);
    let rows = cat_rows(&scratch.options());
    assert_eq!(rows.len(), 240);
    for journal in 0..2u32 {
        for (index, (_, name)) in TOPICS.iter().enumerate() {
            let own = rows
                .iter()
                .filter(|row| row["topic"] == *name && row["partition"] == journal);
            for (offset, row) in own.enumerate() {
                assert_eq!(row.as_object().unwrap().len(), 5);
                assert_eq!(row["offset"], offset);
                assert!(1_700_000_000_000 <= row["timestamp_ms"].as_i64().unwrap());
                let bytes = BASE64_STANDARD.decode(row["value_base64"].as_str().unwrap());
                let number = (offset * 2 + index) as u64;
                assert_eq!(bytes.unwrap(), value(journal, number));
            }
        }
    }
}

#[test]
fn offset_limit_topic_and_partition_choose() {
    let scratch = store_with(120, None);
    let rows = cat_rows(&Options {
        offset: Some(50),
        limit: Some(3),
        ..scratch.options()
    });
    let places: Vec<_> = rows
        .iter()
        .map(|row| row["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(places.len(), 4 * 3);
    assert!(places.iter().all(|offset| (50..53).contains(offset)));
    let one = Options {
        topic: Some("click".to_owned()),
        partition: Some(1),
        offset: Some(59),
        format: Format::Raw,
        ..scratch.options()
    };
    let mut out = Vec::new();
    assert!(cat(&one, &mut out).unwrap());
    assert_eq!(out, [value(1, 118), b"\n".to_vec()].concat());
    let mut out = Vec::new();
    let text = Options {
        limit: Some(1),
        format: Format::Text,
        ..one
    };
    assert!(cat(&text, &mut out).unwrap());
    let line = String::from_utf8(out).unwrap();
    assert!(
        line.starts_with("click 1 59 2023-11-14T22:13:20."),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn topics_are_listed_with_their_ranges() {
    let scratch = store_with(31, None);
    let mut out = Vec::new();
    assert!(topics(&scratch.options(), &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["name"], "click");
    assert_eq!(rows[0]["id"], format!("{:032x}", 7));
    let range = |row: &serde_json::Value| (row["first"].clone(), row["next"].clone());
    assert_eq!(range(&rows[0]), (0.into(), 16.into()));
    assert_eq!(range(&rows[3]), (0.into(), 15.into()));
}

#[test]
fn what_cannot_be_read_is_one_clear_line() {
    let scratch = store_with(4, None);
    let nowhere = Options {
        volumes: vec![scratch.0.join("nowhere")],
        ..Options::default()
    };
    let file = Options {
        volumes: vec![scratch.0.join(store::SUPERBLOCK)],
        ..Options::default()
    };
    let folder = Options {
        volumes: vec![scratch.0.join(CATALOGUE)],
        ..Options::default()
    };
    let topic = Options {
        topic: Some("swipe".to_owned()),
        ..scratch.options()
    };
    let partition = Options {
        partition: Some(2),
        ..scratch.options()
    };
    let cases = [
        (nowhere, "cannot open the volume"),
        (file, "cannot open the volume"),
        (folder, "is not a store"),
        (topic, "no topic \"swipe\""),
        (partition, "no partition 2: its journals are 0 to 1"),
        (Options::default(), "no volume was named"),
    ];
    for (options, words) in cases {
        let error = cat(&options, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let scratch = store_with(4, None);
    assert!(cat(&scratch.options(), &mut Gone).unwrap());
    assert!(topics(&scratch.options(), &mut Gone).unwrap());
}
