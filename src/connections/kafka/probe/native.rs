//! The one place that talks to librdkafka past its safe wrapper: the callbacks by which its sockets become ours, and the questions
//! that the wrapper does not have. Every call of it may block, so it is used on a thread of its own; nothing here decides.
//!
//! librdkafka is told to speak without TLS, looks no name up and opens no connection: what it writes goes into
//! [`Bridge`](super::bridge::Bridge). Its texts, in logs and errors, are dropped: they may hold settings.

#![expect(unsafe_code, reason = "librdkafka is a C library; each block says why it is sound")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::fd::AsRawFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    bindings::{
        rd_kafka_AclOperation_t as AclOperation, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
        rd_kafka_AdminOptions_set_include_authorized_operations, rd_kafka_AdminOptions_t,
        rd_kafka_ConsumerGroupDescription_authorized_operations, rd_kafka_ConsumerGroupDescription_error,
        rd_kafka_DescribeConsumerGroups, rd_kafka_DescribeConsumerGroups_result_groups, rd_kafka_DescribeTopics,
        rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
        rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_authorized_operations,
        rd_kafka_TopicDescription_error, rd_kafka_admin_op_t, rd_kafka_conf_set, rd_kafka_conf_set_connect_cb,
        rd_kafka_conf_t, rd_kafka_error_destroy, rd_kafka_error_t, rd_kafka_event_DescribeConsumerGroups_result,
        rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy, rd_kafka_event_t, rd_kafka_queue_destroy,
        rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_queue_t, rd_kafka_t,
    },
    client::Client,
    config::RDKafkaLogLevel,
    error::KafkaError,
    types::RDKafkaType,
};

use secrecy::zeroize::Zeroizing;
use tokio_util::sync::CancellationToken;

use super::{Unanswered, bridge::Bridge};
use crate::secret::SecretValue;

/// How long one wait of librdkafka lasts at most, so that a thread whose look has ended ends soon.
const SLICE: Duration = Duration::from_millis(50);

/// When a token that says nothing about it is taken to end, in milliseconds since 1970: librdkafka wants a time that has not come.
const FAR_OFF: i64 = 4_102_444_800_000;

// Declared once more, with the number that C returns: the bindings make an enum of it, and a broker may answer with a code that is no
// value of that enum.
// `rd_kafka_conf_set_resolve_cb` is not in the bindings at all.
unsafe extern "C" {
    fn rd_kafka_conf_set_resolve_cb(configuration: *mut rd_kafka_conf_t, callback: Option<Resolve>);
    fn rd_kafka_error_code(error: *const rd_kafka_error_t) -> c_int;
    fn rd_kafka_event_error(event: *mut rd_kafka_event_t) -> c_int;
    fn rd_kafka_AdminOptions_set_request_timeout(
        options: *mut rd_kafka_AdminOptions_t,
        timeout_ms: c_int,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    fn rd_kafka_oauthbearer_set_token(
        client: *mut rd_kafka_t,
        token: *const c_char,
        ends_ms: i64,
        principal: *const c_char,
        extensions: *mut *const c_char,
        extensions_count: usize,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
}

/// What librdkafka calls instead of `getaddrinfo`.
type Resolve = unsafe extern "C" fn(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    found: *mut *mut libc::addrinfo,
    opaque: *mut c_void,
) -> c_int;

/// A client of librdkafka that goes through a bridge and nowhere else.
pub(super) struct Native {
    client: Client<Context>,
}

/// What librdkafka's callbacks are given. The client keeps it until its last thread has ended.
struct Context {
    bridge: Bridge,
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}

    fn stats_raw(&self, _statistics: &[u8]) {}
}

/// What was answered about a topic or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// It may be seen; these operations on it are allowed.
    Allowed(Vec<Operation>),
    /// It may be seen; what is allowed is not told.
    Untold,
    /// The broker's error code about it.
    Refused(i32),
}

/// What is asked about a topic or a group that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing more.
    Nothing,
    /// Which operations on it are allowed, which the broker has to look up.
    Operations,
}

/// An operation that may be allowed; those that no permission is about are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Describe,
}

/// A token to log in with, and what goes with it.
pub(super) struct Token<'a> {
    pub text: &'a SecretValue,
    pub extensions: &'a [(&'a str, &'a str)],
}

