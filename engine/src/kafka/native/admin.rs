//! What is asked of a cluster: its topics, and new ones. Every question waits for its answer.

use super::{Client, Fault, TEXT_BYTES, is_fine, parts, sys, text_of, told};
use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

impl Client {
    /// Asks the cluster for its brokers and all topics; waits for up to `wait_ms`.
    pub(in crate::kafka) fn metadata(&self, wait_ms: i32) -> Result<Metadata, Fault> {
        let mut found = ptr::null();
        // SAFETY: the client lives; what is found is given back below.
        let error = unsafe {
            sys::rd_kafka_metadata(self.raw(), 1, ptr::null_mut(), &raw mut found, wait_ms)
        };
        let Some(found) = NonNull::new(found.cast_mut()).filter(|_| is_fine(error)) else {
            return Err(Fault(error));
        };
        // SAFETY: librdkafka filled it, with as many topics as it says, and each name ends in zero.
        unsafe {
            let all = found.as_ref();
            let topics = parts(all.topics, all.topic_cnt);
            let topic = |topic: &sys::rd_kafka_metadata_topic| {
                let name = CStr::from_ptr(topic.topic).to_string_lossy();
                (name.into(), topic.partition_cnt.unsigned_abs())
            };
            let known = topics.iter().filter(|topic| is_fine(topic.err));
            let metadata = Metadata {
                brokers: all.broker_cnt.unsigned_abs(),
                topics: known.map(topic).collect(),
            };
            sys::rd_kafka_metadata_destroy(found.as_ptr());
            Ok(metadata)
        }
    }

    /// Makes topics, each with this many partitions and replicas (-1: the cluster's default); waits for up to
    /// `wait_ms`. Gives what became of each that was not made; that it exists already is no fault.
    pub(in crate::kafka) fn create(
        &self,
        names: &[&str],
        shape: (i32, i32),
        wait_ms: i32,
    ) -> Result<Vec<(String, String)>, String> {
        self.create_with(names, shape, &[], wait_ms)
    }

    /// The same, with settings of the topics beside the cluster's own.
    pub(in crate::kafka) fn create_with(
        &self,
        names: &[&str],
        (partitions, replicas): (i32, i32),
        settings: &[(&CStr, &CStr)],
        wait_ms: i32,
    ) -> Result<Vec<(String, String)>, String> {
        let wanted = names
            .iter()
            .map(|name| NewTopic::new(name, partitions, replicas));
        let wanted: Vec<NewTopic> = wanted.collect::<Result<_, _>>()?;
        for topic in &wanted {
            for (name, value) in settings {
                topic.set(name, value);
            }
        }
        let mut raw: Vec<_> = wanted.iter().map(|topic| topic.0.as_ptr()).collect();
        let wish = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        // SAFETY: the topics live until the answer is there.
        let ask = |options, queue| unsafe {
            sys::rd_kafka_CreateTopics(self.raw(), raw.as_mut_ptr(), raw.len(), options, queue);
        };
        // SAFETY: the event is a living one.
        self.wish(wish, wait_ms, ask, |event| Ok(unsafe { created(event) }))
    }

    /// What a topic's settings say under this name; `None` when the cluster knows no such setting. Waits for up to
    /// `wait_ms`.
    pub(in crate::kafka) fn setting_of_topic(
        &self,
        topic: &str,
        setting: &str,
        wait_ms: i32,
    ) -> Result<Option<String>, String> {
        let topic = CString::new(topic).map_err(|_| "it holds a zero byte".to_owned())?;
        let of_topic = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let wish = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        // SAFETY: the name ends in zero and is copied; the object lives until the answer is there, and is given back
        // once.
        unsafe {
            let mut resource = sys::rd_kafka_ConfigResource_new(of_topic, topic.as_ptr());
            let ask = |options, queue| {
                sys::rd_kafka_DescribeConfigs(self.raw(), &raw mut resource, 1, options, queue);
            };
            let read = |event| described(event, setting);
            let found = self.wish(wish, wait_ms, ask, read);
            sys::rd_kafka_ConfigResource_destroy(resource);
            found
        }
    }

