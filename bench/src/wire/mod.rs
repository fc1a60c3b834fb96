//! What goes over a connection: one protocol for each file, the same few questions to each.
//!
//! A further protocol is a variant of [`Protocol`], a file beside these, and an arm in each `match`
//! below. Most are spoken byte by byte, with nothing to remember; gRPC has a [`grpc::Client`] for each
//! connection.

pub(crate) mod ask;
pub(crate) mod grpc;
pub(crate) mod rest;
mod target;
pub(crate) mod websocket;

use std::net::IpAddr;

use bytes::Bytes;
use serde::Serialize;

pub(crate) use target::{ConnectError, Source, Target};

use crate::record::Order;

/// Bytes that a connection may have to hold before an answer is whole.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    WebSocket,
    /// The same with permessage-deflate (RFC 7692) on what is sent.
    #[serde(rename = "websocket-deflate")]
    WebSocketDeflate,
    Rest,
    /// A call for each batch.
    Grpc,
    /// One call for all batches of a connection.
    #[serde(rename = "grpc-stream")]
    GrpcStream,
}

/// A request as it goes over the wire; what differs between connections goes between its parts.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// A `SendEventResponse`, as protobuf.
    Answer(&'a [u8]),
    /// To be sent back.
    Ping(&'a [u8]),
    Nothing,
    /// The connection is of no more use, and why.
    Closed(String),
}

/// What was at the head of the bytes that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken<'a> {
    /// How many bytes it took.
    pub(crate) bytes: usize,
    pub(crate) heard: Heard<'a>,
}

impl Protocol {
    /// The protocol that a URL's scheme names, and the rest of the URL.
    fn of_url(url: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        match scheme {
            "ws" => Some((Self::WebSocket, rest)),
            "ws-deflate" => Some((Self::WebSocketDeflate, rest)),
            "http" => Some((Self::Rest, rest)),
            "grpc" => Some((Self::Grpc, rest)),
            "grpc-stream" => Some((Self::GrpcStream, rest)),
            _ => None,
        }
    }

    /// What a server owes to the batches of one connection.
    pub(crate) fn order(self) -> Order {
        match self {
            Self::Grpc => Order::OfCalls,
            Self::WebSocket | Self::WebSocketDeflate | Self::Rest | Self::GrpcStream => {
                Order::OfSending
            }
        }
    }

    /// Whether a library keeps the state of each connection.
    pub(crate) fn has_client(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcStream)
    }

    /// Where a server takes events when a URL does not say so.
    fn path(self) -> &'static str {
        match self {
            Self::WebSocket | Self::WebSocketDeflate | Self::Rest => "/",
            Self::Grpc => grpc::UNARY_PATH,
            Self::GrpcStream => grpc::STREAM_PATH,
        }
    }

    /// Whether a server can be asked again before it has answered.
    pub(crate) fn takes_many_at_once(self) -> bool {
        match self {
            Self::WebSocket | Self::WebSocketDeflate | Self::Grpc | Self::GrpcStream => true,
            Self::Rest => false,
        }
    }

    /// What a client says first on a new connection; empty when it may ask at once.
    pub(crate) fn opening(self, target: &Target, identity: &[(&str, &str)]) -> Vec<u8> {
        match self {
            Self::WebSocket => websocket::upgrade(target, identity),
            Self::WebSocketDeflate => {
                let mut identity = identity.to_vec();
                identity.push(websocket::DEFLATE_OFFER);
                websocket::upgrade(target, &identity)
            }
            Self::Rest | Self::Grpc | Self::GrpcStream => Vec::new(),
        }
    }

    /// The end of the answer to the opening, when it is whole.
    pub(crate) fn opened(self, bytes: &[u8]) -> Result<Option<usize>, ConnectError> {
        match self {
            Self::WebSocket => websocket::upgraded(bytes),
            Self::WebSocketDeflate => websocket::upgraded_with_deflate(bytes),
            Self::Rest | Self::Grpc | Self::GrpcStream => Ok(Some(0)),
        }
    }

    /// What a connection puts between the parts of each of its requests.
    pub(crate) fn own_part(self, identity: &[(&str, &str)]) -> Vec<u8> {
        match self {
            Self::WebSocket | Self::WebSocketDeflate | Self::Grpc | Self::GrpcStream => Vec::new(),
            Self::Rest => rest::own_part(identity),
        }
    }

    /// Puts a request into its envelope.
    pub(crate) fn prepare(self, target: &Target, request: &[u8]) -> Prepared {
        match self {
            Self::WebSocket => {
                let mut body = Vec::new();
                websocket::write_frame(websocket::BINARY, request, &mut body);
                let (head, body) = (Vec::new(), body.into());
                Prepared { head, body }
            }
            Self::WebSocketDeflate => {
                let mut body = Vec::new();
                websocket::write_deflated(request, &mut body);
                let (head, body) = (Vec::new(), body.into());
                Prepared { head, body }
            }
            Self::Rest => rest::prepare(target, request),
            Self::Grpc | Self::GrpcStream => Prepared {
                head: Vec::new(),
                body: grpc::prepare(request),
            },
        }
    }

    /// Takes one thing that the server said off the head of `bytes`; `None` when it is not whole.
    pub(crate) fn take(self, bytes: &[u8]) -> Option<Taken<'_>> {
        match self {
            Self::WebSocket | Self::WebSocketDeflate => websocket::take(bytes),
            Self::Rest => rest::take(bytes),
            // Its client reads the socket.
            Self::Grpc | Self::GrpcStream => None,
        }
    }

    /// The answer to a ping.
    pub(crate) fn pong(self, payload: &[u8]) -> Vec<u8> {
        let mut pong = Vec::new();
        match self {
            Self::WebSocket | Self::WebSocketDeflate => {
                websocket::write_frame(websocket::PONG, payload, &mut pong);
            }
            Self::Rest | Self::Grpc | Self::GrpcStream => {}
        }
        pong
    }
}

/// The loopback address with this last byte.
pub(crate) fn loopback(last_byte: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last_byte])
}
