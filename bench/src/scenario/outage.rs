//! A load during which a broker goes away, and its control: the same load, during which the same happens to a broker that
//! the server has nothing to do with. What a process that comes and goes takes of this machine is in both.

use std::{error::Error, time::Duration};

use super::{
    Show,
    broker::{Broker, BrokerError, Brokers},
    drain::wait_until_drained,
    file::{Away, Happens, Step},
    stage::Server,
};
use crate::{
    load::{self, Beside, Course, Failed},
    outcome::{Conclusion, Happened, Outcome},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Outage,
    Control,
}

impl Show<'_> {
    /// Measures every target on a server of its own, each round an outage and its control.
    pub(super) fn outages(&mut self, step: &Step, happens: Happens) -> Result<(), Box<dyn Error>> {
        for target in &self.scenario.target {
            let server = Server::start(target, &step.env, &self.places)?;
            let mut ratios = Vec::new();
            for round in 1..=self.scenario.rounds {
                ratios.push(self.outage_and_control(step, happens, &server, round)?);
            }
            let figure = format!("p99 of {0} over {0}-control", server.name);
            self.conclude(step, Conclusion::new(&step.name, figure, ratios));
        }
        Ok(())
    }

    fn outage_and_control(
        &mut self,
        step: &Step,
        happens: Happens,
        server: &Server,
        round: u32,
    ) -> Result<f64, Box<dyn Error>> {
        // Who is first changes: machines grow faster while they run.
        let mut parts = [Part::Control, Part::Outage];
        if round.is_multiple_of(2) {
            parts.reverse();
        }
        let (mut outage, mut control) = (None, None);
        for part in parts {
            let measured = Some(self.under_load(step, happens, server, round, part)?);
            match part {
                Part::Outage => outage = measured,
                Part::Control => control = measured,
            }
        }
        let (outage, control) = outage.zip(control).expect("both parts were measured");
        let p99 = |outcome: &Outcome| outcome.latency_us.p99 as f64;
        let ratio = p99(&outage) / p99(&control).max(1.0);
        println!(
            "{} round {round}: p99 {} us, {} us in the control, ratio {ratio:.2}",
            step.name, outage.latency_us.p99, control.latency_us.p99
        );
        self.outcomes.extend([control, outage]);
        Ok(ratio)
    }

    fn under_load(
        &mut self,
        step: &Step,
        happens: Happens,
        server: &Server,
        round: u32,
        part: Part,
    ) -> Result<Outcome, Box<dyn Error>> {
        let name = match part {
            Part::Outage => server.name.clone(),
            Part::Control => format!("{}-control", server.name),
        };
        let flags = self.load_flags(step, &[(&name, server)], &[])?;
        let brokers = self
            .brokers
            .as_mut()
            .expect("a scenario without a broker was refused");
        let mut act = Act {
            happens,
            part,
            brokers,
            admin: server.admin.as_deref(),
        };
        let (verdict, outcome) = load::measure_beside(&flags.arguments, round, &mut act)?;
        self.verdict = self.verdict.worse(verdict);
        Ok(outcome)
    }
}

/// Has a broker go and come again under a load.
struct Act<'a> {
    happens: Happens,
    part: Part,
    brokers: &'a mut Brokers,
    /// Where the server tells its backlog.
    admin: Option<&'a str>,
}

impl Act<'_> {
    fn victim(&mut self) -> Result<&mut Broker, BrokerError> {
        let victim = match self.part {
            Part::Outage => self.brokers.all.first_mut(),
            Part::Control => self.brokers.neighbour.as_mut(),
        };
        victim.ok_or(BrokerError::Nobody)
    }
}

impl Beside for Act<'_> {
    fn during(&mut self, course: &Course) -> Result<Option<Happened>, Failed> {
        let happens = self.happens;
        let victim = self.victim()?;
        course.wait_until(Duration::from_secs(happens.at));
        let began = course.now();
        victim.leave(happens.what);
        course.wait_until(began + Duration::from_secs(happens.lasts));
        let ended = course.now();
        victim.come_back(happens.what)?;
        let what = match happens.what {
            Away::Kill => "killed",
            Away::Pause => "paused",
        };
        Ok(Some(Happened {
            what: what.to_owned(),
            whom: victim.name.clone(),
            began_seconds: began.as_secs_f64(),
            ended_seconds: ended.as_secs_f64(),
        }))
    }

    /// The next part begins as this one did.
    fn after(&mut self) -> Result<(), Failed> {
        self.brokers.wait_until_all_serve()?;
        self.admin.map_or(Ok(()), wait_until_drained)
    }
}
