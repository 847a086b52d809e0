//! One line for each finished request.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::quantity::Ratio;
use intertie_core::telemetry::{Access, Snapshot, Source};
use serde::{Serialize, Serializer};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Words for people.
    Text,
}

/// The access log: a queue and the thread that writes it.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<(Timestamp, Access)>,
    clock: WallClock,
    dropped: Arc<AtomicU64>,
}

/// Ends when the log is dropped and everything is written.
pub type Writer = JoinHandle<()>;

impl AccessLog {
    /// Writes to `target` from now on. At most `waiting` requests wait to be written; further ones are dropped and
    /// counted, so that a slow disk never slows a request.
    ///
    /// # Errors
    /// When the thread can not be started.
    pub fn start(
        target: Box<dyn Write + Send>,
        format: Format,
        waiting: NonZeroU32,
        clock: WallClock,
    ) -> io::Result<(Self, Writer)> {
        let (queue, received) = sync_channel(waiting.get() as usize);
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        // At a million requests a second a short queue is full in less than the usual time.
        let gather = GATHER.min(Duration::from_micros(waiting.get().into()));
        let writer = thread.spawn(move || write(&received, target, format, gather, &lost))?;
        Ok((Self { queue, clock, dropped }, writer))
    }

    /// Writes a request, or counts it as dropped. Never waits.
    pub fn log(&self, access: Access) {
        let sent = self.queue.try_send((self.clock.now(), access));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Source for AccessLog {
    fn read(&self, snapshot: &mut Snapshot) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        snapshot.counter(
            "access_log_dropped",
            "Requests that the access log could not keep up with.",
            &[],
            dropped,
        );
    }
}

/// Writes what comes until nobody can send any more. What a full disk refuses is counted as dropped, and
/// the next lines are tried again.
fn write(
    received: &Receiver<(Timestamp, Access)>,
    mut target: Box<dyn Write + Send>,
    format: Format,
    gather: Duration,
    dropped: &AtomicU64,
) {
    let mut lines = Vec::new();
    while let Ok(first) = received.recv() {
        // A data thread that finds this one in `recv` has to wake it, which costs more than the line.
        std::thread::sleep(gather);
        let mut waiting = std::iter::once(first).chain(received.try_iter()).peekable();
        while waiting.peek().is_some() {
            lines.clear();
            let mut count = 0;
            // In pieces that stay small.
            while lines.len() < BATCH_BYTES
                && let Some((at, access)) = waiting.next()
            {
                match format {
                    Format::Json => json_line(&mut lines, at, &access),
                    Format::Text => lines.extend_from_slice(text_line(at, &access).as_bytes()),
                }
                lines.push(b'\n');
                count += 1;
            }
            if target.write_all(&lines).and_then(|()| target.flush()).is_err() {
                dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

/// For so long lines are gathered at most before they are written.
const GATHER: Duration = Duration::from_millis(5);

/// The size at which waiting lines are written before more are gathered.
const BATCH_BYTES: usize = 64 * 1024;

/// A line in JSON, as its members stand in it.
#[derive(Serialize)]
struct JsonLine<'a> {
    #[serde(serialize_with = "shown")]
    at: Timestamp,
    request_id: &'a str,
    #[serde(serialize_with = "shown")]
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    duration_ms: f64,
    route: Option<&'a str>,
    endpoint: Option<&'a str>,
    attempts: u32,
    tls: Option<&'a str>,
    error: Option<&'a str>,
    http2_error: Option<&'a str>,
    cut: Option<&'a str>,
    trace_id: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if_any")]
    sample: Option<Ratio>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "members")]
    headers: &'a [(Arc<str>, String)],
}

struct TraceId(u128);

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn shown_if_any<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn members<S: Serializer>(headers: &[(Arc<str>, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| (&**name, value)))
}

fn json_line(line: &mut Vec<u8>, at: Timestamp, access: &Access) {
    let document = JsonLine {
        at,
        request_id: &access.request_id,
        client: access.client,
        method: &access.method,
        host: &access.host,
        path: &access.path,
        status: access.status,
        duration_ms: (access.duration.as_secs_f64() * 1e6).round() / 1e3,
        route: access.route.as_deref(),
        endpoint: access.endpoint.as_deref(),
        attempts: access.attempts,
        tls: access.tls,
        error: access.error,
        http2_error: access.http2_error,
        cut: access.cut,
        trace_id: access.trace_id.map(TraceId),
        sample: access.sample,
        headers: &access.headers,
    };
    // Memory takes all, and every member can be written.
    let _ = serde_json::to_writer(line, &document);
}

fn text_line(at: Timestamp, access: &Access) -> String {
    let mut line = String::new();
    let status = if access.status == 0 { "-".to_owned() } else { access.status.to_string() };
    let millis = access.duration.as_secs_f64() * 1e3;
    // Control characters of a path would let a client forge lines.
    let path = access.path.escape_debug();
    let _ = write!(line, "{at} {} {} {path} {status} {millis:.1}ms", access.client, access.method);
    let fields = [
        ("route", access.route.as_deref()),
        ("endpoint", access.endpoint.as_deref()),
        ("tls", access.tls),
        ("error", access.error),
        ("http2_error", access.http2_error),
        ("cut", access.cut),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let _ = write!(line, " {name}={value}");
        }
    }
    if access.attempts > 1 {
        let _ = write!(line, " attempts={}", access.attempts);
    }
    if let Some(sample) = access.sample {
        let _ = write!(line, " sample={sample}");
    }
    for (name, value) in &access.headers {
        let _ = write!(line, " header.{name}=");
        word(&mut line, value);
    }
    if let Some(id) = access.trace_id {
        let _ = write!(line, " trace={id:032x}");
    }
    let _ = write!(line, " id={}", access.request_id);
    line
}

/// Writes a client's text so that it is one word and has no second meaning.
fn word(line: &mut String, text: &str) {
    for letter in text.chars() {
        if letter.is_whitespace() || letter.is_control() {
            line.extend(letter.escape_unicode());
        } else {
            line.extend(letter.escape_debug());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unpoisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, path: &str) -> String {
        let target = Shared::default();
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(0));
        let (log, writer) =
            AccessLog::start(Box::new(target.clone()), format, NonZeroU32::MIN, clock).expect("a thread");
        log.log(Access {
            request_id: "7".to_owned(),
            client: [127, 0, 0, 1].into(),
            method: "GET".into(),
            host: "shop".to_owned(),
            path: path.to_owned(),
            status: 503,
            duration: Duration::from_micros(1_500),
            route: Some("/orders".into()),
            endpoint: None,
            attempts: 3,
            tls: Some("1.3"),
            error: Some("CIRCUIT_OPEN"),
            http2_error: Some("REFUSED_STREAM"),
            cut: None,
            trace_id: Some(0xabc),
            headers: vec![("user-agent".into(), "a\" b\nstatus=200".to_owned())],
            sample: Some(Ratio::from_percent(10)),
        });
        drop(log);
        writer.join().expect("no panic");
        String::from_utf8(target.0.lock().expect("unpoisoned").clone()).expect("UTF-8")
    }

    #[test]
    fn json_lines_parse() {
        let line = written(Format::Json, "/orders\n{}");
        assert_eq!(line.lines().count(), 1, "{line}");
        let document: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(document["duration_ms"], 1.5);
        assert_eq!(document["path"], "/orders\n{}");
        assert_eq!(document["trace_id"], "00000000000000000000000000000abc");
        assert_eq!(document["headers"]["user-agent"], "a\" b\nstatus=200");
        assert_eq!(document["sample"], "10%");
    }

    #[test]
    fn a_client_can_not_forge_lines() {
        let line = written(Format::Text, "/a\n1970-01-01T00:00:00.000Z forged");
        assert_eq!(line.lines().count(), 1, "{line}");
        let fields = " tls=1.3 error=CIRCUIT_OPEN http2_error=REFUSED_STREAM attempts=3 sample=10% \
                      header.user-agent=a\\\"\\u{20}b\\u{a}status=200 \
                      trace=00000000000000000000000000000abc id=7\n";
        assert!(line.ends_with(fields), "{line}");
    }
}
