//! gRPC between its own clients and services, with the gateway between them: the interop cases, and what the
//! gateway itself has to say.

mod keepalive;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::clients::packages::Language;
use crate::harness::{PATIENCE, Server};
use crate::tls::Authority;

const PYTHON: &str = "grpcio==1.76.0";
const NODE: &str = "@grpc/grpc-js@1.14.7";

/// The longest that a client may take for all its cases.
const CASES_MAX: Duration = Duration::from_secs(300);

/// What every client has to try.
const INTEROP: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_compressed_streaming",
    "server_compressed_streaming",
    "rpc_soak",
    "channel_soak",
];

/// What the interop cases leave out.
const OURS: &[&str] = &[
    "deadline_is_carried",
    "deadline_cancels_the_service",
    "messages_of_four_mebibytes",
    "slow_client_slows_the_service",
    "slow_service_slows_the_client",
    "refusals_are_statuses",
];

/// The service of the interop cases, without TLS and with it.
struct Service {
    plain: SocketAddr,
    secure: SocketAddr,
    _child: Child,
}

impl Service {
    /// Starts it with the certificate `name` of `folder`.
    async fn start(folder: &Path, name: &str) -> Self {
        for (file, text) in
            [("messages.py", include_str!("messages.py")), ("service.py", include_str!("service.py"))]
        {
            std::fs::write(folder.join(file), text).expect("written");
        }
        let mut command = Language::python(PYTHON).await.command(&folder.join("service.py"));
        command.args(["crt", "key"].map(|ending| folder.join(format!("{name}.{ending}"))));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it listens soon");
        let line = line.expect("read").expect("its ports");
        let at = |port: &str| SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
        let (plain, secure) = line.split_once(' ').expect("two ports");
        Self { plain: at(plain), secure: at(secure), _child: child }
    }
}

/// A folder with an authority in `roots.crt`, a certificate of the gateway in `gateway` and one of the service
/// in `service`.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    for name in ["gateway", "service"] {
        authority.issue(folder.path(), name, &["127.0.0.1"]);
    }
    folder
}

/// A gateway without TLS and with it before a service that is at `address`, spoken to by `keys`.
fn gateway(folder: TempDir, address: SocketAddr, keys: &str) -> Server {
    let traffic = format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\n\
         [certificate.gateway]\nchain = \"gateway.crt\"\nkey = \"gateway.key\"\n\
         [service.test]\nendpoints = [{{ at = \"{address}\" }}]\n{keys}\n\
         [service.gone]\nendpoints = [{{ at = \"127.0.0.1:1\" }}]\nprotocol = \"http2\"\n\
         [route.\"/grpc.testing.TestService/**\"]\nto = \"test\"\ndeadline = \"10s\"\n\
         [route.\"/intertie.Told/**\"]\nto = \"test\"\n\
         [route.\"/intertie.Late/**\"]\nto = \"test\"\ndeadline = \"200ms\"\n\
         [route.\"/intertie.Limited/**\"]\nto = \"test\"\nrate_limiter = {{ limit = \"1/h\" }}\n\
         [route.\"/intertie.Large/**\"]\nto = \"test\"\nbody_max = \"1KiB\"\n\
         [route.\"/intertie.Broken/**\"]\nto = \"gone\"\n\
         circuit_breaker = {{ preset = \"sensitive\", failures = 2, open = \"1h\" }}\n"
    );
    Server::start_among(folder, &traffic)
}

/// Has `client` try `cases` on every way through the gateway, and in each direction without TLS and with it.
async fn check(client: impl AsyncFn(&Path) -> (Language, PathBuf), cases: &[&str]) {
    for tls in ["", "tls = { roots = \"roots.crt\" }"] {
        let folder = folder();
        let service = Service::start(folder.path(), "service").await;
        let address = if tls.is_empty() { service.plain } else { service.secure };
        let (language, script) = client(folder.path()).await;
        let roots = folder.path().join("roots.crt");
        let server = gateway(folder, address, &format!("protocol = \"http2\"\n{tls}"));
        for secure in [false, true] {
            let mut command = language.command(&script);
            command.arg(if secure { server.tls } else { server.address }.to_string());
            if secure {
                command.arg(&roots);
            }
            let output = tokio::time::timeout(CASES_MAX, command.output()).await.expect("it ends");
            let output = output.expect("it runs");
            let (stdout, stderr) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let held: Vec<_> = stdout.lines().collect();
            let ways = format!("{language:?}, TLS: {secure}, to the service: {tls}");
            assert!(output.status.success(), "{ways}: after {held:?}\n{stderr}");
            assert_eq!(held, cases, "{ways}");
        }
        assert!(server.peak_memory_kib() < MEMORY_MAX_KIB, "{} KiB", server.peak_memory_kib());
    }
}

/// What the gateway may have resident while far more wants to pass to who is slow.
const MEMORY_MAX_KIB: u64 = 64 << 10;

#[tokio::test]
async fn the_cases_hold_with_grpc_of_c_and_python() {
    let client = async |folder: &Path| {
        let script = folder.join("client.py");
        std::fs::write(&script, include_str!("client.py")).expect("written");
        (Language::python(PYTHON).await, script)
    };
    check(client, &[INTEROP, OURS].concat()).await;
}

#[tokio::test]
async fn the_cases_hold_with_grpc_of_node() {
    let client = async |folder: &Path| {
        let script = folder.join("client.cjs");
        std::fs::write(&script, include_str!("client.cjs")).expect("written");
        (Language::node(NODE).await, script)
    };
    check(client, &[INTEROP, &["cancel_is_heard", "refusals_are_statuses"]].concat()).await;
}
