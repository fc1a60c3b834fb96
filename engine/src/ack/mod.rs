//! Durable marks become answers: who waits, in which order, and what they are told. Knows no protocol.

pub mod ledger;

pub use ledger::Ledger;
