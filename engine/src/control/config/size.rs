//! Sizes as people write them: `4096`, `128MiB`, `1 GB`.

/// Suffixes and what they multiply by, the binary ones first because they are how sizes are shown.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// The number of bytes that `text` names. Units are matched without regard to case; a fraction, a
/// sign or an unknown unit is no size.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let known = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    number.checked_mul(known?.1)
}

/// The shortest exact way to write `bytes`.
pub(super) fn show(bytes: u64) -> String {
    for (name, factor) in &UNITS[..4] {
        if bytes != 0 && bytes.is_multiple_of(*factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("128MiB", 128 << 20),
            ("128 mib", 128 << 20),
            ("1GB", 1_000_000_000),
            (" 7B ", 7),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1.5GiB", "1XB", "1M", "99999999TiB", "1 2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_shown_size_reads_back() {
        for bytes in [0, 1, 4096, 4097, 512 << 10, 128 << 20, 3 << 40, u64::MAX] {
            assert_eq!(parse(&show(bytes)), Some(bytes));
        }
        assert_eq!(show(128 << 20), "128MiB");
    }
}
