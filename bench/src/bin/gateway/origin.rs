//! The one server behind all subjects: nginx with fixed answers; and, for uploads, one that reads them to their end
//! first, since nginx answers before.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use intertie_bench::process::Server;
use intertie_bench::tools;
use intertie_bench::workdir::free_ports;

use crate::mode;
use crate::probe;
use crate::subjects::nginx;

/// Size of an answer's body.
pub const BODY_BYTES: usize = 1024;

/// Size of the body at [`LARGE_PATH`].
pub const LARGE_BODY_BYTES: usize = 1 << 20;

pub const LARGE_PATH: &str = "/large";

/// Answers with the headers that it received, for [`probe::verify_work`]. A path of the first route of all subjects.
pub fn inspect_path() -> String {
    format!("{}inspect", mode::route_prefix(0))
}

#[derive(Debug)]
pub struct Origin {
    server: Server,
    port: u16,
}

impl Origin {
    pub fn start(dir: &Path) -> Result<Self> {
        let binary = tools::find_or_install("nginx", nginx::PACKAGE)?;
        let [port] = free_ports()?;
        let dir = dir.join("origin");
        std::fs::create_dir(&dir)?;
        std::fs::write(dir.join("nginx.conf"), config(port))?;
        std::fs::write(dir.join("large"), vec![b'x'; LARGE_BODY_BYTES])?;
        let mut command = Command::new(binary);
        command.args(nginx::arguments(&dir));
        let mut server = Server::start("origin", command, &dir)?;
        let ready = probe::wait_until_answering(&mut server, port);
        server.explain(ready)?;
        Ok(Self { server, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

/// One worker: the origin is never the bottleneck, and should take little of the machine from the subject.
fn config(port: u16) -> String {
    let body = "0123456789abcdef".repeat(BODY_BYTES / 16);
    let inspect = inspect_path();
    nginx::main_config(
        1,
        &format!(
            r#"
    server {{
        listen 127.0.0.1:{port};
        default_type text/plain;

        location / {{
            return 200 "{body}";
        }}
        location = {LARGE_PATH} {{
            root .;
            sendfile on;
        }}
        location = {inspect} {{
            add_header X-Seen-Forwarded-For $http_x_forwarded_for;
            add_header X-Seen-Forwarded-Proto $http_x_forwarded_proto;
            add_header X-Seen-Forwarded-Host $http_x_forwarded_host;
            add_header X-Seen-Request-Id $http_x_request_id;
            add_header X-Seen-Traceparent $http_traceparent;
            return 200 "{body}";
        }}
    }}
"#
        ),
    )
}

/// Starts what takes uploads, and tells its port. It ends with this process.
pub fn start_sink() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    let port = listener.local_addr().context("find a free port")?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Its subject sees how it ends.
            std::thread::spawn(move || swallow(&stream));
        }
    });
    Ok(port)
}

/// Answers each request once its body is there.
fn swallow(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n{}",
        "0123456789abcdef".repeat(BODY_BYTES / 16)
    );
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let field = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            if let Some((_, value)) = field {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        (&*stream).write_all(answer.as_bytes())?;
    }
}