impl Native {
    /// A client with these settings, which are right by their form, and this password. It connects by itself, to the configured
    /// broker.
    pub(super) fn new(
        config: &ClientConfig,
        password: Option<&SecretValue>,
        bridge: Bridge,
    ) -> Result<Self, Unanswered> {
        let native = config.create_native_config().map_err(|_| Unanswered)?;
        if let Some(password) = password {
            let password = Text::of(password)?;
            let mut words = [0; 512];
            // SAFETY: `native` is a live configuration that only we have; both texts end with NUL and are copied, and `words` is as
            // large as is said.
            let code = unsafe {
                rd_kafka_conf_set(
                    native.ptr(),
                    c"sasl.password".as_ptr(),
                    password.pointer(),
                    words.as_mut_ptr(),
                    words.len(),
                )
            };
            if code as i32 != 0 {
                return Err(Unanswered);
            }
        }
        // SAFETY: `native` is a live configuration that only we have; the callbacks have the types that librdkafka calls them by.
        unsafe {
            rd_kafka_conf_set_connect_cb(native.ptr(), Some(on_connect));
            rd_kafka_conf_set_resolve_cb(native.ptr(), Some(on_resolve));
        }
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_CONSUMER, Context { bridge });
        Ok(Self { client: client.map_err(|_| Unanswered)? })
    }

    /// Sets the token of OAUTHBEARER, before anything is connected to.
    pub(super) fn set_token(&self, token: &Token<'_>) -> Result<(), Unanswered> {
        let text = Text::of(token.text)?;
        let pairs = token.extensions.iter().flat_map(|(name, value)| [*name, *value]);
        let pairs: Vec<CString> = pairs.map(CString::new).collect::<Result<_, _>>().map_err(|_| Unanswered)?;
        let mut extensions: Vec<*const c_char> = pairs.iter().map(|text| text.as_ptr()).collect();
        let mut words = [0; 512];
        // SAFETY: the client is live; all texts end with NUL and outlive the call, which copies them; `extensions` has as many
        // pointers as is said, and `words` is as large as is said. librdkafka writes no pointer into `extensions`.
        let code = unsafe {
            rd_kafka_oauthbearer_set_token(
                self.pointer(),
                text.pointer(),
                FAR_OFF,
                c"connection-operator".as_ptr(),
                extensions.as_mut_ptr(),
                extensions.len(),
                words.as_mut_ptr(),
                words.len(),
            )
        };
        if code == 0 { Ok(()) } else { Err(Unanswered) }
    }

    /// Asks whether a topic is there and, where that is wanted, what may be done with it (KIP-430). The answer comes from the controller, as librdkafka has it.
    pub(super) fn describe_topic(
        &self,
        name: &str,
        wanted: Wanted,
        limit: Duration,
        given_up: &CancellationToken,
    ) -> Result<Described, Unanswered> {
        let name = CString::new(name).map_err(|_| Unanswered)?;
        let admin = Admin::new(self, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, wanted, limit)?;
        let mut names = [name.as_ptr()];
        // SAFETY: `names` is one pointer to a text that ends with NUL; the collection copies it and is destroyed below. Client,
        // options and queue are live, and librdkafka copies what it keeps of them.
        unsafe {
            let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            rd_kafka_DescribeTopics(self.pointer(), topics, admin.options, admin.queue);
            rd_kafka_TopicCollection_destroy(topics);
        }
        let event = match admin.wait(limit, given_up)? {
            Ok(event) => event,
            Err(code) => return Ok(Described::Refused(code)),
        };
        let mut count = 0;
        // SAFETY: the event is live until the end of this function, and what its results point to with it. A result of another
        // type is null. One topic was asked about, and the first is read only where there is one.
        unsafe {
            let result = rd_kafka_event_DescribeTopics_result(event.0);
            if result.is_null() {
                return Err(Unanswered);
            }
            let topics = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            if count == 0 || topics.is_null() {
                return Err(Unanswered);
            }
            let topic = *topics;
            let operations = rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
            Ok(described(rd_kafka_TopicDescription_error(topic), operations, count))
        }
    }

    /// Asks what may be done with a consumer group. The answer comes from the group's coordinator.
    pub(super) fn describe_group(
        &self,
        name: &str,
        limit: Duration,
        given_up: &CancellationToken,
    ) -> Result<Described, Unanswered> {
        let name = CString::new(name).map_err(|_| Unanswered)?;
        let admin =
            Admin::new(self, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, Wanted::Operations, limit)?;
        let mut names = [name.as_ptr()];
        // SAFETY: as for a topic; the names are copied.
        unsafe {
            rd_kafka_DescribeConsumerGroups(
                self.pointer(),
                names.as_mut_ptr(),
                names.len(),
                admin.options,
                admin.queue,
            );
        }
        let event = match admin.wait(limit, given_up)? {
            Ok(event) => event,
            Err(code) => return Ok(Described::Refused(code)),
        };
        let mut count = 0;
        // SAFETY: as for a topic.
        unsafe {
            let result = rd_kafka_event_DescribeConsumerGroups_result(event.0);
            if result.is_null() {
                return Err(Unanswered);
            }
            let groups = rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            if count == 0 || groups.is_null() {
                return Err(Unanswered);
            }
            let group = *groups;
            let operations = rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut count);
            Ok(described(rd_kafka_ConsumerGroupDescription_error(group), operations, count))
        }
    }

    fn pointer(&self) -> *mut rd_kafka_t {
        self.client.native_ptr()
    }
}

