//! The page of the API says what is so.

use std::process::Command;

use super::start;
use crate::cli::root;

#[tokio::test]
async fn the_commands_of_the_page_run_in_their_order() {
    let page = std::fs::read_to_string(root().join("docs/api.md")).expect("the page");
    let of = |fence: &str| {
        let blocks = page.split(fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
        blocks.map(str::to_owned).collect::<Vec<_>>()
    };
    let file = of("```toml\n").first().expect("a file").replace(
        "[server]\napi = \"127.0.0.1:8081\"       # the default once there is a queue\ndata = \"data\"",
        "#",
    );
    let server = start(&file);
    let commands = of("```sh\n");
    assert!(commands.len() >= 4, "{commands:?}");
    let script = format!("set -eu -o pipefail\n{}", commands.join("\n"));
    let script = script.replace("127.0.0.1:8081", &server.api.to_string());
    let run = tokio::task::spawn_blocking(move || {
        Command::new("bash").args(["-c", &script]).output().expect("bash runs")
    });
    let run = run.await.expect("no panic");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("\"settled\":1") && said.contains("\"ready\":3"), "{said}");
}
