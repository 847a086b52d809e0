//! Single requests: is a server ready, and does it do what its mode claims? A proxy that answers every request and
//! skips the work would win.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use intertie_bench::process::{self, Server};

use crate::mode::{self, Mode};
use crate::origin;

const READY_WAIT: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 2 << 20;

/// Waits until the server answers HTTP/1.1 with 200 through to the origin.
pub fn wait_until_answering(server: &mut Server, port: u16) -> Result<()> {
    let path = &mode::loaded_paths()[0];
    wait(server, || match get(port, path)? {
        Answer { status: 200, .. } => Ok(()),
        Answer { status, .. } => bail!("{path} answers {status}"),
    })
}

/// Waits until the server takes connections, for those that speak no HTTP/1.1, or TLS. The load generator checks the
/// answers.
pub fn wait_until_listening(server: &mut Server, port: u16) -> Result<()> {
    wait(server, || connect(port).map(drop))
}

fn wait(server: &mut Server, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    loop {
        server.ensure_running()?;
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > READY_WAIT => {
                return Err(error.context(format!("not ready within {} s", READY_WAIT.as_secs())));
            }
            Err(_) => process::pause()?,
        }
    }
}

/// Every loaded path is answered by the origin, whole.
pub fn verify_paths(port: u16, mode: Mode) -> Result<()> {
    for path in mode.paths() {
        let answer = get(port, &path)?;
        ensure!(answer.status == 200, "{path} answers {}", answer.status);
        ensure!(answer.body_bytes == mode.body_bytes(), "{path} answers with {} bytes", answer.body_bytes);
    }
    Ok(())
}

/// The routes are a table, not a catch-all, and origin and client receive the headers that a gateway adds.
pub fn verify_work(port: u16) -> Result<()> {
    let beyond = format!("{}42", mode::route_prefix(mode::ROUTES));
    let status = get(port, &beyond)?.status;
    ensure!(status == 404, "{beyond} has no route and yet is answered {status}");

    let seen = get(port, &origin::inspect_path())?;
    let limited = ["RateLimit", "X-RateLimit-Limit"].iter().any(|name| seen.header(name).is_some());
    ensure!(limited, "the answer tells no rate limit");
    for name in ["Forwarded-For", "Forwarded-Proto", "Forwarded-Host", "Request-Id", "Traceparent"] {
        let value = seen.header(&format!("X-Seen-{name}")).unwrap_or_default();
        ensure!(!value.is_empty(), "the origin received no {name}");
        ensure!(
            name != "Traceparent" || is_traceparent(value),
            "the origin received {value:?} as traceparent"
        );
    }
    Ok(())
}

/// Version 00 of W3C Trace Context: `00-<32 hex>-<16 hex>-<2 hex>`, no id all zeros.
fn is_traceparent(value: &str) -> bool {
    let fields: Vec<&str> = value.split('-').collect();
    fields.iter().map(|field| field.len()).eq([2, 32, 16, 2])
        && fields.iter().all(|field| field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        && fields[1..3].iter().all(|id| id.bytes().any(|byte| byte != b'0'))
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body_bytes: usize,
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Option<_>>()?;
        Some(Self { status, headers, body_bytes: body.len() })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn get(port: u16, path: &str) -> Result<Answer> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("read the answer to {path}"))?;
    Answer::parse(&text).with_context(|| format!("no HTTP answer to {path}: {text:?}"))
}

fn connect(port: u16) -> Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), REQUEST_TIMEOUT).context("connect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer =
            Answer::parse("HTTP/1.1 200 OK\r\nServer: x\r\nX-Seen-Request-Id: 7\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.body_bytes), (200, 4));
        assert_eq!(answer.header("x-seen-request-id"), Some("7"));
        assert!(Answer::parse("").is_none());
    }

    #[test]
    fn a_traceparent_has_four_fields_and_ids_that_are_not_zero() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for wrong in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }
}
