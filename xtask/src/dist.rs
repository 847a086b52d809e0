//! The server as it is shipped: built with counters, put before a day of traffic, and built again with what was
//! counted. The compiler then knows which code is hot, and lays out and inlines by that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::{cargo, root, run};

/// Builds `target/trained/intertie`.
pub(crate) fn build_guided() -> Result<()> {
    let compiler = Compiler::new()?;
    let merge = compiler.profdata()?;
    let folder = root().join("target/trained");
    let (counts, profile) = (folder.join("counts"), folder.join("intertie.profdata"));
    if counts.exists() {
        fs::remove_dir_all(&counts).context("failed to remove the counts of an earlier training")?;
    }

    println!("1 of 4: the server with counters");
    let counting =
        build(&compiler, &folder.join("counting"), &format!("-Cprofile-generate={}", counts.display()))?;
    println!("2 of 4: a day of traffic");
    train(&counting)?;
    println!("3 of 4: what was counted");
    let mut merging = Command::new(merge);
    merging.args(["merge", "--output"]).arg(&profile);
    for entry in fs::read_dir(&counts).context("the training left no counts")? {
        merging.arg(entry?.path());
    }
    run(merging)?;
    println!("4 of 4: the server as it is shipped");
    let trained = build(&compiler, &folder.join("guided"), &format!("-Cprofile-use={}", profile.display()))?;
    let shipped = folder.join("intertie");
    fs::copy(&trained, &shipped).with_context(|| format!("failed to write {}", shipped.display()))?;
    println!("{}", shipped.display());
    Ok(())
}

/// Builds the server with one more flag for every crate in it.
fn build(compiler: &Compiler, target: &Path, flag: &str) -> Result<PathBuf> {
    let mut command = cargo();
    // A named target keeps the flag away from build scripts and macros, which run here.
    command
        .args(["build", "--locked", "--profile", "dist", "--package", "intertie", "--target", &compiler.host])
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(own_flags().as_deref(), flag));
    run(command)?;
    Ok(target.join(&compiler.host).join("dist/intertie"))
}

/// Between flags, which may have spaces in them.
const SEPARATOR: &str = "\x1f";

/// What the user wants of every build, in cargo's encoding.
fn own_flags() -> Option<String> {
    env::var("CARGO_ENCODED_RUSTFLAGS").ok().or_else(|| {
        let flags = env::var("RUSTFLAGS").ok()?;
        Some(flags.split_whitespace().collect::<Vec<_>>().join(SEPARATOR))
    })
}

/// `own` and `flag`, in cargo's encoding.
fn flags(own: Option<&str>, flag: &str) -> String {
    match own {
        Some(own) if !own.is_empty() => format!("{own}{SEPARATOR}{flag}"),
        _ => flag.to_owned(),
    }
}

fn train(server: &Path) -> Result<()> {
    let mut command = cargo();
    let test = "training::a_day_of_the_shop";
    command
        .args([
            "test",
            "--locked",
            "--package",
            "intertie",
            "--test",
            "it",
            test,
            "--",
            "--exact",
            "--nocapture",
        ])
        .env("INTERTIE_TRAINING", server)
        .env_remove("LLVM_PROFILE_FILE");
    run(command)
}

/// The compiler that builds.
#[derive(Debug)]
struct Compiler {
    host: String,
    /// The first number of its LLVM's version.
    llvm: String,
    sysroot: PathBuf,
}

impl Compiler {
    fn new() -> Result<Self> {
        let told = |arguments: &[&str]| {
            let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            let output =
                command.args(arguments).current_dir(root()).output().context("failed to start rustc")?;
            ensure!(output.status.success(), "rustc {arguments:?} ended with {}", output.status);
            String::from_utf8(output.stdout).context("rustc speaks no UTF-8")
        };
        let version = told(&["-vV"])?;
        let sysroot = PathBuf::from(told(&["--print", "sysroot"])?.trim());
        let host = field(&version, "host: ").context("`rustc -vV` names no host")?;
        let llvm = field(&version, "LLVM version: ").context("`rustc -vV` names no LLVM")?;
        let llvm = llvm.split('.').next().unwrap_or(llvm);
        Ok(Self { host: host.to_owned(), llvm: llvm.to_owned(), sysroot })
    }

    /// The tool that merges counts: that of the toolchain, or the system's of the same LLVM.
    fn profdata(&self) -> Result<PathBuf> {
        let own = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        let path = env::var_os("PATH").unwrap_or_default();
        let named = format!("llvm-profdata-{}", self.llvm);
        let others = env::split_paths(&path).map(|folder| folder.join(&named));
        std::iter::once(own).chain(others).find(|tool| tool.is_file()).with_context(|| {
            format!(
                "llvm-profdata {} is missing: `rustup component add llvm-tools`, or Debian's package `llvm-{}`",
                self.llvm, self.llvm
            )
        })
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_s_flags_are_kept() {
        assert_eq!(flags(Some("-Ctarget-cpu=native"), "-Cx=a b"), "-Ctarget-cpu=native\x1f-Cx=a b");
        assert_eq!((flags(Some(""), "-Cx"), flags(None, "-Cx")), ("-Cx".to_owned(), "-Cx".to_owned()));
    }

    #[test]
    fn the_compiler_s_own_words_are_read() {
        let told = "rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.2\n";
        assert_eq!(field(told, "host: "), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(field(told, "LLVM version: "), Some("22.1.2"));
        assert_eq!(field(told, "none: "), None);
    }
}
