//! Damage without a good copy: it is named exactly, and given up only when an operator says so.
//!
//! Always:  a loss is durable in the chain before the damaged segment is sealed over it. What is recorded is
//!          passed over at later starts without a question.

use super::super::disk::Disk;
use super::super::format::Features;
use super::super::format::segment::{HEADER_BYTES, SegmentHeader};
use super::super::recover::{Found, RecoverError, Salvage, Wound, salvage};
use super::choose::{self, Choice};
use super::heal::put;
use super::{Copy, Permissions, Place, ReconcileError, during};
use crate::unit::TopicId;
use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// Topics that a message names.
const TOPICS_TOLD: usize = 20;

/// What is lost with the damaged places of one volume.
#[derive(Clone, Debug)]
pub struct Damage {
    pub volume: String,
    pub journal: u32,
    pub wounds: Vec<Wound>,
    pub names: HashMap<TopicId, String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (volume, journal) = (&self.volume, self.journal);
        write!(
            out,
            "journal {journal} is damaged and no other copy is whole: "
        )?;
        for wound in &self.wounds {
            let (file, from, to) = (&wound.file, wound.from, wound.to);
            let (first, last) = (wound.loss.first.get(), wound.loss.last.get());
            write!(
                out,
                "{volume}/{file} from byte {from} to {to}, frames {first} to {last}"
            )?;
            out.write_str(&self.topics(wound))?;
            out.write_str("; ")?;
        }
        out.write_str("bring back a volume that has them, or give them up (--accept-loss)")
    }
}

impl Damage {
    fn topics(&self, wound: &Wound) -> String {
        let mut text = String::new();
        for range in wound.loss.topics.iter().take(TOPICS_TOLD) {
            let name = self.names.get(&range.topic).cloned();
            let name = name.unwrap_or_else(|| format!("{:032x}", range.topic.0));
            let (first, next) = (range.first.0, range.next.0);
            let _ = write!(text, ", {name} from offset {first} to before {next}");
        }
        let more = wound.loss.topics.len().saturating_sub(TOPICS_TOLD);
        if 0 < more {
            let _ = write!(text, " and {more} topics more");
        }
        text
    }
}

/// Chooses the right copy; of damaged ones only if there is no other way.
pub(super) async fn choose<D: Disk>(
    copies: &mut [Copy<D>],
    place: Place<'_>,
    permissions: &Permissions,
    notes: &mut Vec<String>,
) -> Result<Choice, ReconcileError> {
    for copy in copies.iter_mut() {
        if !permissions.without.contains(&copy.volume()) {
            look_closer(copy, place).await?;
        }
    }
    let refused = match choose::choose(copies, place, permissions).await {
        Ok(choice) => return Ok(choice),
        Err(refused) => refused,
    };
    let (errors, salvaged) = take_salvaged(copies);
    let Ok(choice) = choose::choose(copies, place, permissions).await else {
        return Err(refused);
    };
    let best = &copies[choice.best];
    if let Some((wounds, headless)) = &salvaged[choice.best] {
        let found = best.found.as_ref().ok();
        let damage = Damage {
            volume: best.member.name.to_string(),
            journal: place.identity.journal.0,
            wounds: wounds.clone(),
            names: found.map(|found| found.names.clone()).unwrap_or_default(),
        };
        if !permissions.accept_loss {
            return Err(ReconcileError::Damaged(damage));
        }
        write_heads(best, headless, place).await?;
        notes.push(format!("given up: {damage}"));
    } else if !permissions.accept_loss {
        // The sound one reaches as far as what is left of the damaged, but nobody knows what is not left.
        return Err(refused);
    }
    give_back(copies, errors, choice.best);
    Ok(choice)
}

/// Sees what is left of a damaged copy. What was recorded as lost before is no damage any more.
async fn look_closer<D: Disk>(copy: &mut Copy<D>, place: Place<'_>) -> Result<(), ReconcileError> {
    let is_damage = matches!(
        &copy.found,
        Err(RecoverError::Damaged { .. } | RecoverError::Gap { .. } | RecoverError::Header { .. })
    );
    if !is_damage {
        return Ok(());
    }
    let salvaged = salvage(&copy.member.disk, place.folder, place.identity).await;
    let Ok(salvaged) = salvaged else {
        return Ok(());
    };
    if !salvaged.wounds.is_empty() {
        copy.salvage = Some(salvaged);
    } else if !salvaged.recovered.losses.is_empty() {
        copy.found = Ok(salvaged.recovered);
        write_heads(copy, &salvaged.headless, place).await?;
    }
    Ok(())
}

/// The damaged places of one copy, and its segments without a header.
type Wounds = (Vec<Wound>, Vec<String>);

/// Lets every damaged copy pass for what is left of it; gives the errors and the damage, by copy.
fn take_salvaged<D: Disk>(
    copies: &mut [Copy<D>],
) -> (Vec<Option<RecoverError>>, Vec<Option<Wounds>>) {
    let take = |copy: &mut Copy<D>| match copy.salvage.take() {
        Some(Salvage {
            recovered,
            wounds,
            headless,
        }) => {
            let error = std::mem::replace(&mut copy.found, Ok(recovered)).err();
            copy.is_wounded = true;
            (error, Some((wounds, headless)))
        }
        None => (None, None),
    };
    copies.iter_mut().map(take).unzip()
}

/// The damaged copies but the chosen one are damaged again.
fn give_back<D: Disk>(copies: &mut [Copy<D>], errors: Vec<Option<RecoverError>>, best: usize) {
    for (index, (copy, error)) in copies.iter_mut().zip(errors).enumerate() {
        if let Some(error) = error.filter(|_| index != best) {
            (copy.found, copy.is_wounded) = (Err(error), false);
        }
    }
}

/// Writes the headers anew that are known from frames alone.
async fn write_heads<D: Disk>(
    copy: &Copy<D>,
    headless: &[String],
    place: Place<'_>,
) -> Result<(), ReconcileError> {
    let Ok(found) = &copy.found else {
        return Ok(());
    };
    let walked = found.walked.iter().map(|walked| &walked.segment);
    let in_use = found.sealed.iter().chain(walked);
    for segment in in_use.filter(|segment| headless.contains(&segment.name)) {
        let block = head(segment, place);
        let written = put(&copy.member.disk, &segment.file, 0, &block).await;
        during(written, "write a segment's header anew")?;
    }
    Ok(())
}

fn head<F>(segment: &Found<F>, place: Place<'_>) -> [u8; HEADER_BYTES] {
    let header = SegmentHeader {
        kind: segment.kind,
        store: place.identity.store,
        journal: place.identity.journal,
        life: segment.life,
        segment_bytes: segment.bytes,
        opening: segment.opening,
        features: Features::default(),
    };
    let mut block = [0; HEADER_BYTES];
    header.encode(&mut block);
    block
}
