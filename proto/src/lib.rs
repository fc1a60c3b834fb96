//! The contract between Ringtail and its clients.
//!
//! The types are generated from `proto/`, committed, and held to their source by a test
//! (`tests/generated.rs`): building the engine needs no code generator. The hot path does not use
//! them; it visits the bytes, and these types are its oracle. All else (clients, gRPC) decodes here.

#[expect(
    clippy::pedantic,
    reason = "generated: its style is the generator's, and nobody edits it"
)]
#[rustfmt::skip]
#[path = "generated/raystack.raccoon.v1beta1.rs"]
mod raccoon;

pub use prost_types::Timestamp;
pub use raccoon::*;
