//! Volumes that a start is not told of, and what the operator says when it stops for them.

use super::run::Run;

impl Run {
    /// An operator may forget volumes; the later starts have all.
    pub fn choose_configured(&mut self, attempt: u32) {
        if self.apart && !self.without.is_empty() {
            // The operator has said that it is to go on so.
            return;
        }
        self.apart = false;
        let ahead = self.ahead.take();
        self.configured = (0..self.disks.len()).collect();
        let quiet = !self.is_alone() && !self.harmed && !self.topics.is_empty();
        if !quiet || self.peace || 2 <= attempt {
            return;
        }
        if let Some(ahead) = ahead.filter(|_| !self.random.one_in(4)) {
            return self.leave_out(ahead);
        }
        if !self.random.one_in(5) {
            return;
        }
        // One that is sound stays, so that it is not a new store.
        let stays = (self.victim + 1 + self.random.below(2) as usize) % self.disks.len();
        let random = &mut self.random;
        self.configured
            .retain(|volume| *volume == stays || random.one_in(2));
        let missing = |volume: &usize| !self.configured.contains(volume);
        let mut missing = (0..self.disks.len()).filter(missing);
        if let (Some(one), None) = (missing.next(), missing.next()) {
            // The others may go on without it, whatever becomes of this start.
            self.victim = one;
            self.harmed = true;
        }
        let configured = &self.configured;
        self.tell(|| format!("configured: {configured:?}"));
    }

    /// The store is to go on without the volume that has more than the others.
    fn leave_out(&mut self, ahead: usize) {
        self.configured.retain(|volume| *volume != ahead);
        (self.victim, self.harmed, self.apart) = (ahead, true, true);
        self.tell(|| format!("volume {ahead} is ahead and left out"));
        self.report
            .count("recovery: a volume that was ahead was left out");
    }
}

/// The numbers that a refusal names, as an operator reads them.
pub fn absent_volumes(text: &str) -> Vec<u32> {
    let named = text.split("volume ").skip(1).filter_map(|rest| {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        rest[..digits].parse().ok()
    });
    named.collect()
}
