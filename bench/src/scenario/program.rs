//! Programs that measure by themselves, and print their figures as one JSON object of numbers.

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use thiserror::Error;

use super::{
    Show,
    file::{Step, Target},
};
use crate::{
    host,
    outcome::{Conclusion, Figures},
};

const BROKER: &str = "{broker}";

#[derive(Debug, Error)]
enum ProgramError {
    #[error(
        "{program} could not be run (it is looked for beside this program; examples are built by `cargo build --example`): {source}"
    )]
    Run { program: PathBuf, source: io::Error },
    #[error("{program} ended with {status}")]
    Ended { program: PathBuf, status: String },
    #[error("{program} is to print one JSON object of numbers: {source}")]
    Form {
        program: PathBuf,
        source: serde_json::Error,
    },
    #[error("{target} printed no {figure}")]
    NoFigure { target: String, figure: String },
}

impl Show<'_> {
    /// Runs all programs in turn, and compares them with the first.
    pub(super) fn programs(&mut self, step: &Step, figure: &str) -> Result<(), Box<dyn Error>> {
        let mut flags = step.flags(&self.scenario.load);
        flags = self.override_flags(flags)?;
        let targets = &self.scenario.target;
        let mut values = vec![Vec::new(); targets.len()];
        for round in 1..=self.scenario.rounds {
            let mut turn: Vec<_> = targets.iter().enumerate().collect();
            // Who is first changes: the broker's machine grows faster while it runs.
            if round.is_multiple_of(2) {
                turn.reverse();
            }
            for (index, target) in turn {
                let figures = self.run_program(step, target, &flags, round)?;
                values[index].push(*figures.get(figure).ok_or_else(|| ProgramError::NoFigure {
                    target: target.name.clone(),
                    figure: figure.to_owned(),
                })?);
            }
        }
        for (target, own) in targets.iter().zip(&values).skip(1) {
            let ratios = own.iter().zip(&values[0]).map(|(own, first)| own / first);
            let words = format!("{figure} of {} over {}", target.name, targets[0].name);
            self.conclude(step, Conclusion::new(&step.name, words, ratios.collect()));
        }
        Ok(())
    }

    fn run_program(
        &mut self,
        step: &Step,
        target: &Target,
        flags: &[String],
        round: u32,
    ) -> Result<BTreeMap<String, f64>, ProgramError> {
        let program = beside(target.program.as_deref().unwrap_or(Path::new("")));
        let broker = self.brokers.as_ref().map_or("", |brokers| &brokers.address);
        let mut command = Command::new(&program);
        command
            .args(target.words.iter().map(|word| word.replace(BROKER, broker)))
            .args(flags)
            .envs(&target.env)
            .envs(&step.env)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let output = host::confined(&target.cpu, || command.output());
        let output = output.map_err(|source| ProgramError::Run {
            program: program.clone(),
            source,
        })?;
        if !output.status.success() {
            let status = output.status.to_string();
            return Err(ProgramError::Ended { program, status });
        }
        let figures: BTreeMap<String, f64> = serde_json::from_slice(&output.stdout)
            .map_err(|source| ProgramError::Form { program, source })?;
        let told = Figures {
            step: step.name.clone(),
            target: target.name.clone(),
            round,
            values: figures.clone(),
        };
        println!("{told}");
        self.figures.push(told);
        Ok(figures)
    }
}

/// A path from the folder of this program; a whole path stays as it is.
fn beside(program: &Path) -> PathBuf {
    let own = std::env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent);
    folder.map_or_else(|| program.to_path_buf(), |folder| folder.join(program))
}