/// A secret as C takes it: with a NUL at its end. It is wiped when it is dropped; the copy that librdkafka makes is not.
struct Text(Zeroizing<Vec<u8>>);

impl Text {
    fn of(value: &SecretValue) -> Result<Self, Unanswered> {
        let bytes = value.expose();
        if bytes.contains(&0) {
            return Err(Unanswered);
        }
        let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
        text.extend(bytes);
        text.push(0);
        Ok(Self(text))
    }

    fn pointer(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// Called by librdkafka, on a thread of its own, for every connection that it opens: `socket` is a new socket of its, `id` the
/// broker's `host:port`. The socket is replaced by one end of the bridge, so that nothing that librdkafka opens leaves this process.
unsafe extern "C" fn on_connect(
    socket: c_int,
    _address: *const libc::sockaddr,
    _length: c_int,
    id: *const c_char,
    opaque: *mut c_void,
) -> c_int {
    // A panic must not cross into C.
    let connected = catch_unwind(AssertUnwindSafe(|| {
        if opaque.is_null() || id.is_null() {
            return Err(libc::EINVAL);
        }
        // SAFETY: `opaque` is what `Client::new` set: the `Context` in an `Arc` that the client drops after `rd_kafka_destroy`,
        // which waits for this thread. `id` is a text that ends with NUL and stays while we are called (the broker is locked).
        let (context, name) = unsafe { (&*opaque.cast::<Context>(), CStr::from_ptr(id)) };
        let name = name.to_str().map_err(|_| libc::EINVAL)?;
        let end = context.bridge.connect(name).map_err(|_| libc::ECONNREFUSED)?;
        // SAFETY: both are open: `socket` is librdkafka's and is used by nobody while it is being connected, `end` is ours until
        // it is dropped. `dup3` closes what `socket` was and makes it the same as `end` in one step.
        let replaced = unsafe { libc::dup3(end.as_raw_fd(), socket, libc::O_CLOEXEC) };
        if replaced == socket { Ok(()) } else { Err(libc::EIO) }
    }));
    match connected {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code,
        Err(_panic) => libc::EIO,
    }
}

/// Called by librdkafka instead of `getaddrinfo`, and with no node to give back what it was given. Every name stands for one address,
/// which is never dialled (192.0.2.1 is for documentation, RFC 5737): the bridge looks names up where they are judged.
unsafe extern "C" fn on_resolve(
    node: *const c_char,
    _service: *const c_char,
    _hints: *const libc::addrinfo,
    found: *mut *mut libc::addrinfo,
    _opaque: *mut c_void,
) -> c_int {
    if found.is_null() {
        return libc::EAI_FAIL;
    }
    if node.is_null() {
        // SAFETY: `found` holds what was made below, and is given back once; it is the first field of its structure.
        drop(unsafe { Box::from_raw((*found).cast::<Found>()) });
        return 0;
    }
    // SAFETY: zeros are a value of both structures.
    let mut made: Box<Found> = Box::new(unsafe { std::mem::zeroed() });
    let family = libc::sa_family_t::try_from(libc::AF_INET);
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>());
    let (Ok(family), Ok(length)) = (family, length) else { return libc::EAI_FAIL };
    made.address.sin_family = family;
    made.address.sin_port = 1_u16.to_be();
    made.address.sin_addr.s_addr = u32::from_ne_bytes([192, 0, 2, 1]);
    made.information.ai_family = libc::AF_INET;
    made.information.ai_socktype = libc::SOCK_STREAM;
    made.information.ai_addrlen = length;
    let made = Box::into_raw(made);
    // SAFETY: `made` is live and ours; the address stands behind what points to it, and is given back with it. `found` is a place
    // for one pointer.
    unsafe {
        (*made).information.ai_addr = (&raw mut (*made).address).cast();
        *found = made.cast();
    }
    0
}

/// What a name stands for, and the address that it points to.
#[repr(C)]
struct Found {
    information: libc::addrinfo,
    address: libc::sockaddr_in,
}

/// The options and the queue of one question; they are given back when it is dropped.
struct Admin {
    options: *mut rd_kafka_AdminOptions_t,
    queue: *mut rd_kafka_queue_t,
}

/// An answer; it is given back when it is dropped.
struct Event(*mut rd_kafka_event_t);

impl Admin {
    /// For a question that has `limit` to be answered.
    fn new(
        native: &Native,
        question: rd_kafka_admin_op_t,
        wanted: Wanted,
        limit: Duration,
    ) -> Result<Self, Unanswered> {
        let mut words = [0; 512];
        // SAFETY: the client is live and outlives what is made here, since `Admin` is dropped by the functions that borrow it;
        // `words` is as large as is said. An error that comes back is ours to destroy.
        unsafe {
            let admin = Self {
                options: rd_kafka_AdminOptions_new(native.pointer(), question),
                queue: rd_kafka_queue_new(native.pointer()),
            };
            let code = rd_kafka_AdminOptions_set_request_timeout(
                admin.options,
                milliseconds(limit),
                words.as_mut_ptr(),
                words.len(),
            );
            let error = rd_kafka_AdminOptions_set_include_authorized_operations(
                admin.options,
                c_int::from(wanted == Wanted::Operations),
            );
            if !error.is_null() {
                rd_kafka_error_destroy(error);
                return Err(Unanswered);
            }
            if code == 0 { Ok(admin) } else { Err(Unanswered) }
        }
    }

