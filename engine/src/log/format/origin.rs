//! Where the events of a frame came from: one row for each request, and runs that tie records to rows.
//!
//! ```text
//! origins  rows u32, batches u32, types u32, bytes of the rows u32
//!          rows:    id bytes u16, group bytes u16, guid bytes u16, door u8, flags u8 (1: sent time is
//!                   there), received µs u64, sent seconds u64, sent nanos u32, id, group, guid
//!          batches: for each record batch of the frame, in order: runs u32, then each run:
//!                   row u32, type u32 (u32::MAX: the topic says it), records u32
//!          types:   each: bytes u16, the event type
//! ```

use super::Defect;
use super::cursor::{Append, Reader};
use crate::unit::Micros;

pub const HEAD_BYTES: usize = 16;
const ROW_BYTES: usize = 28;
pub const RUN_BYTES: usize = 12;

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    WebSocket = 1,
    Rest = 2,
    Grpc = 3,
}

/// One request, as its origin is kept. Strings are a client's claims; they are cut to 65 535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginRow<'a> {
    pub door: Door,
    pub received: Micros,
    /// The client's clock: seconds and nanoseconds since 1970.
    pub sent: Option<(i64, i32)>,
    pub conn_id: &'a [u8],
    pub conn_group: &'a [u8],
    pub guid: &'a [u8],
}

/// So many records of a batch, in order, came with the request of this row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub row: u32,
    /// Row of the dictionary of types; `None` when the topic says the type.
    pub kind: Option<u32>,
    pub records: u32,
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(usize::from(u16::MAX))]
}

/// What [`write_row`] appends.
pub fn row_bytes(row: &OriginRow<'_>) -> usize {
    ROW_BYTES + cut(row.conn_id).len() + cut(row.conn_group).len() + cut(row.guid).len()
}

pub fn write_row(row: &OriginRow<'_>, out: &mut Vec<u8>) {
    let (seconds, nanos) = row.sent.unwrap_or_default();
    out.put_u16(cut(row.conn_id).len() as u16);
    out.put_u16(cut(row.conn_group).len() as u16);
    out.put_u16(cut(row.guid).len() as u16);
    out.push(row.door as u8);
    out.push(u8::from(row.sent.is_some()));
    out.put_u64(row.received.0);
    out.put_u64(seconds as u64);
    out.put_u32(nanos as u32);
    out.extend_from_slice(cut(row.conn_id));
    out.extend_from_slice(cut(row.conn_group));
    out.extend_from_slice(cut(row.guid));
}

pub fn write_head(rows: u32, batches: u32, types: u32, row_bytes: u32, out: &mut Vec<u8>) {
    out.put_u32(rows);
    out.put_u32(batches);
    out.put_u32(types);
    out.put_u32(row_bytes);
}

pub fn write_runs(runs: &[Run], out: &mut Vec<u8>) {
    out.put_u32(runs.len() as u32);
    for run in runs {
        out.put_u32(run.row);
        out.put_u32(run.kind.unwrap_or(u32::MAX));
        out.put_u32(run.records);
    }
}

pub fn write_type(kind: &[u8], out: &mut Vec<u8>) {
    out.put_u16(cut(kind).len() as u16);
    out.extend_from_slice(cut(kind));
}

/// A whole section, read.
#[derive(Debug, PartialEq, Eq)]
pub struct Origins<'a> {
    pub rows: Vec<OriginRow<'a>>,
    /// For each record batch, its runs.
    pub batches: Vec<Vec<Run>>,
    pub types: Vec<&'a [u8]>,
}

impl<'a> Origins<'a> {
    pub fn read(contents: &'a [u8]) -> Result<Self, Defect> {
        Self::parse(contents).ok_or(Defect::Malformed("section of origins"))
    }

    fn parse(contents: &'a [u8]) -> Option<Self> {
        let mut from = Reader::new(contents);
        let (row_count, batch_count) = (from.u32()?, from.u32()?);
        let (type_count, row_bytes) = (from.u32()?, from.u32()? as usize);
        let mut row_reader = Reader::new(from.bytes(row_bytes)?);
        let mut rows = Vec::new();
        for _ in 0..row_count {
            rows.push(read_row(&mut row_reader)?);
        }
        let mut batches = Vec::new();
        for _ in 0..batch_count {
            batches.push(read_runs(&mut from, row_count, type_count)?);
        }
        let mut types = Vec::new();
        for _ in 0..type_count {
            let bytes = usize::from(from.u16()?);
            types.push(from.bytes(bytes)?);
        }
        let whole = row_reader.rest().is_empty() && from.rest().is_empty();
        whole.then_some(Self {
            rows,
            batches,
            types,
        })
    }
}

fn read_row<'a>(from: &mut Reader<'a>) -> Option<OriginRow<'a>> {
    let (id, group, guid) = (from.u16()?, from.u16()?, from.u16()?);
    let door = match from.bytes(1)? {
        [1] => Door::WebSocket,
        [2] => Door::Rest,
        [3] => Door::Grpc,
        _ => return None,
    };
    let has_sent = from.bytes(1)? == [1];
    let received = Micros(from.u64()?);
    let sent = (from.u64()? as i64, from.u32()? as i32);
    Some(OriginRow {
        door,
        received,
        sent: has_sent.then_some(sent),
        conn_id: from.bytes(id.into())?,
        conn_group: from.bytes(group.into())?,
        guid: from.bytes(guid.into())?,
    })
}

fn read_runs(from: &mut Reader<'_>, rows: u32, types: u32) -> Option<Vec<Run>> {
    let count = from.u32()?;
    let mut runs = Vec::new();
    for _ in 0..count {
        let (row, kind, records) = (from.u32()?, from.u32()?, from.u32()?);
        if rows <= row || (types <= kind && kind != u32::MAX) {
            return None;
        }
        runs.push(Run {
            row,
            kind: (kind != u32::MAX).then_some(kind),
            records,
        });
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let row = OriginRow {
            door: Door::WebSocket,
            received: Micros(55),
            sent: Some((-3, 7)),
            conn_id: b"phone-1",
            conn_group: b"--default--",
            guid: b"",
        };
        let second = OriginRow {
            sent: None,
            door: Door::Rest,
            guid: b"g",
            ..row
        };
        let runs = [
            Run {
                row: 0,
                kind: None,
                records: 3,
            },
            Run {
                row: 1,
                kind: Some(0),
                records: 1,
            },
        ];
        let mut rows = Vec::new();
        write_row(&row, &mut rows);
        assert_eq!(rows.len(), row_bytes(&row));
        write_row(&second, &mut rows);
        let mut out = Vec::new();
        write_head(2, 2, 1, rows.len() as u32, &mut out);
        assert_eq!(out.len(), HEAD_BYTES);
        out.extend_from_slice(&rows);
        write_runs(&runs, &mut out);
        write_runs(&[], &mut out);
        write_type(b"click", &mut out);
        let expected = Origins {
            rows: vec![row, second],
            batches: vec![runs.to_vec(), Vec::new()],
            types: vec![b"click"],
        };
        assert_eq!(Origins::read(&out), Ok(expected));
        for end in 0..out.len() {
            assert!(Origins::read(&out[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_only_a_claim() {
        bolero::check!()
            .with_iterations(5_000)
            .for_each(|bytes: &[u8]| {
                let _ = Origins::read(bytes);
            });
    }
}
