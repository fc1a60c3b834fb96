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
