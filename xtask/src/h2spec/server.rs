use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, root};

/// The server before a service that answers each request alike.
pub(super) struct Server {
    child: Child,
    /// What it said when it had started.
    started: String,
}

impl Server {
    /// Builds the server and starts it on ports that it chooses, with its file in `folder`.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let origin = TcpListener::bind("127.0.0.1:0")?;
        let address = origin.local_addr()?;
        std::thread::spawn(move || {
            for stream in origin.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(folder.join("server.crt"), cert.pem())?;
        fs::write(folder.join("server.key"), signing_key.serialize_pem())?;
        let file = folder.join("intertie.toml");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\naccess_log = \"off\"\n\n\
             [tls]\nlisten = [\"127.0.0.1:0\"]\n\n\
             [certificate.own]\nchain = \"server.crt\"\nkey = \"server.key\"\n\n\
             [service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n"
        );
        fs::write(&file, text)?;
        let mut build = cargo();
        build.args(["build", "--quiet", "--package", "intertie"]);
        crate::run(build)?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
        let mut child = Command::new(target.join("debug/intertie"))
            .arg("up")
            .arg(&file)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start the server")?;
        let mut events = BufReader::new(child.stderr.take().context("no pipe")?);
        let mut said = String::new();
        while !said.contains(" server_started ") {
            let before = said.len();
            if events.read_line(&mut said)? == 0 {
                bail!("the server did not start: {said}");
            }
            if said[before..].contains(" server_started ") {
                said.drain(..before);
            }
        }
        // Whoever writes events must not find its pipe full.
        std::thread::spawn(move || std::io::copy(&mut events, &mut std::io::sink()));
        Ok(Self { child, started: said })
    }

    /// The port where clients speak in `way`.
    pub(super) fn port(&self, way: &str) -> Result<u16> {
        let key = if way == "tls" { " tls=" } else { " listen=" };
        let address = self.started.split_once(key).and_then(|(_, rest)| rest.split_whitespace().next());
        let port = address.and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        port.with_context(|| format!("no{key} in {}", self.started))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers one request, when all of it is there.
fn answer(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !is_complete(&bytes) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    let body = if bytes.starts_with(b"HEAD ") { "" } else { "hello" };
    // The gateway may have given up meanwhile.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// Whether `bytes` are all of a request, as the gateway writes them.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked") {
        return format!("\r\n{body}").contains("\r\n0\r\n") && body.ends_with("\r\n\r\n");
    }
    let length = head.split_once("\r\ncontent-length: ").and_then(|(_, rest)| rest.lines().next());
    body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_it_says() {
        for (head, body, rest) in [
            ("", "", ""),
            ("Content-Length: 4\r\n", "body", ""),
            ("transfer-encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n", ""),
            ("transfer-encoding: chunked\r\n", "0\r\nx: y\r\n", "\r\n"),
        ] {
            let whole = format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n{body}{rest}");
            assert!(is_complete(whole.as_bytes()), "{whole}");
            for end in 0..whole.len() {
                assert!(!is_complete(&whole.as_bytes()[..end]), "{whole} up to {end}");
            }
        }
    }
}
