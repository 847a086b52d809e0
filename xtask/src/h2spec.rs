//! h2spec against the real server: every case that applies to a proxy passes, and the others are listed.

mod program;
mod report;
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use report::{Case, Outcome};
use server::Server;

use crate::root;

/// The ways in which clients speak HTTP/2.
const WAYS: [Way; 2] =
    [Way { name: "plain", options: &[] }, Way { name: "tls", options: &["--tls", "--insecure"] }];

#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    options: &'static [&'static str],
}

/// Cases of both ways that there are at least; fewer is a run that did not happen.
const CASES_LEAST: usize = 140;

/// Runs all cases in both ways.
///
/// # Errors
/// The cases that fail and are not listed as ones that do not apply, and those that are listed and pass.
pub(crate) fn run() -> Result<()> {
    let folder = root().join("target/h2spec");
    fs::create_dir_all(&folder)?;
    let program = program::find_or_build(&folder)?;
    let server = Server::start(&folder)?;
    let listed = listed(&fs::read_to_string(root().join("xtask/h2spec.txt"))?)?;
    let mut wrong = Vec::new();
    for way in WAYS {
        let cases = cases(&program, &folder, way, server.port(way.name)?)?;
        let passed = cases.iter().filter(|case| case.outcome == Outcome::Passed).count();
        println!("{}: {passed} of {} cases pass", way.name, cases.len());
        if cases.len() < CASES_LEAST {
            bail!("h2spec ran {} cases of {} ({})", cases.len(), CASES_LEAST, way.name);
        }
        wrong.extend(differences(way.name, &cases, &listed));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("h2spec and xtask/h2spec.txt differ:\n  {}", wrong.join("\n  "));
}

fn cases(program: &Path, folder: &Path, way: Way, port: u16) -> Result<Vec<Case>> {
    let report = folder.join(format!("{}.xml", way.name));
    if report.exists() {
        fs::remove_file(&report)?;
    }
    // It ends with 1 when a case fails; what failed stands in the report.
    let output = Command::new(program)
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--strict", "--timeout", "5"])
        .args(way.options)
        .arg("--junit-report")
        .arg(&report)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to run {}", program.display()))?;
    let written = fs::read_to_string(&report)
        .with_context(|| format!("h2spec wrote no report: {}", String::from_utf8_lossy(&output.stderr)))?;
    report::cases(&written)
}

/// The names of cases that do not apply: `plain http2/3.5 Sends …`, with the reason in the lines above.
fn listed(page: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut has_reason = false;
    for line in page.lines() {
        match line.trim() {
            "" => has_reason = false,
            line if line.starts_with('#') => has_reason = true,
            line if has_reason => {
                names.insert(line.to_owned());
            }
            line => bail!("xtask/h2spec.txt gives no reason for `{line}`"),
        }
    }
    Ok(names)
}

fn differences(way: &str, cases: &[Case], listed: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut unseen: BTreeSet<&str> =
        listed.iter().filter(|name| name.starts_with(way)).map(String::as_str).collect();
    for case in cases {
        let name = format!("{way} {}", case.name);
        let is_listed = unseen.remove(name.as_str()) || listed.contains(&name);
        match &case.outcome {
            Outcome::Passed if is_listed => wrong.push(format!("{name}\n    is listed and passes")),
            Outcome::Failed { why } if !is_listed => wrong.push(format!("{name}\n    {why}")),
            _ => {}
        }
    }
    wrong.extend(unseen.into_iter().map(|name| format!("{name}\n    is listed, and no case has this name")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, fails: bool) -> Case {
        let outcome = if fails { Outcome::Failed { why: "no GOAWAY".to_owned() } } else { Outcome::Passed };
        Case { name: name.to_owned(), outcome }
    }

    #[test]
    fn only_cases_that_are_listed_may_fail_and_they_must() {
        let page = "# Words.\n\n# Because.\nplain 1 a\nplain 1 b\n\n# Since.\ntls 1 a\n";
        let listed = listed(page).expect("reasons");
        assert_eq!(differences("plain", &[case("1 a", true), case("1 b", true)], &listed), [""; 0]);
        let wrong = differences("plain", &[case("1 a", false), case("1 c", true)], &listed);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        for (line, words) in wrong.iter().zip(["1 a\n    is listed and passes", "1 c\n    no GOAWAY", "1 b"])
        {
            assert!(line.contains(words), "{line}");
        }
        assert_eq!(differences("tls", &[case("1 a", true)], &listed), [""; 0]);
    }

    #[test]
    fn each_listed_case_has_a_reason() {
        assert!(listed("# Because.\n\nplain 1 a\n").is_err());
        assert!(listed("plain 1 a\n").is_err());
    }
}
