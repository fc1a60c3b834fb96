//! On the runtime that Ringtail runs on.

use std::io;

use ringtail::rt::{
    self,
    executor::{Plan, spawn_local, start, yield_if_needed},
    stream::{Listener, Stream},
};

use super::{Place, RECEIVE_BYTES, mind::Mind};

/// Serves on every place, for ever.
pub(super) fn serve(places: Vec<Place>) -> Result<(), rt::Error> {
    let mut started = Vec::new();
    for place in places {
        let plan = Plan {
            cpu: place.cpu,
            ..Plan::small(&format!("null-{}", place.number))
        };
        started.push(start(plan, move || listen(place))?);
    }
    for executor in started {
        executor.join()?;
    }
    Ok(())
}

async fn listen(place: Place) -> Result<(), rt::Error> {
    let listener = Listener::bind(place.address)?;
    place.tell();
    loop {
        // A connection that could not be accepted, for want of descriptors, is the client's trouble.
        if let Ok(stream) = listener.accept().await {
            spawn_local(async move {
                // However it ended: there is nothing to lose.
                let _ended = converse(stream).await;
            })
            .detach();
        }
        yield_if_needed().await;
    }
}

async fn converse(mut stream: Stream) -> io::Result<()> {
    stream.set_nodelay()?;
    let (mut mind, mut out) = (Mind::new(), Vec::new());
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let received = stream.receive(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        let thought = mind.think(&buffer[..received], &mut out);
        stream.send_all(&out).await?;
        out.clear();
        if thought.is_err() {
            return Ok(());
        }
        yield_if_needed().await;
    }
}
