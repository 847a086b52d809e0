//! Ours, built from the tree that the bench stands in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Site, WORKERS};
use crate::mode::{Mode, ROUTES, route_prefix};
use crate::tools;

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
    let target = root.join("target");
    if build {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--profile", "dist", "--package", "intertie", "--manifest-path"]);
        cargo.arg(root.join("Cargo.toml")).arg("--target-dir").arg(&target);
        tools::run_shown(cargo)?;
    }
    let binary = target.join("dist/intertie");
    ensure!(binary.is_file(), "there is no target/dist/intertie; without --no-build it is built");
    let version = tools::self_description(&binary, &["--version"])?;
    let number = version.split_whitespace().last().unwrap_or("unknown");
    Ok((binary, format!("{number} ({})", commit(root)?)))
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
    let mut config = format!(
        r#"[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin_port}"
threads = {WORKERS}
access_log = "off"

[service.origin]
endpoints = [{{ at = "127.0.0.1:{origin_port}" }}]
"#
    );
    match site.mode {
        Mode::Plain | Mode::H2 => config.push_str("\n[route.\"/**\"]\nto = \"origin\"\n"),
        Mode::Work => {
            config.push_str(POLICY);
            for route in 0..ROUTES {
                let prefix = route_prefix(route);
                let _ = write!(config, "\n[route.\"{prefix}{{id}}\"]\nto = \"origin\"\nuse = \"standard\"\n");
            }
        }
    }
    config
}
