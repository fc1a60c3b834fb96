//! How far a journal came, as a record of Kafka: the newest of its key counts.
//!
//! Layout:  the key is the forwarder's name, `ringtail-<identity>-<journal>`, which is its transactional id too; the
//!          value is one object of JSON, for operators to read:
//!          `{"version":1,"store":"…","epoch":3,"sequence":12,"chain":"…","delivered":…,"letters":…,"skipped":…}`
//! Always:  what a record says is only a claim: the log's own chain proves it or not.

use crate::limit::SPOOL_CURSOR_BYTES_MAX;
use crate::log::format::StoreId;
use crate::log::format::forwarded::{Forwarded, Totals};
use crate::unit::{Epoch, JournalId, Sequence};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// Why a record is not taken for a cursor.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("it has {0} bytes, more than any cursor")]
    Long(usize),
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    #[error("its version is {0}, and this program knows {VERSION}")]
    Version(u32),
    #[error("its {0} is no hexadecimal number of the right length")]
    Number(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Value {
    version: u32,
    store: String,
    epoch: u64,
    /// 0: before the first frame.
    sequence: u64,
    chain: String,
    delivered: u64,
    letters: u64,
    skipped: u64,
}

/// The name of who forwards a journal.
pub fn name(identity: StoreId, journal: JournalId) -> String {
    format!("ringtail-{:032x}-{}", identity.0, journal.0)
}

/// The value of the record.
pub fn write(cursor: &Forwarded) -> Vec<u8> {
    let value = Value {
        version: VERSION,
        store: format!("{:032x}", cursor.store.0),
        epoch: cursor.epoch.0,
        sequence: cursor.upto.map_or(0, Sequence::get),
        chain: format!("{:016x}", cursor.chain),
        delivered: cursor.totals.delivered,
        letters: cursor.totals.letters,
        skipped: cursor.totals.skipped,
    };
    let bytes = serde_json::to_vec(&value).expect("these fields have no way to fail");
    debug_assert!(bytes.len() <= SPOOL_CURSOR_BYTES_MAX);
    bytes
}

/// What a record of this identity's name says.
pub fn read(bytes: &[u8], identity: StoreId) -> Result<Forwarded, Unreadable> {
    #[derive(Deserialize)]
    struct Any {
        version: u32,
    }
    if SPOOL_CURSOR_BYTES_MAX < bytes.len() {
        return Err(Unreadable::Long(bytes.len()));
    }
    let Any { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    let value: Value = serde_json::from_slice(bytes)?;
    let store = hexadecimal(&value.store, 32).ok_or(Unreadable::Number("store"))?;
    let chain = hexadecimal(&value.chain, 16).ok_or(Unreadable::Number("chain"))?;
    Ok(Forwarded {
        store: StoreId(store),
        identity,
        transacted: true,
        epoch: Epoch(value.epoch),
        upto: Sequence::new(value.sequence),
        chain: chain as u64,
        totals: Totals {
            delivered: value.delivered,
            letters: value.letters,
            skipped: value.skipped,
            dropped: 0,
        },
    })
}

fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(text, 16).ok())?
}

/// Whether both say the same of the journal, whatever they have counted.
pub fn agree(one: &Forwarded, other: &Forwarded) -> bool {
    let of = |cursor: &Forwarded| (cursor.store, cursor.epoch, cursor.upto, cursor.chain);
    of(one) == of(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Forwarded {
        Forwarded {
            store: StoreId(0x0102 << 112 | 7),
            identity: StoreId(9),
            transacted: true,
            epoch: Epoch(3),
            upto: Sequence::new(u64::MAX),
            chain: 0xdead_beef,
            totals: Totals {
                delivered: 100,
                letters: 2,
                skipped: 3,
                dropped: 0,
            },
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let nothing = Forwarded {
            upto: None,
            ..example()
        };
        for cursor in [example(), nothing] {
            let read = read(&write(&cursor), StoreId(9)).unwrap();
            assert_eq!(read, cursor);
            assert!(agree(&read, &cursor));
        }
        let name = name(StoreId(10), JournalId(3));
        assert_eq!(name, "ringtail-0000000000000000000000000000000a-3");
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused_and_never_believed_blindly() {
        let good = write(&example());
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            match draw() % 3 {
                0 => bytes.truncate(draw() as usize % (bytes.len() + 1)),
                1 => bytes = (0..draw() % 2_000).map(|_| draw() as u8).collect(),
                _ => {}
            }
            for _ in 0..draw() % 4 {
                if let Some(at) = (draw() as usize).checked_rem(bytes.len()) {
                    bytes[at] = draw() as u8;
                }
            }
            // What is read is what another writing of it says.
            if let Ok(cursor) = read(&bytes, StoreId(9)) {
                assert_eq!(read(&write(&cursor), StoreId(9)).unwrap(), cursor);
            }
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused_with_the_reason() {
        let text = String::from_utf8(write(&example())).unwrap();
        let refused = |bytes: &str| read(bytes.as_bytes(), StoreId(9)).unwrap_err().to_string();
        assert!(refused("").contains("EOF"));
        assert!(refused(&text.replace("\"version\":1", "\"version\":2")).contains("knows 1"));
        assert!(refused(&text.replace("00000000dead", "+0000000dead")).contains("chain"));
        assert!(refused(&text.replace("\"store\":\"0", "\"store\":\"")).contains("store"));
        assert!(refused(&text.replace("\"epoch\":3", "\"epoch\":-3")).contains("-3"));
        assert!(refused(&" ".repeat(SPOOL_CURSOR_BYTES_MAX + 1)).contains("bytes"));
    }
}
