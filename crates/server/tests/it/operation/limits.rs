//! What the machine grants, and what the file needs.

use std::process::Command;

use super::{data_threads, file};
use crate::harness::{Origin, Server};

/// A server that begins with the limits that `script` sets.
pub(super) fn limited(script: &str, text: &str) -> Server {
    let mut command = Command::new("sh");
    let script = format!("{script}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_intertie")]);
    Server::start_by(tempfile::tempdir().expect("a temporary folder"), command, text)
}

#[tokio::test]
async fn the_limit_on_descriptors_is_raised_as_far_as_it_goes() {
    let origin = Origin::statuses(&[200]).await;
    let server = limited("ulimit -Sn 70; ulimit -Hn 900", &file(&origin, ""));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process())).expect("Linux");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["900", "900"]);
}

#[tokio::test]
async fn a_limit_below_what_clients_may_need_is_warned_of() {
    let origin = Origin::statuses(&[200]).await;
    let clients =
        |connections: u32| file(&origin, &format!("[server.client_limits]\nconnections_max = {connections}"));
    for (text, needed) in [
        (clients(100), None),
        (clients(101), Some((101, 302))),
        (clients(1000) + "bulkhead = { concurrent = 50 }\n", Some((1000, 1150))),
    ] {
        let server = limited("ulimit -n 300", &text);
        let warning = server.count("RLIMIT_NOFILE");
        assert_eq!(warning, usize::from(needed.is_some()), "{text}");
        if let Some((connections, needed)) = needed {
            let line = server.wait_for("RLIMIT_NOFILE");
            for words in
                ["may open 300 files", &format!("{connections} connections"), &format!("need {needed}")]
            {
                assert!(line.contains(words), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn there_are_as_many_threads_as_cores_that_the_process_may_use() {
    let origin = Origin::statuses(&[200]).await;
    let mut command = Command::new("taskset");
    command.args(["-c", "0", env!("CARGO_BIN_EXE_intertie")]);
    let server =
        Server::start_by(tempfile::tempdir().expect("a temporary folder"), command, &file(&origin, ""));
    assert!(server.wait_for("server_started").contains(" threads=1"));
    assert_eq!(data_threads(server.process()), 1);
}

#[test]
fn the_process_is_explained() {
    let text = "[server]\nlisten = [\"0.0.0.0:80\"]\ndrain = \"5s\"\n\n[service.a]\n\
                endpoints = [{ at = \"127.0.0.1:1\" }]\n\n[route.\"/**\"]\nto = \"a\"\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("intertie.toml"), text).expect("written");
    for (threads, shown) in [
        ("", "1  (built-in default: the cores that this process may use)"),
        ("threads = 7", "7  (intertie.toml:4)"),
    ] {
        let path = folder.path().join("intertie.toml");
        std::fs::write(path, text.replace("5s\"\n", &format!("5s\"\n{threads}\n"))).expect("written");
        let mut command = Command::new("sh");
        let script = "ulimit -Sn 70; ulimit -Hn 900; exec taskset -c 0 \"$0\" explain intertie.toml";
        command.args(["-c", script, env!("CARGO_BIN_EXE_intertie")]).current_dir(folder.path());
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            String::from_utf8(output.stdout).expect("UTF-8"),
            format!(
                "\
server:
  listen            0.0.0.0:80  (intertie.toml:2)
  admin             127.0.0.1:9901  (built-in default)
  threads           {shown}
  access_log        stdout  (built-in default)
  metric_series_max 1000000  (built-in default)
  drain             5s  (intertie.toml:3)
  takeover_timeout  30s  (built-in default)

descriptors:
  20100 may be needed by 10000 client connections
  900 may be opened here (RLIMIT_NOFILE, hard)
"
            )
        );
    }
}
