//! WebSockets between clients and services of others: Python's `websockets` and Node's `ws`, crosswise.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{require, run};
use crate::harness::{PATIENCE, Server};

/// Where packages of Python and of Node are installed, once for all runs.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages")
}

/// Has `install` bring a package to the folder `name`, unless it is there.
async fn installed(name: &str, tool: &str, install: &[&str]) -> PathBuf {
    static INSTALLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = INSTALLING.lock().await;
    let folder = packages().join(name);
    if !folder.is_dir() {
        std::fs::create_dir_all(packages()).expect("a folder");
        // Renamed when it is complete, so that a run that was interrupted leaves nothing half.
        let making = tempfile::tempdir_in(packages()).expect("a temporary folder");
        let into = making.path().join(name);
        run(tool, &[install, &[into.to_str().expect("UTF-8")]].concat()).await;
        std::fs::rename(&into, &folder).expect("renamed");
    }
    folder
}

const PYTHON: &[&str] =
    &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "websockets==15.0.1", "--target"];
const NODE: &[&str] = &["install", "--silent", "--no-audit", "--no-fund", "ws@8.18.3", "--prefix"];

/// A language with its package, ready to run a script.
struct Language {
    tool: &'static str,
    packages: (&'static str, PathBuf),
    service: PathBuf,
    client: PathBuf,
}

impl Language {
    async fn python(folder: &Path) -> Self {
        require("python3", "python3");
        let packages = installed("websockets-15.0.1", "python3", PYTHON).await;
        Self::new(
            "python3",
            ("PYTHONPATH", packages),
            folder,
            "py",
            [include_str!("echo.py"), include_str!("talk.py")],
        )
    }

    async fn node(folder: &Path) -> Self {
        require("npm", "npm");
        let packages = installed("ws-8.18.3", "npm", NODE).await.join("node_modules");
        Self::new(
            "node",
            ("NODE_PATH", packages),
            folder,
            "cjs",
            [include_str!("echo.cjs"), include_str!("talk.cjs")],
        )
    }

    fn new(
        tool: &'static str,
        packages: (&'static str, PathBuf),
        folder: &Path,
        ending: &str,
        texts: [&str; 2],
    ) -> Self {
        let [service, client] = ["echo", "talk"].map(|name| folder.join(format!("{name}.{ending}")));
        std::fs::write(&service, texts[0]).expect("written");
        std::fs::write(&client, texts[1]).expect("written");
        Self { tool, packages, service, client }
    }

    fn command(&self, script: &Path) -> Command {
        let mut command = Command::new(self.tool);
        command
            .arg(script)
            .env(self.packages.0, &self.packages.1)
            .env_remove("http_proxy")
            .kill_on_drop(true);
        command
    }

    /// A service that sends back what it gets, and where it listens.
    async fn serve(&self) -> (Child, String) {
        let mut child = self.command(&self.service).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it listens soon");
        let port = port.expect("read").expect("a port");
        (child, format!("127.0.0.1:{port}"))
    }

    /// Eight sessions at once, which say themselves what is wrong.
    async fn talk(&self, server: &Server) {
        let output = self.command(&self.client).arg(server.address.to_string()).output();
        let output = tokio::time::timeout(3 * PATIENCE, output).await.expect("it ends").expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.tool);
    }
}

#[tokio::test]
async fn websockets_carry_messages_of_any_size_both_ways() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (python, node) = (Language::python(folder.path()).await, Language::node(folder.path()).await);
    for (service, client) in [(&python, &node), (&node, &python)] {
        let (_running, address) = service.serve().await;
        let server = Server::start(&format!(
            "[service.echo]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
             [route.\"/echo\"]\nto = \"echo\"\nattempt_timeout = \"5s\"\nretry = \"quick\"\n"
        ));
        client.talk(&server).await;
        let upgrades = |what: &str| format!("intertie_{what}{{route=\"/echo\"}}");
        assert_eq!(server.metric(&upgrades("upgrades_total")).await, 8.0);
        crate::harness::until(async || server.metric(&upgrades("upgrades_open")).await == 0.0, "all end")
            .await;
    }
}
