//! gRPC's own client and service, with the gateway between them.

use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::before;
use crate::harness::Server;

/// The packages of PyPI that the script needs.
const GRPC: &str = "grpcio==1.76.0";

/// A Python with gRPC, in an environment of its own among the files of the build.
fn python() -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-grpc");
    let python = folder.join("bin/python3");
    let runs = |program: &Path, arguments: &[&str]| {
        let output = Blocking::new(program).args(arguments).output();
        output.map(|output| (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    if runs(&python, &["-c", "import grpc"]).is_ok_and(|(imported, _)| imported) {
        return python;
    }
    crate::clients::require("python3", "python3-venv");
    let folder = folder.to_str().expect("UTF-8");
    for (program, arguments) in [
        (Path::new("python3"), &["-m", "venv", "--clear", folder][..]),
        (&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", GRPC]),
    ] {
        let (succeeded, said) = runs(program, arguments).expect("Python runs");
        assert!(succeeded, "{arguments:?}: {said}");
    }
    python
}

#[tokio::test]
async fn grpc_passes_in_all_its_forms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("grpc_calls.py");
    std::fs::write(&script, include_str!("grpc.py")).expect("written");
    let mut child = Command::new(python())
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Python runs");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let port = said.next_line().await.expect("UTF-8").expect("the port of its service");
    let service = format!("127.0.0.1:{port}").parse().expect("an address");
    let server = Server::start(&before(&[service], "protocol = \"http2\"", "deadline = \"20s\""));
    let mut input = child.stdin.take().expect("piped");
    input.write_all(format!("{}\n", server.address).as_bytes()).await.expect("it listens");
    let mut complaint = String::new();
    let mut errors = child.stderr.take().expect("piped");
    let ending = async {
        errors.read_to_string(&mut complaint).await.expect("UTF-8");
        child.wait().await.expect("it ends")
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ending).await.expect("in time");
    assert!(ended.success(), "{complaint}");
    assert_eq!(said.next_line().await.expect("UTF-8").as_deref(), Some("done"));
}