    /// Has the cluster do something, and waits for its answer: a living event without an error is read.
    fn wish<T>(
        &self,
        kind: sys::rd_kafka_admin_op_t,
        wait_ms: i32,
        ask: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
        read: impl FnOnce(*mut sys::rd_kafka_event_t) -> Result<T, String>,
    ) -> Result<T, String> {
        // SAFETY: everything lives until the answer was read, and each object is given back once. Nobody asks for
        // more than librdkafka knows of an operation: what it refuses of the options stays at its default.
        unsafe {
            let queue = sys::rd_kafka_queue_new(self.raw());
            let options = sys::rd_kafka_AdminOptions_new(self.raw(), kind);
            let (mut text, bytes) = ([0; TEXT_BYTES], TEXT_BYTES);
            let said = text.as_mut_ptr();
            sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, said, bytes);
            sys::rd_kafka_AdminOptions_set_operation_timeout(options, wait_ms, said, bytes);
            ask(options, queue);
            let event = sys::rd_kafka_queue_poll(queue, wait_ms + 1_000);
            let result = if event.is_null() {
                Err("the cluster did not answer in time".to_owned())
            } else if is_fine(sys::rd_kafka_event_error(event)) {
                read(event)
            } else {
                Err(text_of(sys::rd_kafka_event_error_string(event)))
            };
            if !event.is_null() {
                sys::rd_kafka_event_destroy(event);
            }
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_queue_destroy(queue);
            result
        }
    }
}

/// Reads the answer to a wish for topics.
///
/// # Safety
/// `event` is a living event.
unsafe fn created(event: *mut sys::rd_kafka_event_t) -> Vec<(String, String)> {
    // SAFETY: the event lives by this function's promise, and what it holds lives with it.
    unsafe {
        let result = sys::rd_kafka_event_CreateTopics_result(event);
        let mut count = 0;
        let rows = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
        let mut refused = Vec::new();
        for row in parts(rows, count as i32) {
            let error = sys::rd_kafka_topic_result_error(*row);
            let exists = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
            if !is_fine(error) && error != exists {
                let name = text_of(sys::rd_kafka_topic_result_name(*row));
                let said = text_of(sys::rd_kafka_topic_result_error_string(*row));
                let plain = || Fault(error).text().to_owned();
                refused.push((name, if said.is_empty() { plain() } else { said }));
            }
        }
        refused
    }
}

/// Reads one setting out of the answer to a question for those of one topic.
///
/// # Safety
/// `event` is a living event.
unsafe fn described(
    event: *mut sys::rd_kafka_event_t,
    setting: &str,
) -> Result<Option<String>, String> {
    // SAFETY: the event lives by this function's promise, and what it holds lives with it. Names end in zero, and so
    // do values that are there.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event);
        let mut count = 0;
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        for resource in parts(resources, count as i32) {
            if !is_fine(sys::rd_kafka_ConfigResource_error(*resource)) {
                return Err(text_of(sys::rd_kafka_ConfigResource_error_string(
                    *resource,
                )));
            }
            let entries = sys::rd_kafka_ConfigResource_configs(*resource, &raw mut count);
            for entry in parts(entries, count as i32) {
                let value = sys::rd_kafka_ConfigEntry_value(*entry);
                if text_of(sys::rd_kafka_ConfigEntry_name(*entry)) == setting && !value.is_null() {
                    return Ok(Some(text_of(value)));
                }
            }
        }
        Ok(None)
    }
}

struct NewTopic(NonNull<sys::rd_kafka_NewTopic_t>);

impl NewTopic {
    fn new(name: &str, partitions: i32, replicas: i32) -> Result<Self, String> {
        let name = CString::new(name).map_err(|_| "it holds a zero byte".to_owned())?;
        let mut text = [0; TEXT_BYTES];
        // SAFETY: the name ends in zero; the buffer is as long as is said.
        let raw = unsafe {
            let (said, bytes) = (text.as_mut_ptr(), text.len());
            sys::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replicas, said, bytes)
        };
        NonNull::new(raw).map(Self).ok_or_else(|| told(&text))
    }

    fn set(&self, name: &CStr, value: &CStr) {
        // SAFETY: the object lives, and both texts end in zero and are copied.
        unsafe {
            sys::rd_kafka_NewTopic_set_config(self.0.as_ptr(), name.as_ptr(), value.as_ptr());
        }
    }
}

impl Drop for NewTopic {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { sys::rd_kafka_NewTopic_destroy(self.0.as_ptr()) };
    }
}

/// What a cluster says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub brokers: u32,
    /// Each with its number of partitions.
    pub topics: Vec<(Box<str>, u32)>,
}
