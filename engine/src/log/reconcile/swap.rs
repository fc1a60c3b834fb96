//! A segment that one volume has in its rewritten form and another as it was: a crash came in the middle of the
//! swap, and one of the two forms is to take the place of the other.
//!
//! Always:  recovery passes over both without reading them to their end. So before one takes the place of the
//!          other it is seen whether it is whole: what is damaged in the one may be read in the other alone.

use super::super::disk::Disk;
use super::super::format::section::Frame;
use super::super::format::segment::{HEADER_BYTES, Kind, Opening};
use super::super::journal::read_footer;
use super::super::recover::{Found, recover};
use super::super::walk::Window;
use super::heal::copy_file;
use super::{Copy, Permissions, Place};
use crate::limit::REPAIRS_MAX;
use crate::unit::Life;
use std::collections::HashMap;
use std::io;

/// A sealed segment of a copy.
struct Form<'a, F> {
    name: &'a str,
    file: &'a F,
    life: Life,
    kind: Kind,
    bytes: u64,
    opening: Opening,
}

/// Puts the whole form of a segment into the place of the damaged one, wherever two volumes have two forms. A
/// disk that fails repairs nothing.
pub(super) async fn repair<D: Disk>(
    copies: &mut [Copy<D>],
    place: Place<'_>,
    permissions: &Permissions,
    notes: &mut Vec<String>,
) {
    let usable: Vec<usize> = (0..copies.len())
        .filter(|index| !permissions.without.contains(&copies[*index].volume()))
        .collect();
    for damaged in usable.iter().copied() {
        for donor in usable.iter().copied().filter(|donor| *donor != damaged) {
            for _ in 0..REPAIRS_MAX {
                let repaired = repair_one(&copies[damaged], &copies[donor], place).await;
                let Ok(Some(name)) = repaired else { break };
                let (to, from) = (&copies[damaged].member.name, &copies[donor].member.name);
                notes.push(format!(
                    "{to}: the whole of {name} was repaired from {from}"
                ));
                let disk = copies[damaged].member.disk.clone();
                copies[damaged].found = recover(&disk, place.folder, place.identity).await;
            }
        }
    }
}

/// Repairs the first segment that is damaged here and whole there, in another form; gives its name.
async fn repair_one<D: Disk>(
    damaged: &Copy<D>,
    donor: &Copy<D>,
    place: Place<'_>,
) -> io::Result<Option<String>> {
    let mut donated: HashMap<&str, Form<'_, D::File>> =
        forms(donor).map(|form| (form.name, form)).collect();
    let swapped = forms(damaged).filter_map(|bad| {
        let good = donated.remove(bad.name)?;
        bad.is_another_form_of(&good).then_some((bad, good))
    });
    for (bad, good) in swapped {
        let (to, from) = (&damaged.member, &donor.member);
        if !is_whole(&to.disk, &bad).await?
            && is_whole(&from.disk, &good).await?
            && copy_file(to, from, bad.name, place).await?
        {
            return Ok(Some(bad.name.to_owned()));
        }
    }
    Ok(None)
}

fn forms<D: Disk>(copy: &Copy<D>) -> impl Iterator<Item = Form<'_, D::File>> {
    let found = copy.found.as_ref().ok().into_iter();
    found.flat_map(|found| &found.sealed).filter_map(Form::of)
}

impl<'a, F> Form<'a, F> {
    fn of(found: &'a Found<F>) -> Option<Self> {
        Some(Self {
            name: &found.name,
            file: &found.file,
            life: found.life,
            kind: found.kind,
            bytes: found.bytes,
            opening: found.opening?,
        })
    }

    /// Whether this is the same stretch of the journal as the other, and not the same file.
    fn is_another_form_of(&self, other: &Self) -> bool {
        let is_rewritten = (self.kind, other.kind) != (Kind::Journal, Kind::Journal);
        self.opening == other.opening && is_rewritten && self.life != other.life
    }
}

/// Whether a sealed segment can be read from its first frame to its footer.
async fn is_whole<D: Disk>(disk: &D, form: &Form<'_, D::File>) -> io::Result<bool> {
    let sealed = (form.life, form.kind, form.bytes, form.opening);
    sealed_is_whole(disk, form.file, sealed).await
}

/// As what is known of it says: its life, its form, its length, and where it begins.
pub(super) async fn sealed_is_whole<D: Disk>(
    disk: &D,
    file: &D::File,
    (life, kind, bytes, opening): (Life, Kind, u64, Opening),
) -> io::Result<bool> {
    let Some(footer) = read_footer(disk, file, life, bytes).await? else {
        return Ok(false);
    };
    let mut window = Window::new(disk, file, bytes);
    let mut position = HEADER_BYTES as u64;
    let (mut expected, mut chain) = (opening.first, opening.chain_in);
    while position < footer.end {
        let Ok(frame) = Frame::check(window.frame(position).await?) else {
            return Ok(false);
        };
        let header = &frame.header;
        let follows = match kind {
            Kind::Journal => (header.sequence, header.chain) == (expected, chain),
            Kind::Sorted => header.sequence == footer.last,
        };
        if !follows || (header.life, header.position) != (life, position) {
            return Ok(false);
        }
        position += header.padded_bytes() as u64;
        (expected, chain) = (expected.next(), frame.chain_value);
    }
    Ok(position == footer.end && (kind == Kind::Sorted || chain == footer.chain_out))
}
