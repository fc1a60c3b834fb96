//! Server reflection: the contract, told to tools that do not have it.
//!
//! Cancel:  a tool that goes away is forgotten with its stream.
//! Full:    one answer for each request, in order; requests are small.

use super::super::Intake;
use super::super::door::Door;
use super::message::{Messages, framed};
use super::reply::last;
use super::status::{Code, Status};
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::{self, Stream};
use hyper::body::Frame;
use ringtail_proto::reflection::server_reflection_request::MessageRequest;
use ringtail_proto::reflection::server_reflection_response::MessageResponse;
use ringtail_proto::reflection::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};
use ringtail_proto::{DESCRIPTORS, FileDescriptorProto, FileDescriptorSet, Message};
use std::pin::pin;
use std::rc::Rc;

/// Answers every request of the stream.
pub(super) fn answers<I: Intake>(
    door: Rc<Door<I>>,
    messages: Messages,
) -> impl Stream<Item = Frame<Bytes>> {
    let talk = Talk {
        door,
        messages,
        contract: Contract::read(),
        ended: false,
    };
    stream::unfold(talk, |mut talk| async move {
        let frame = talk.next().await?;
        Some((frame, talk))
    })
}

struct Talk<I> {
    door: Rc<Door<I>>,
    messages: Messages,
    contract: Contract,
    ended: bool,
}

impl<I: Intake> Talk<I> {
    async fn next(&mut self) -> Option<Frame<Bytes>> {
        if self.ended {
            return None;
        }
        let drained = pin!(self.door.lines.told_to_drain());
        let mut held = self.door.hold();
        let next = pin!(self.messages.next(&mut held));
        let end = match select(next, drained).await {
            Either::Left((Ok(Some(message)), _)) => {
                match ServerReflectionRequest::decode(message) {
                    Ok(request) => {
                        let answer = self.contract.answer(request).encode_to_vec();
                        return Some(Frame::data(framed(&answer)));
                    }
                    Err(error) => Err(Status::new(Code::Internal, error.to_string())),
                }
            }
            Either::Left((Ok(None), _)) => Ok(()),
            Either::Left((Err(status), _)) => Err(status),
            Either::Right(_) => Err(Status::new(Code::Unavailable, "the server is stopping")),
        };
        self.ended = true;
        Some(last(end))
    }
}

/// The files that the descriptors hold.
struct Contract(Vec<FileDescriptorProto>);

impl Contract {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(DESCRIPTORS);
        Self(set.expect("a test wrote these descriptors").file)
    }

    fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &request.message_request {
            Some(MessageRequest::FileByFilename(name)) => self.file(|file| file.name() == name),
            Some(MessageRequest::FileContainingSymbol(symbol)) => {
                self.file(|file| declares(file, symbol))
            }
            Some(MessageRequest::ListServices(_)) => self.services(),
            Some(
                MessageRequest::FileContainingExtension(_)
                | MessageRequest::AllExtensionNumbersOfType(_),
            ) => error(Code::NotFound, "the contract has no extensions"),
            None => error(Code::InvalidArgument, "the request asks for nothing"),
        };
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    /// The file that fits, with everything that it imports.
    fn file(&self, fits: impl Fn(&FileDescriptorProto) -> bool) -> MessageResponse {
        let Some(found) = self.0.iter().find(|file| fits(file)) else {
            return error(Code::NotFound, "the contract does not have it");
        };
        let mut files = vec![found];
        let mut next = 0;
        while let Some(file) = files.get(next).copied() {
            next += 1;
            let imports = self
                .0
                .iter()
                .filter(|other| file.dependency.iter().any(|name| name == other.name()));
            for import in imports {
                if !files.iter().any(|known| known.name() == import.name()) {
                    files.push(import);
                }
            }
        }
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: files.iter().map(|file| file.encode_to_vec()).collect(),
        })
    }

    fn services(&self) -> MessageResponse {
        let named = |file: &FileDescriptorProto| {
            let package = file.package().to_owned();
            let services = file.service.iter();
            let names = services.map(move |service| format!("{package}.{}", service.name()));
            names.collect::<Vec<_>>()
        };
        let names = self.0.iter().flat_map(named);
        MessageResponse::ListServicesResponse(ListServiceResponse {
            service: names.map(|name| ServiceResponse { name }).collect(),
        })
    }
}

/// Whether the file declares this full name: a message, an enum, a service or a method.
fn declares(file: &FileDescriptorProto, symbol: &str) -> bool {
    let inside = symbol.strip_prefix(file.package());
    let Some(path) = inside.and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let is_enum = rest.is_empty() && file.enum_type.iter().any(|one| one.name() == first);
    let in_message = file.message_type.iter().any(|message| {
        let nested = || {
            let enums = message.enum_type.iter().any(|one| one.name() == rest);
            let fields = message.field.iter().any(|one| one.name() == rest);
            let messages = message.nested_type.iter().any(|one| one.name() == rest);
            enums || fields || messages
        };
        message.name() == first && (rest.is_empty() || nested())
    });
    let in_service = file.service.iter().any(|service| {
        let method = || service.method.iter().any(|one| one.name() == rest);
        service.name() == first && (rest.is_empty() || method())
    });
    is_enum || in_message || in_service
}

fn error(code: Code, text: &str) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code as i32,
        error_message: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_name_is_found_in_its_file() {
        let contract = Contract::read();
        let file_of = |symbol: &str| {
            let found = contract.0.iter().find(|file| declares(file, symbol));
            found.map(|file| file.name().to_owned())
        };
        let raccoon = Some("raystack/raccoon/v1beta1/raccoon.proto".to_owned());
        for symbol in [
            "raystack.raccoon.v1beta1.EventService",
            "raystack.raccoon.v1beta1.EventService.SendEvent",
            "raystack.raccoon.v1beta1.Event.event_bytes",
            "raystack.raccoon.v1beta1.Status",
        ] {
            assert_eq!(file_of(symbol), raccoon, "{symbol}");
        }
        let health = "grpc.health.v1.HealthCheckResponse.ServingStatus";
        assert_eq!(
            file_of(health).as_deref(),
            Some("grpc/health/v1/health.proto")
        );
        for symbol in ["", "raystack", "raystack.raccoon.v1beta1.Nothing", "Event"] {
            assert_eq!(file_of(symbol), None, "{symbol}");
        }
    }

    #[test]
    fn a_file_comes_with_its_imports() {
        let answer = Contract::read().file(|file| file.name().ends_with("raccoon.proto"));
        let MessageResponse::FileDescriptorResponse(files) = answer else {
            panic!("{answer:?}");
        };
        let names = files.file_descriptor_proto.iter().map(|bytes| {
            let file = FileDescriptorProto::decode(&bytes[..]).unwrap();
            file.name().to_owned()
        });
        let wanted = [
            "raystack/raccoon/v1beta1/raccoon.proto",
            "google/protobuf/timestamp.proto",
        ];
        assert_eq!(names.collect::<Vec<_>>(), wanted);
    }
}
