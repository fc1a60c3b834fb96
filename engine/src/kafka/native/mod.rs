//! librdkafka behind a small safe interface: the only folder that calls it. `admin` asks a cluster, `report` is what
//! a client has to say, `transaction` and `reading` are for those who may wait.
//!
//! Always:  a [`Topic`] and a [`Report`] keep their client alive, so that nothing outlives what it points into. Texts
//!          and payloads are copied by librdkafka before a call returns.
//! Core:    a client's handle may cross threads and be used by several: librdkafka locks for itself. Its own
//!          threads never call us: everything they have to say waits in the client's queue.
//! Cancel:  dropping the last handle ends librdkafka's threads and waits for them; messages that are still
//!          in its queues are lost, which whoever drops it must have settled.
//! Full:    librdkafka's queues are bounded by those who produce.

mod admin;
mod reading;
mod report;
mod transaction;

pub use admin::Metadata;
pub(super) use reading::{Read, Reading};
pub(super) use report::{Delivery, Report, Told};
pub use transaction::Setback;

use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// For the sentences in which librdkafka refuses something.
const TEXT_BYTES: usize = 512;
/// librdkafka's partitioner chooses.
const ANY_PARTITION: i32 = -1;
/// Headers of one record.
pub(super) const HEADERS_MAX: usize = 4;

/// A configuration under construction.
pub(super) struct Conf(NonNull<sys::rd_kafka_conf_t>);

impl Conf {
    pub(super) fn new() -> Self {
        // SAFETY: no preconditions; the result is a fresh object that only this value owns.
        let raw = unsafe { sys::rd_kafka_conf_new() };
        Self(NonNull::new(raw).expect("librdkafka allocates as everybody does"))
    }

    /// Sets one property, or gives librdkafka's sentence about what is wrong.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else {
            return Err("it holds a zero byte".to_owned());
        };
        let mut text = [0; TEXT_BYTES];
        // SAFETY: the object lives, both texts end in zero, and the buffer is as long as is said.
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.0.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            _ => Err(told(&text)),
        }
    }

    /// What a property is; `None` when there is none of this name.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        let mut bytes = 0;
        // SAFETY: the object lives, the name ends in zero; without a buffer only the length is written.
        let result = unsafe {
            let conf = self.0.as_ptr();
            sys::rd_kafka_conf_get(conf, name.as_ptr(), ptr::null_mut(), &raw mut bytes)
        };
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => {}
            // It has neither a value nor a default.
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => return Some(String::new()),
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => return None,
        }
        let mut text: Vec<c_char> = vec![0; bytes + 1];
        bytes = text.len();
        // SAFETY: as before, and the buffer is as long as is said.
        unsafe {
            let conf = self.0.as_ptr();
            sys::rd_kafka_conf_get(conf, name.as_ptr(), text.as_mut_ptr(), &raw mut bytes)
        };
        Some(told(&text))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and whoever gave it away has forgotten this value.
        unsafe { sys::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}

/// A client with its main queue.
struct Handle {
    client: NonNull<sys::rd_kafka_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Where the queue rings; open for as long as it may.
    _bell: Option<OwnedFd>,
}

// SAFETY: librdkafka's clients and queues are made to be used from any thread, several at a time.
unsafe impl Send for Handle {}
// SAFETY: as above; no state of ours is in here that changes.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: both are ours, nothing else refers to them: topics and reports hold this handle too.
        unsafe {
            sys::rd_kafka_queue_io_event_enable(self.queue.as_ptr(), -1, ptr::null(), 0);
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_destroy(self.client.as_ptr());
        }
    }
}

/// A producer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(Arc<Handle>);

impl Client {
    /// Starts a producer with its threads, which inherit the calling thread's CPUs. Delivery reports, errors,
    /// statistics and lines for the log wait in its queue, and `bell` gets a byte when the queue was empty.
    pub(super) fn start(conf: Conf, bell: Option<OwnedFd>) -> Result<Self, String> {
        Self::start_as(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, conf, bell)
    }

    /// Starts a client that only reads.
    pub(super) fn start_reader(conf: Conf) -> Result<Self, String> {
        Self::start_as(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, conf, None)
    }

