//! WebSockets between clients and services of others: Python's `websockets` and Node's `ws`, crosswise.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::packages::Language;
use crate::harness::{PATIENCE, Server, until};

/// What a language's package says as a service and as a client.
pub(super) struct Speaker {
    language: Language,
    service: PathBuf,
    client: PathBuf,
}

impl Speaker {
    pub(super) async fn python(folder: &Path) -> Self {
        let language = Language::python("websockets==15.0.1").await;
        Self::new(language, folder, "py", [include_str!("echo.py"), include_str!("talk.py")])
    }

    async fn node(folder: &Path) -> Self {
        let language = Language::node("ws@8.18.3").await;
        Self::new(language, folder, "cjs", [include_str!("echo.cjs"), include_str!("talk.cjs")])
    }

    fn new(language: Language, folder: &Path, ending: &str, texts: [&str; 2]) -> Self {
        let [service, client] = ["echo", "talk"].map(|name| folder.join(format!("{name}.{ending}")));
        std::fs::write(&service, texts[0]).expect("written");
        std::fs::write(&client, texts[1]).expect("written");
        Self { language, service, client }
    }

    /// A service that sends back what it gets, and where it listens.
    pub(super) async fn serve(&self) -> (Child, String) {
        let mut command = self.language.command(&self.service);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it listens soon");
        let port = port.expect("read").expect("a port");
        (child, format!("127.0.0.1:{port}"))
    }

    /// Eight sessions at once, which say themselves what is wrong.
    async fn talk(&self, server: &Server) {
        self.run(&self.client, server).await;
    }

    /// Has the script `client` speak to `server`.
    async fn run(&self, client: &Path, server: &Server) {
        let output = self.language.command(client).arg(server.address.to_string()).output();
        let output = tokio::time::timeout(3 * PATIENCE, output).await.expect("it ends").expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {said}", self.language);
    }
}

#[tokio::test]
async fn websockets_carry_messages_of_any_size_both_ways() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (python, node) = (Speaker::python(folder.path()).await, Speaker::node(folder.path()).await);
    for (service, client) in [(&python, &node), (&node, &python)] {
        let (_running, address) = service.serve().await;
        let server = Server::start(&format!(
            "[service.echo]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
             [route.\"/echo\"]\nto = \"echo\"\nattempt_timeout = \"5s\"\nretry = \"quick\"\n"
        ));
        client.talk(&server).await;
        all_of_eight_end(&server).await;
    }
}

/// Waits until no session is open of the eight that were.
async fn all_of_eight_end(server: &Server) {
    let upgrades = |what: &str| format!("intertie_{what}{{route=\"/echo\"}}");
    assert_eq!(server.metric(&upgrades("upgrades_total")).await, 8.0);
    until(async || server.metric(&upgrades("upgrades_open")).await == 0.0, "all end").await;
}

#[tokio::test]
async fn websockets_of_one_http2_connection_reach_a_service_of_http1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (python, node) = (Speaker::python(folder.path()).await, Speaker::node(folder.path()).await);
    let (_running, address) = python.serve().await;
    let server = Server::start(&format!(
        "[service.echo]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
         [route.\"/echo\"]\nto = \"echo\"\nattempt_timeout = \"5s\"\n"
    ));
    let script = folder.path().join("talk_http2.cjs");
    std::fs::write(&script, include_str!("talk_http2.cjs")).expect("written");
    node.run(&script, &server).await;
    all_of_eight_end(&server).await;
    assert_eq!(server.metric("intertie_requests_total{route=\"/echo\",status=\"2xx\"}").await, 8.0);
}
