//! Who each connection says it is.

use super::arguments::CrowdArguments;

/// Header lines of a connection, name and value: its id, and its group where there are groups.
///
/// Connections share ids only when there are fewer ids than connections; then their groups differ,
/// as far as there are groups.
pub(super) fn of(crowd: &CrowdArguments, run: u64, number: u32) -> Vec<(String, String)> {
    let ids = crowd.ids.unwrap_or(crowd.connections);
    let id = format!("bench-{run:016x}-{}", number % ids);
    let mut lines = vec![(crowd.id_header.clone(), id)];
    if let Some(header) = &crowd.group_header {
        let group = number / ids % crowd.groups;
        lines.push((header.clone(), format!("group-{group}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        crowd: CrowdArguments,
    }

    fn crowd(words: &str) -> CrowdArguments {
        Flags::try_parse_from(words.split_whitespace())
            .unwrap()
            .crowd
    }

    #[test]
    fn connections_have_ids_of_their_own_unless_there_are_fewer() {
        let crowd = crowd("load --connections 3 --id-header X-Id");
        let lines: Vec<_> = (0..3).map(|number| of(&crowd, 7, number)).collect();
        assert_eq!(
            lines[2],
            [("X-Id".to_owned(), "bench-0000000000000007-2".to_owned())]
        );
        assert!(lines[0] != lines[1] && lines[1] != lines[2]);
    }

    #[test]
    fn groups_tell_connections_of_one_id_apart() {
        let crowd = crowd("load --connections 4 --ids 2 --groups 2 --group-header X-Group");
        let lines: Vec<_> = (0..4).map(|number| of(&crowd, 7, number)).collect();
        assert_eq!(lines[0][0], lines[2][0]);
        assert_eq!(lines[0][1].1, "group-0");
        assert_eq!(lines[2][1].1, "group-1");
    }
}