    fn start_as(
        kind: sys::rd_kafka_type_t,
        conf: Conf,
        bell: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let events = sys::RD_KAFKA_EVENT_DR
            | sys::RD_KAFKA_EVENT_ERROR
            | sys::RD_KAFKA_EVENT_STATS
            | sys::RD_KAFKA_EVENT_LOG;
        let mut text = [0; TEXT_BYTES];
        // SAFETY: the configuration lives; the buffer is as long as is said.
        let client = unsafe {
            sys::rd_kafka_conf_set_events(conf.0.as_ptr(), events);
            sys::rd_kafka_new(kind, conf.0.as_ptr(), text.as_mut_ptr(), text.len())
        };
        let client = NonNull::new(client).ok_or_else(|| told(&text))?;
        // The client owns its configuration from here on.
        std::mem::forget(conf);
        // SAFETY: the client lives; lines for the log go to its main queue, of which we get a reference.
        let queue = unsafe {
            sys::rd_kafka_set_log_queue(client.as_ptr(), ptr::null_mut());
            sys::rd_kafka_queue_get_main(client.as_ptr())
        };
        let queue = NonNull::new(queue).expect("every client has a main queue");
        if let Some(bell) = &bell {
            // SAFETY: the descriptor stays open for as long as the queue may ring; the payload is copied.
            unsafe {
                let (byte, fd) = ([1u8], bell.as_raw_fd());
                sys::rd_kafka_queue_io_event_enable(queue.as_ptr(), fd, byte.as_ptr().cast(), 1);
            }
        }
        Ok(Self(Arc::new(Handle {
            client,
            queue,
            _bell: bell,
        })))
    }

    fn raw(&self) -> *mut sys::rd_kafka_t {
        self.0.client.as_ptr()
    }

    /// A topic to produce to. Nobody is asked whether it exists.
    pub(super) fn topic(&self, name: &str) -> Result<Topic, Fault> {
        let name = CString::new(name).map_err(|_| last_fault())?;
        // SAFETY: the client lives, the name ends in zero; without a configuration the client's own is used.
        let raw = unsafe { sys::rd_kafka_topic_new(self.raw(), name.as_ptr(), ptr::null_mut()) };
        let raw = NonNull::new(raw).ok_or_else(last_fault)?;
        let client = self.clone();
        Ok(Topic { raw, client })
    }

    /// The next thing that librdkafka has to say; `None` when the queue is empty. Never waits.
    pub(super) fn next(&self) -> Option<Report> {
        self.wait_for_next(0)
    }

    /// The same, waiting for so long.
    pub(super) fn wait_for_next(&self, wait_ms: i32) -> Option<Report> {
        // SAFETY: the queue lives.
        let raw = unsafe { sys::rd_kafka_queue_poll(self.0.queue.as_ptr(), wait_ms) };
        let client = self.clone();
        NonNull::new(raw).map(|raw| Report::new(raw, client))
    }

    /// Gives up everything that is queued or under way; each message comes back with a fault.
    pub(super) fn purge(&self) {
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_purge(self.raw(), flags) };
    }
}

/// A topic of a client.
pub(super) struct Topic {
    raw: NonNull<sys::rd_kafka_topic_t>,
    client: Client,
}

impl Topic {
    /// Queues one record; `mark` comes back with its delivery report. Copies; never waits.
    pub(super) fn produce(&self, key: &[u8], value: &[u8], mark: u64) -> Result<(), Fault> {
        self.produce_to(ANY_PARTITION, key, value, mark)
    }

