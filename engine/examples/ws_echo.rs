//! Echoes WebSocket messages through the engine's own doors, for conformance suites.
//!
//! `cargo run --example ws_echo -- --port 9001`, then point the suite at
//! `ws://127.0.0.1:9001/api/v1/events`. Ends at the first signal.

use clap::Parser;
use ringtail::frame::Encoding;
use ringtail::frame::websocket::write_message;
use ringtail::limit::{self, MESSAGE_BYTES_MAX};
use ringtail::net::{Call, Doors, Intake, Note, Outbox, Outcome, Settings, Unwelcome, Wait};
use ringtail::rt::Error;
use ringtail::rt::executor::{Plan, block_on};
use ringtail::rt::stream::{any_address, probe};
use ringtail::rt::wake::Signals;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// Echoes WebSocket messages.
#[derive(Parser)]
struct Arguments {
    /// Port to listen on.
    #[arg(long, default_value_t = 9001)]
    port: u16,
    /// Largest message, in bytes.
    #[arg(long, default_value_t = MESSAGE_BYTES_MAX)]
    max_message_bytes: usize,
}

#[derive(Clone)]
struct Echo;

impl Intake for Echo {
    type Place = ();

    async fn admit(&self, _: &Rc<Outbox>) -> Result<(), Unwelcome> {
        Ok(())
    }

    fn offer_message(
        &self,
        outbox: &Rc<Outbox>,
        encoding: Encoding,
        message: &[u8],
    ) -> Result<(), Wait> {
        outbox.answer(false, |out| write_message(encoding, message, out));
        Ok(())
    }

    fn offer_call(&self, call: &Rc<Call>, _: Encoding, body: &[u8]) -> Result<(), Wait> {
        call.answer(Outcome::Accepted, body.to_vec());
        Ok(())
    }

    async fn until(&self, _: Wait) {}

    fn note(&self, _: Note) {}

    fn now_seconds(&self) -> i64 {
        0
    }
}

async fn serve(arguments: Arguments) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let address = any_address(arguments.port);
    probe(address)?;
    let settings = Settings {
        port: arguments.port,
        grpc_port: None,
        conn_id_header: http::HeaderName::from_static("x-user-id"),
        conn_group_header: None,
        conn_group_default: "--default--".into(),
        check_origin: false,
        websocket_deflate: false,
        cors: None,
        message_bytes_max: arguments.max_message_bytes.min(MESSAGE_BYTES_MAX),
        grpc_message_bytes_max: arguments.max_message_bytes.min(MESSAGE_BYTES_MAX),
        ping_interval: limit::PING_INTERVAL,
        pong_wait: limit::PONG_WAIT,
        write_wait: limit::WRITE_WAIT,
        proof_wait: limit::PROOF_WAIT,
        head_wait: limit::HTTP_HEAD_WAIT,
        message_wait: limit::HTTP_BODY_WAIT,
    };
    let doors = Doors::open(settings, Echo, address)?;
    println!("echoing on ws://{}/api/v1/events", doors.local_address()?);
    signals.next().await?;
    doors.drain(Duration::ZERO, Duration::from_secs(5)).await;
    Ok(())
}

fn main() -> ExitCode {
    match block_on(&Plan::small("ws-echo"), serve(Arguments::parse())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) | Err(error) => {
            eprintln!("ws_echo: {error}");
            ExitCode::from(2)
        }
    }
}
