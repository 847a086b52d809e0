//! `intertie health`: whether the server of a file is ready, for whoever can only run a command.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest that each step of the question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of an answer.
const ANSWER_MAX: u64 = 64 << 10;

/// Whether the admin listener at `admin` says that the server is ready, and its answer in a line.
///
/// # Errors
/// Nobody answers there, or not in HTTP.
pub(crate) fn ask(admin: SocketAddr) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /health/ready HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    understand(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

fn understand(answer: &[u8]) -> Option<(bool, String)> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.1 ")?;
    let ready = status.split(' ').next()? == "200";
    Some((ready, format!("{status} {}", body.trim())))
}

#[cfg(test)]
mod tests {
    use super::understand;

    #[test]
    fn only_200_is_ready_and_what_is_no_http_is_no_answer() {
        let ready = understand(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n{}").expect("an answer");
        assert_eq!(ready, (true, "200 OK {}".to_owned()));
        let draining = understand(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").expect("an answer");
        assert!(!draining.0);
        assert!(!understand(b"HTTP/1.1 2000 OK\r\n\r\n").expect("an answer").0);
        for nothing in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"\xff\r\n\r\n"] {
            assert_eq!(understand(nothing), None);
        }
    }
}