    /// Waits for the answer, in slices: an event, or the error code of a broker about the question as a whole, such as that a
    /// coordinator cannot be told.
    fn wait(&self, limit: Duration, given_up: &CancellationToken) -> Result<Result<Event, i32>, Unanswered> {
        let end = Instant::now() + limit;
        while !given_up.is_cancelled() && Instant::now() < end {
            // SAFETY: the queue is live; what comes out of it is ours.
            let event = unsafe { rd_kafka_queue_poll(self.queue, milliseconds(SLICE)) };
            if event.is_null() {
                continue;
            }
            let event = Event(event);
            // SAFETY: the event is live.
            let code = unsafe { rd_kafka_event_error(event.0) };
            return match code {
                0 => Ok(Ok(event)),
                // Those below -1 are librdkafka's own.
                -1 | 1.. => Ok(Err(code)),
                _ => Err(Unanswered),
            };
        }
        Err(Unanswered)
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // SAFETY: both were made in `new`, are dropped once, and are used by nobody else; librdkafka keeps what it still needs.
        unsafe {
            rd_kafka_queue_destroy(self.queue);
            rd_kafka_AdminOptions_destroy(self.options);
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came out of a queue, is not null and is dropped once.
        unsafe { rd_kafka_event_destroy(self.0) };
    }
}

/// What is said about a topic or a group.
///
/// # Safety
/// `error` is null or points to a live error, `operations` is null or points to `count` live operations.
unsafe fn described(error: *const rd_kafka_error_t, operations: *const AclOperation, count: usize) -> Described {
    // SAFETY: see above.
    match unsafe { (code_of(error), operations_of(operations, count)) } {
        (Some(code), _) => Described::Refused(code),
        (None, Some(allowed)) => Described::Allowed(allowed),
        (None, None) => Described::Untold,
    }
}

/// The code of an error, `None` where there is none.
///
/// # Safety
/// `error` is null or points to a live error.
unsafe fn code_of(error: *const rd_kafka_error_t) -> Option<i32> {
    if error.is_null() {
        return None;
    }
    // SAFETY: see above.
    let code = unsafe { rd_kafka_error_code(error) };
    (code != 0).then_some(code)
}

/// The operations in a list of librdkafka; `None` where the broker left them out (KIP-430: the smallest number). They are read as
/// numbers: a newer one is no value of the enum.
///
/// # Safety
/// `operations` is null or points to `count` live operations.
unsafe fn operations_of(operations: *const AclOperation, count: usize) -> Option<Vec<Operation>> {
    if operations.is_null() {
        return None;
    }
    // SAFETY: see above; an enum of C has the size of an `int`.
    let numbers = unsafe { std::slice::from_raw_parts(operations.cast::<c_int>(), count) };
    let known = [
        (AclOperation::RD_KAFKA_ACL_OPERATION_READ, Operation::Read),
        (AclOperation::RD_KAFKA_ACL_OPERATION_WRITE, Operation::Write),
        (AclOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Operation::Describe),
    ];
    let allowed = known.into_iter().filter(|(code, _)| numbers.contains(&(*code as c_int)));
    Some(allowed.map(|(_, operation)| operation).collect())
}

fn milliseconds(time: Duration) -> c_int {
    // Not 0, which some calls take for "for ever".
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX).max(1)
}
