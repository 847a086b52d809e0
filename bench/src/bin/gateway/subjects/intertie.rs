//! Ours, built from the tree that the bench stands in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use intertie_bench::tools;

use super::{Site, WORKERS};
use crate::certificate;
use crate::mode::{Mode, route_prefix};

/// The policy of every route in [`Mode::Work`]. Its limits are far above the load: they are checked, never reached.
const POLICY: &str = r#"
[policy.standard]
deadline = "30s"
attempt_timeout = "5s"
retry = { preset = "quick", attempts = 3, budget = "20%" }
circuit_breaker = "standard"
rate_limiter = { limit = "1000000/s", burst = 1000000 }
bulkhead = { concurrent = 10000, queue = 100, wait = "100ms" }
"#;

/// Builds it as it is shipped, unless `build` is false.
pub fn prepare(build: bool) -> Result<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the bench stands in no tree")?;
    if build {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).args(["xtask", "dist"]);
        tools::run_shown(cargo)?;
    }
    let binary = root.join("target/trained/intertie");
    ensure!(binary.is_file(), "there is no target/trained/intertie; without --no-build it is built");
    let version = tools::self_description(&binary, &["--version"])?;
    let number = version.split_whitespace().last().unwrap_or("unknown");
    Ok((binary, format!("{number} (guided by a profile, {})", commit(root)?)))
}

fn commit(root: &Path) -> Result<String> {
    let root = root.to_string_lossy();
    let commit =
        tools::self_description(Path::new("git"), &["-C", &root, "describe", "--always", "--dirty"])?;
    // A tree without a commit gets git's complaint instead of a name.
    Ok(if commit.starts_with("fatal") { "no commit".to_owned() } else { format!("commit {commit}") })
}

pub fn config(site: &Site<'_>) -> String {
    let Site { port, admin_port, origin_port, .. } = site;
    let listen = format!("\"127.0.0.1:{port}\"");
    let (plain, secure) =
        if site.mode.has_tls() { ("", tls(site)) } else { (listen.as_str(), String::new()) };
    let access_log = match site.mode {
        Mode::Work => site.access_log().display().to_string(),
        _ => "off".to_owned(),
    };
    let mut config = format!(
        r#"[server]
listen = [{plain}]
admin = "127.0.0.1:{admin_port}"
threads = {WORKERS}
access_log = "{access_log}"

[service.origin]
endpoints = [{{ at = "127.0.0.1:{origin_port}" }}]
{secure}"#
    );
    match site.mode {
        Mode::Work => {
            config.push_str(POLICY);
            for route in 0..site.routes {
                let prefix = route_prefix(route);
                let _ = write!(config, "\n[route.\"{prefix}{{id}}\"]\nto = \"origin\"\nuse = \"standard\"\n");
            }
        }
        _ => config.push_str("\n[route.\"/**\"]\nto = \"origin\"\n"),
    }
    config
}

fn tls(site: &Site<'_>) -> String {
    let (chain, key) = (certificate::chain(site.certificates), certificate::key(site.certificates));
    format!(
        r#"
[tls]
listen = ["127.0.0.1:{}"]
minimum_version = "1.3"

[certificate.bench]
chain = "{}"
key = "{}"
"#,
        site.port,
        chain.display(),
        key.display()
    )
}
