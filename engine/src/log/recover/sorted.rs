//! Going over a segment that was rewritten: its footer says where it ends, its first two frames what was
//! known then. Its batches are not needed.

use super::super::disk::Disk;
use super::super::format::Defect;
use super::super::format::footer::{FOOTER_BYTES, Footer};
use super::super::format::section::Frame;
use super::super::format::segment::HEADER_BYTES;
use super::super::journal::read_footer;
use super::super::walk::Window;
use super::{At, Found, RecoverError, Recovery, absorb, during, known};
use crate::unit::Sequence;

impl<D: Disk> Recovery<'_, D> {
    /// Takes a rewritten segment as sealed, and with it those that were walked before it; says what is wrong
    /// with what comes next, which is the segment itself when it is not whole.
    pub(super) async fn pass_sorted(
        &mut self,
        segment: Found<D::File>,
        expected: &mut Sequence,
    ) -> Result<Defect, RecoverError> {
        let footer = read_footer(self.disk, &segment.file, segment.life, segment.bytes).await;
        let footer = during(footer, || format!("read {}", segment.name))?;
        let footer = footer.filter(|footer| *expected <= footer.last);
        let Some(footer) = footer else {
            let position = segment.bytes.saturating_sub(FOOTER_BYTES as u64);
            self.at = Some(At::new(&segment, position));
            self.found.spare.push(segment);
            return Ok(Defect::Absent("footer of a rewritten segment"));
        };
        if let Some((position, defect)) = self.absorb_sorted(&segment, &footer).await? {
            self.at = Some(At::new(&segment, position));
            self.found.spare.push(segment);
            return Ok(defect);
        }
        self.found.last = Some(footer.last);
        self.found.chain = footer.chain_out;
        *expected = footer.last.next();
        self.at = Some(At::new(&segment, segment.bytes));
        let walked = std::mem::take(&mut self.found.walked);
        let walked = walked.into_iter().map(|walked| walked.segment);
        self.found.sealed.extend(walked);
        self.found.sealed.push(segment);
        Ok(Defect::Absent("further frame"))
    }

    /// Takes what its first two frames say; gives the first place that is not whole.
    async fn absorb_sorted(
        &mut self,
        segment: &Found<D::File>,
        footer: &Footer,
    ) -> Result<Option<(u64, Defect)>, RecoverError> {
        let mut window = Window::new(self.disk, &segment.file, segment.bytes);
        let mut position = HEADER_BYTES as u64;
        for _ in 0..2 {
            let bytes = window.frame(position).await;
            let bytes = during(bytes, || format!("read {}", segment.name))?;
            let frame = match Frame::check(bytes) {
                Ok(frame) => frame,
                Err(defect) => return Ok(Some((position, defect))),
            };
            let header = &frame.header;
            if !self.belongs(header, segment.life, position)
                || header.sequence != footer.last
                || header.epoch < self.found.epoch
            {
                return Ok(Some((position, Defect::Misplaced("frame"))));
            }
            if let Err(defect) = absorb::absorb_state(&mut self.found, &frame) {
                return Ok(Some((position, known(&segment.name, defect)?)));
            }
            position += frame.header.padded_bytes() as u64;
        }
        Ok(None)
    }
}
