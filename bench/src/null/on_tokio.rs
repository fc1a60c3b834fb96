//! On tokio: one single-threaded runtime for each place, so that threads share nothing here either.

use std::{io, thread};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime, task,
};

use super::{Place, RECEIVE_BYTES, mind::Mind};
use crate::host;

const BACKLOG: i32 = 4096;

/// Serves on every place, for ever.
pub(super) fn serve(places: Vec<Place>) -> io::Result<()> {
    thread::scope(|scope| {
        let run = |place: Place| scope.spawn(move || serve_one(&place));
        let threads: Vec<_> = places.into_iter().map(run).collect();
        for thread in threads {
            thread.join().expect("a server thread does not panic")?;
        }
        Ok(())
    })
}

fn serve_one(place: &Place) -> io::Result<()> {
    if let Some(cpu) = place.cpu {
        host::pin(cpu)?;
    }
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let local = task::LocalSet::new();
    local.block_on(&runtime, listen(place))
}

async fn listen(place: &Place) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(place.address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&place.address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    place.tell();
    loop {
        // A connection that could not be accepted, for want of descriptors, is the client's trouble.
        if let Ok((stream, _)) = listener.accept().await {
            task::spawn_local(async move {
                // However it ended: there is nothing to lose.
                let _ended = converse(stream).await;
            });
        } else {
            task::yield_now().await;
        }
    }
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut mind, mut out) = (Mind::new(), Vec::new());
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        let thought = mind.think(&buffer[..received], &mut out);
        stream.write_all(&out).await?;
        out.clear();
        if thought.is_err() {
            return Ok(());
        }
    }
}
