//! Ours, built from the tree that the bench stands in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tools;

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
