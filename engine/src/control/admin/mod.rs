//! The admin port: health, metrics, reading back, deleting and truncating topics, dead letters, over HTTP/1.
//!
//! Core:    the control core's executor; one task for each connection.
//! Always:  a change of the store is answered when it is durable.
//! Cancel:  a client that goes away drops its question.
//! Full:    beyond a bound of connections new ones are closed at once; a connection lives no longer
//!          than a bound, so that clients that stop reading cannot hold all of them.

mod change;
mod pages;
mod records;
mod time;

use super::config::Settings;
use super::fleet::{Fleet, Unanswered};
use crate::limit;
use crate::log::Copies;
use crate::rt::executor::{Task, spawn_local};
use crate::rt::hyper::{Io, Timers};
use crate::rt::stream::{Listener, Stream};
use crate::rt::timer;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// How long a request's head may take, and a connection may live.
const HEAD_WAIT: Duration = Duration::from_secs(10);
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// After an error that may pass, such as no more open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Reply = Response<Full<Bytes>>;

/// What every request needs.
struct Office {
    fleet: Rc<Fleet>,
    metrics_path: Box<str>,
    copies: Copies,
    /// Events go to Kafka, and there is no log.
    has_no_log: bool,
    /// Whether events are forwarded from the log.
    spools: bool,
    /// There is more than one copy of events.
    several: bool,
    connections: Cell<usize>,
    /// Connections that found the port full.
    turned_away: Cell<u64>,
}

/// Serves the port until the task is dropped.
pub(super) fn serve(listener: Listener, fleet: Rc<Fleet>, settings: &Settings) -> Task<()> {
    let office = Rc::new(Office {
        fleet,
        metrics_path: settings.metrics_path.clone(),
        copies: settings.shard.log.copies,
        has_no_log: settings.shard.kafka.is_some(),
        spools: settings.shard.spool.is_some(),
        several: 1 < settings.shard.log.volumes.len(),
        connections: Cell::new(0),
        turned_away: Cell::new(0),
    });
    spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok(stream) => office.clone().admit(stream),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(error) => {
                    tracing::warn!("the admin port cannot accept a connection: {error}");
                    timer::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl Office {
    fn admit(self: Rc<Self>, stream: Stream) {
        if limit::ADMIN_CONNECTIONS_MAX <= self.connections.get() {
            self.turned_away.set(self.turned_away.get() + 1);
            return;
        }
        self.connections.set(self.connections.get() + 1);
        let connection = async move {
            let office = Rc::clone(&self);
            let serve = service_fn(move |request| Rc::clone(&office).answer(request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(Timers)
                .half_close(true)
                .header_read_timeout(HEAD_WAIT)
                .max_buf_size(limit::HTTP_HEAD_BYTES_MAX)
                .serve_connection(Io::new(stream), serve);
            // Clients come and go as they like; how one goes is of no concern.
            let _gone = timer::timeout(CONNECTION_LIFE, served).await;
            self.connections.set(self.connections.get() - 1);
        };
        spawn_local(connection).detach();
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Reply, Infallible> {
        let path = request.uri().path();
        let topic = path
            .strip_prefix("/topics/")
            .filter(|rest| !rest.contains('/'));
        let topic = topic.map(str::to_owned);
        match (request.method(), topic) {
            (&Method::GET | &Method::HEAD, _) => Ok(self.show(&request).await),
            (&Method::DELETE | &Method::PATCH, Some(_)) if self.has_no_log => Ok(refuse(
                StatusCode::CONFLICT,
                "events go to Kafka: its own tools delete topics and records",
            )),
            (&Method::DELETE, Some(topic)) => Ok(change::delete(&self.fleet, &topic).await),
            (&Method::PATCH, Some(topic)) => {
                Ok(change::truncate(&self.fleet, &topic, request.into_body()).await)
            }
            (&Method::POST, None) if path == "/spool/retry" && !self.spools => Ok(refuse(
                StatusCode::CONFLICT,
                "nothing is forwarded to Kafka: publisher.type is not spool",
            )),
            (&Method::POST, None) if path == "/spool/retry" => {
                Ok(change::retry(&self.fleet, request.into_body()).await)
            }
            (_, topic) => {
                let mut reply = refuse(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this is not answered here; see the header Allow",
                );
                let allowed = match (topic, path) {
                    (Some(_), _) => "GET, HEAD, DELETE, PATCH",
                    (None, "/spool/retry") => "POST",
                    (None, _) => "GET, HEAD",
                };
                let allowed = header::HeaderValue::from_static(allowed);
                reply.headers_mut().insert(header::ALLOW, allowed);
                Ok(reply)
            }
        }
    }

    async fn show(&self, request: &Request<Incoming>) -> Reply {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
        match parts[..] {
            ["healthz"] => pages::health(),
            ["readyz"] => {
                let copies = self.several.then_some(self.copies);
                pages::readiness(&self.fleet, copies, self.spools).await
            }
            ["topics"] => pages::topics(&self.fleet).await,
            ["volumes"] => pages::volumes(&self.fleet, self.copies).await,
            ["topics", topic, "partitions", partition, "records"] => {
                records::read(&self.fleet, topic, partition, query).await
            }
            _ if uri.path() == &*self.metrics_path => {
                pages::metrics(&self.fleet, self.copies, self.turned_away.get()).await
            }
            _ => refuse(
                StatusCode::NOT_FOUND,
                "there is nothing here; see /topics and /volumes",
            ),
        }
    }
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    reply(status, "application/json", format!("{value}\n"))
}

fn refuse(status: StatusCode, why: impl std::fmt::Display) -> Reply {
    json(status, &serde_json::json!({ "error": why.to_string() }))
}

impl From<Unanswered> for Reply {
    fn from(why: Unanswered) -> Self {
        let status = match why {
            Unanswered::Busy | Unanswered::Absent => StatusCode::SERVICE_UNAVAILABLE,
            Unanswered::Late => StatusCode::GATEWAY_TIMEOUT,
        };
        refuse(status, why)
    }
}

#[cfg(test)]
mod tests;
