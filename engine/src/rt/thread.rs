//! A thread for calls that wait: no executor, no rings.

use super::Error;
use super::executor::Alarm;
use super::host;

/// Starts a thread on these CPUs (anywhere, when there are none); what it starts stays there too. A panic on it ends
/// the process.
pub fn start(
    name: String,
    cpus: &[usize],
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let alarm = Alarm(name.clone());
    let run = move || {
        let _alarm = alarm;
        body();
    };
    let builder = std::thread::Builder::new().name(name.clone());
    let started = host::on_cpus(cpus, || builder.spawn(run)).and_then(|started| started);
    let failed = |source| Error::Thread { name, source };
    started.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_under_its_name_where_it_was_told_to() {
        let all = host::allowed_cpus();
        let last = all[all.len() - 1];
        let (tell, told) = std::sync::mpsc::channel();
        let body = move || {
            let name = std::thread::current().name().map(str::to_owned);
            tell.send((name, host::cpus_of_this_thread())).unwrap();
        };
        start("waits-7".to_owned(), &[last], body).unwrap();
        let seen = told.recv().unwrap();
        assert_eq!(seen, (Some("waits-7".to_owned()), vec![last]));
    }
}