    /// The same, to this partition.
    pub(super) fn produce_to(
        &self,
        partition: i32,
        key: &[u8],
        value: &[u8],
        mark: u64,
    ) -> Result<(), Fault> {
        let key_at = if key.is_empty() {
            ptr::null()
        } else {
            key.as_ptr().cast()
        };
        // SAFETY: the topic lives, key and value are read for their lengths during the call and copied, and the
        // mark is a number that nobody follows.
        let result = unsafe {
            sys::rd_kafka_produce(
                self.raw.as_ptr(),
                partition,
                sys::RD_KAFKA_MSG_F_COPY,
                value.as_ptr().cast_mut().cast(),
                value.len(),
                key_at,
                key.len(),
                ptr::without_provenance_mut(mark as usize),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(last_fault())
        }
    }

    /// The same with headers, and with a time in milliseconds since 1970; 0: now.
    pub(super) fn produce_with(
        &self,
        (key, value): (&[u8], &[u8]),
        headers: &[(&CStr, &[u8])],
        timestamp_ms: i64,
        mark: u64,
    ) -> Result<(), Fault> {
        use sys::rd_kafka_vtype_t as vtype;
        type Union = sys::rd_kafka_vu_s__bindgen_ty_1;
        type Memory = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1;
        type Header = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2;
        let memory = |bytes: &[u8]| Union {
            mem: Memory {
                ptr: bytes.as_ptr().cast_mut().cast(),
                size: bytes.len(),
            },
        };
        let mark: *mut c_void = ptr::without_provenance_mut(mark as usize);
        let mut values = [const { None }; 6 + HEADERS_MAX];
        let fixed = [
            Some((
                vtype::RD_KAFKA_VTYPE_RKT,
                Union {
                    rkt: self.raw.as_ptr(),
                },
            )),
            Some((
                vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                Union {
                    i: sys::RD_KAFKA_MSG_F_COPY,
                },
            )),
            Some((vtype::RD_KAFKA_VTYPE_VALUE, memory(value))),
            Some((vtype::RD_KAFKA_VTYPE_OPAQUE, Union { ptr: mark })),
            (!key.is_empty()).then(|| (vtype::RD_KAFKA_VTYPE_KEY, memory(key))),
            (timestamp_ms != 0).then_some((
                vtype::RD_KAFKA_VTYPE_TIMESTAMP,
                Union { i64_: timestamp_ms },
            )),
        ];
        let headers = headers.iter().take(HEADERS_MAX).map(|(name, value)| {
            let header = Header {
                name: name.as_ptr(),
                val: value.as_ptr().cast(),
                size: value.len() as isize,
            };
            (vtype::RD_KAFKA_VTYPE_HEADER, Union { header })
        });
        let mut count = 0;
        for (vtype, u) in fixed.into_iter().flatten().chain(headers) {
            values[count] = Some(sys::rd_kafka_vu_t { vtype, u });
            count += 1;
        }
        let nothing = sys::rd_kafka_vu_t {
            vtype: vtype::RD_KAFKA_VTYPE_END,
            u: Union { i: 0 },
        };
        let values = values.map(|value| value.unwrap_or(nothing));
        // SAFETY: the first `count` values are set, each with the member that its type names; everything they
        // point to outlives the call and is copied by it.
        unsafe {
            let error = sys::rd_kafka_produceva(self.client.raw(), values.as_ptr(), count);
            if error.is_null() {
                return Ok(());
            }
            let fault = Fault(sys::rd_kafka_error_code(error));
            sys::rd_kafka_error_destroy(error);
            Err(fault)
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and the client still lives: we hold it.
        unsafe { sys::rd_kafka_topic_destroy(self.raw.as_ptr()) };
    }
}

/// Why a record was not delivered, or a wish not granted: one of librdkafka's codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fault(sys::rd_kafka_resp_err_t);

impl Fault {
    /// A broker's error code, which librdkafka has words for; one that it does not know is "unknown" to it.
    pub fn of_broker(code: i16) -> Self {
        use sys::rd_kafka_resp_err_t as known;
        let found = known::try_from(i32::from(code));
        Self(found.unwrap_or(known::RD_KAFKA_RESP_ERR_UNKNOWN))
    }

    /// librdkafka's words, such as `Local: Unknown topic`.
    pub fn text(self) -> &'static str {
        // SAFETY: the text is a constant of the library, or of a table that is never freed.
        let text = unsafe { CStr::from_ptr(sys::rd_kafka_err2str(self.0)) };
        text.to_str().unwrap_or("an error without a name")
    }

    /// Whether the topic does not exist.
    pub fn is_unknown_topic(self) -> bool {
        use sys::rd_kafka_resp_err_t as code;
        matches!(
            self.0,
            code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                | code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        )
    }
}

impl Fault {
    /// Whether more of this topic would come to the same, until somebody changes the topic.
    pub fn is_of_the_topic(self) -> bool {
        use sys::rd_kafka_resp_err_t as code;
        let refused = matches!(
            self.0,
            code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
                | code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
                | code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        );
        refused || self.is_unknown_topic()
    }

    /// Whether this record, or one that was sent together with it, will never be taken.
    pub fn is_of_the_record(self) -> bool {
        use sys::rd_kafka_resp_err_t as code;
        matches!(
            self.0,
            code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                | code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
                | code::RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
                | code::RD_KAFKA_RESP_ERR_INVALID_RECORD
                | code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
                | code::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
        )
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

fn is_fine(error: sys::rd_kafka_resp_err_t) -> bool {
    error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

fn last_fault() -> Fault {
    // SAFETY: no preconditions; it reads a number of this thread.
    Fault(unsafe { sys::rd_kafka_last_error() })
}

fn told(text: &[c_char]) -> String {
    let bytes = text.iter().map(|letter| *letter as u8);
    let bytes: Vec<u8> = bytes.take_while(|letter| *letter != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// # Safety
/// `text` is null or ends in zero.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it ends in zero by this function's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// # Safety
/// `first` points to `count` living values, or `count` is not above 0.
unsafe fn parts<'a, T>(first: *const T, count: i32) -> &'a [T] {
    let count = usize::try_from(count).unwrap_or(0);
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by this function's promise.
    unsafe { std::slice::from_raw_parts(first, count) }
}
