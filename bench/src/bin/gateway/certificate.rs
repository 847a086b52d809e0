//! The certificate that all subjects show, made anew for each run: ECDSA on P-256, as public authorities issue today.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use intertie_bench::tools;

/// The name it is for.
pub const NAME: &str = "bench.test";

/// Makes certificate and key in `dir`, each in a file of its own, and both in one as HAProxy wants them.
pub fn make(dir: &Path) -> Result<()> {
    let openssl = tools::find_or_install("openssl", "openssl")?;
    let mut command = Command::new(openssl);
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", &format!("/CN={NAME}")])
        .args(["-addext", &format!("subjectAltName=DNS:{NAME}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(key(dir))
        .arg("-out")
        .arg(chain(dir));
    tools::run_shown(command)?;
    let both = [std::fs::read(chain(dir))?, std::fs::read(key(dir))?].concat();
    Ok(std::fs::write(both_in_one(dir), both)?)
}

pub fn chain(dir: &Path) -> PathBuf {
    dir.join("chain.pem")
}

pub fn key(dir: &Path) -> PathBuf {
    dir.join("key.pem")
}

pub fn both_in_one(dir: &Path) -> PathBuf {
    dir.join("both.pem")
}
