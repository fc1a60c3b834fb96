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

/// `grpc.health.v1`.
#[expect(
    clippy::pedantic,
    reason = "generated: its style is the generator's, and nobody edits it"
)]
#[rustfmt::skip]
#[path = "generated/grpc.health.v1.rs"]
pub mod health;

/// `grpc.reflection.v1`; the older `v1alpha` has the same messages.
#[rustfmt::skip]
#[path = "generated/grpc.reflection.v1.rs"]
pub mod reflection;

pub use prost::Message;
pub use prost_types::Timestamp;
pub use prost_types::{FileDescriptorProto, FileDescriptorSet};
pub use raccoon::*;

/// Every file of `proto/` with what it imports, as gRPC's server reflection tells it: an encoded
/// [`FileDescriptorSet`].
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.binpb");

#[rustfmt::skip]
#[path = "generated/ringtail.bench.v1.rs"]
mod fleet;

/// What the events of the measuring bench hold. To the engine an event is opaque bytes.
pub mod bench {
    pub use crate::fleet::*;
}
