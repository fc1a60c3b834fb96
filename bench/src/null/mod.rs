//! A server of the same protocol that answers and forgets: the floor below which nothing can go.
//!
//! What a server costs that keeps its events is what it takes beyond this. On Ringtail's own runtime
//! it is the floor of Ringtail; on tokio, that of what most servers in Rust stand on. Both run the same
//! [`mind::Mind`], so they differ in nothing but the runtime.
//! Cancel:  ends when it is killed; there is nothing to lose.

mod mind;
mod on_ringtail;
mod on_tokio;

use std::{
    net::SocketAddr,
    sync::mpsc::{self, Sender},
    thread,
};

use crate::{Verdict, host};

/// Bytes taken from a socket at once.
const RECEIVE_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes any free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[arg(long, value_enum, default_value_t = Runtime::Ringtail)]
    runtime: Runtime,
    /// Threads; each has its own listener on the same port.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Cores for the threads, in turn; without it they run where the system puts them.
    #[arg(long, value_delimiter = ',')]
    cpu: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Runtime {
    /// The runtime that Ringtail runs on.
    Ringtail,
    Tokio,
}

/// One thread's orders.
#[derive(Clone, Debug)]
struct Place {
    address: SocketAddr,
    number: u16,
    cpu: Option<usize>,
    /// Told when this thread listens.
    listens: Sender<()>,
}

impl Place {
    /// This thread listens.
    fn tell(&self) {
        // It fails when nobody is left to print it.
        let _nobody = self.listens.send(());
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn std::error::Error>> {
    host::allow_as_many_open_files_as_possible();
    let address = claim(arguments.listen)?;
    let (listens, listening) = mpsc::channel();
    let places = (0..arguments.threads).map(|number| Place {
        address,
        number,
        listens: listens.clone(),
        cpu: arguments
            .cpu
            .get(usize::from(number) % arguments.cpu.len().max(1))
            .copied(),
    });
    let places: Vec<_> = places.collect();
    drop(listens);
    let (threads, runtime) = (arguments.threads, arguments.runtime);
    thread::spawn(move || {
        // Whoever reads this line may connect: it comes when all threads listen, and not at all when
        // one of them cannot.
        if listening.iter().take(threads.into()).count() == usize::from(threads) {
            println!("listening on {address}, {runtime:?}");
        }
    });
    match runtime {
        Runtime::Ringtail => on_ringtail::serve(places)?,
        Runtime::Tokio => on_tokio::serve(places)?,
    }
    Ok(Verdict::Kept)
}

/// Finds the port when any will do, and sees that nobody else listens there: listeners of one user
/// share a port without a word.
fn claim(wanted: SocketAddr) -> std::io::Result<SocketAddr> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(wanted),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&wanted.into())?;
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| std::io::ErrorKind::AddrNotAvailable.into())
}
