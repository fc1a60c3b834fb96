//! A way to a broker that says it is older than it is. The real one answers everything; only what it says of the versions of
//! one request is changed, so that a client meets the cluster of an operator who has not moved yet.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The numbers of Kafka's requests: <https://kafka.apache.org/protocol.html#protocol_api_keys>.
const PRODUCE: i16 = 0;
const API_VERSIONS: i16 = 18;
/// The last version of produce before record batches of our kind may be sent with it.
const PRODUCE_MOST: i16 = 6;

/// A port that leads to a broker.
pub struct Older {
    listener: TcpListener,
}

impl Older {
    /// # Panics
    /// When no port is free.
    pub fn bind() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        Self { listener }
    }

    /// # Panics
    /// When the system does not say.
    pub fn port(&self) -> u16 {
        let address = self.listener.local_addr().expect("it is bound");
        address.port()
    }

    /// Leads to this port from now on. So many are told the truth when they ask in the oldest way; from then on, it is older.
    ///
    /// # Panics
    /// When there is no thread to be had.
    pub fn lead_to(self, broker: u16, truths: usize) {
        let truths = Arc::new(AtomicUsize::new(truths));
        thread::spawn(move || {
            for client in self.listener.incoming().flatten() {
                // A broker that is away is seen by the client as one.
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)) else {
                    continue;
                };
                lead(client, broker, &truths);
            }
        });
    }
}

fn lead(client: TcpStream, broker: TcpStream, truths: &Arc<AtomicUsize>) {
    let asked = Arc::new(Mutex::new(None));
    let (back, forth) = (client.try_clone(), broker.try_clone());
    let (Ok(back), Ok(forth)) = (back, forth) else {
        return;
    };
    let (noting, truths) = (Arc::clone(&asked), Arc::clone(truths));
    thread::spawn(move || {
        let _end = pass(client, forth, |message| {
            let number = versions_asked(message)?;
            let is_true = truths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
            if is_true.is_err() {
                *noting.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
            }
            Some(())
        });
    });
    thread::spawn(move || {
        let _end = pass(broker, back, |message| {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let number = i32::from_be_bytes(*message.first_chunk()?);
            if *asked == Some(number) {
                *asked = None;
                make_older(message)?;
            }
            Some(())
        });
    });
}

/// Passes whole messages on until one side ends; what `look` makes of them goes out.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    mut look: impl FnMut(&mut [u8]) -> Option<()>,
) -> io::Result<()> {
    let passed = (|| {
        loop {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            let bytes = u32::from_be_bytes(length) as usize;
            let mut message = vec![0; 4 + bytes];
            message[..4].copy_from_slice(&length);
            from.read_exact(&mut message[4..])?;
            let _of_no_interest = look(&mut message[4..]);
            to.write_all(&message)?;
        }
    })();
    let _other = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    passed
}

/// The number of a question for versions, when it is asked in the oldest way.
fn versions_asked(message: &[u8]) -> Option<i32> {
    let (key, rest) = message.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let is_it = i16::from_be_bytes(*key) == API_VERSIONS && i16::from_be_bytes(*version) == 0;
    is_it.then(|| rest.first_chunk().map(|number| i32::from_be_bytes(*number)))?
}

/// Number and code of the answer, a count, and rows of a request's number, its least and its most version.
fn make_older(answer: &mut [u8]) -> Option<()> {
    let rows = answer.get_mut(10..)?.chunks_exact_mut(6);
    for row in rows {
        if *row.first_chunk()? == PRODUCE.to_be_bytes() {
            row[4..].copy_from_slice(&PRODUCE_MOST.to_be_bytes());
        }
    }
    Some(())
}
