use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::clients::require;
use crate::harness::until;

/// Another proxy before a service, with its defaults but for short waits.
pub(super) struct Proxy {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

/// A port that is free; the proxy binds it at once.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The program of a package; servers live where only root looks.
fn program(name: &str) -> String {
    let sbin = format!("/usr/sbin/{name}");
    if std::path::Path::new(&sbin).is_file() {
        return sbin;
    }
    require(name, name);
    name.to_owned()
}

/// What a program says its version is.
pub(super) fn version(name: &str) -> String {
    let output = Command::new(program(name)).arg("-v").output().expect("it runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let number = text.split([' ', '/']).find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    format!("{name} {}", number.unwrap_or("of an unknown version").trim())
}

impl Proxy {
    pub(super) fn nginx(service: SocketAddr) -> Self {
        let address = free();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr crit;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n\
               fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n\
               client_header_timeout 1s;\n  client_body_timeout 1s;\n  keepalive_timeout 1s;\n\
               server {{\n    listen {address};\n    location / {{\n      proxy_pass http://{service};\n\
                 proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
                 proxy_read_timeout 2s;\n    }}\n  }}\n}}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).expect("written");
        let mut command = Command::new(program("nginx"));
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path());
        Self::start(command, address, folder)
    }

    pub(super) fn haproxy(service: SocketAddr) -> Self {
        let address = free();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "defaults\n  mode http\n  timeout client 1s\n  timeout http-request 1s\n  timeout connect 1s\n\
               timeout server 2s\n  timeout http-keep-alive 1s\n\
             listen gateway\n  bind {address}\n  server service {service}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new(program("haproxy"));
        command.args(["-db", "-f"]).arg(file);
        Self::start(command, address, folder)
    }

    fn start(mut command: Command, address: SocketAddr, folder: TempDir) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { address, child: child.expect("it starts"), _folder: folder }
    }

    /// Its address, once it listens there.
    pub(super) async fn ready(&self) -> SocketAddr {
        until(async || TcpStream::connect(self.address).await.is_ok(), "the proxy listens").await;
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its master stops its workers; killed, it would leave them behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
