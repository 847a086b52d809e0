//! HTTP/1.1 over kept-alive connections.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use intertie_bench::process;

use super::{CONCURRENCY, Load, ensure_whole_bodies, explain, threads};
use crate::mode::Mode;
use crate::origin::LARGE_BODY_BYTES;
use crate::subjects::Site;

const FIGURES: &str = "figures:";
const ERRORS: [&str; 5] = ["connect", "read", "write", "status", "timeout"];

pub(super) fn run(wrk: &Path, site: &Site<'_>, seconds: u64) -> Result<Load> {
    let script = site.dir.join("load.lua");
    std::fs::write(&script, self::script(site.mode)).context("write wrk's script")?;
    let mut command = Command::new(wrk);
    command
        .args(["--threads", &threads().to_string(), "--connections", &CONCURRENCY.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "5s", "--latency", "--script"])
        .arg(script)
        .arg(format!("{}://127.0.0.1:{}", site.mode.scheme(), site.port));
    let output = process::run("wrk", command, site.dir, Duration::from_secs(seconds + 30))?;
    explain(parse(&output, site.mode.body_bytes()), &output)
}

/// Each thread takes the paths in turn, from requests formatted once. The summary is printed as numbers, in units
/// that do not change with the size of the figure as those of wrk's own summary do.
fn script(mode: Mode) -> String {
    let mut script = String::from("local paths = {\n");
    for path in mode.paths() {
        let _ = writeln!(script, "  \"{path}\",");
    }
    let request = match mode {
        Mode::Upload => format!("\"POST\", path, nil, string.rep(\"x\", {LARGE_BODY_BYTES})"),
        _ => "\"GET\", path".to_owned(),
    };
    let _ = write!(
        script,
        r#"}}
local requests, last = {{}}, 0

function init(args)
  for i, path in ipairs(paths) do requests[i] = wrk.format({request}) end
end
"#
    );
    script.push_str(
        r#"

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    "figures: requests=%d microseconds=%d bytes=%d connect=%d read=%d write=%d status=%d timeout=%d p50=%d p99=%d",
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#,
    );
    script
}

fn parse(output: &str, body_bytes: usize) -> Result<Load> {
    let line = output.lines().find_map(|line| line.strip_prefix(FIGURES)).context("no figures")?;
    let figures: HashMap<&str, u64> = line
        .split_whitespace()
        .map(|word| word.split_once('=').and_then(|(name, value)| Some((name, value.parse().ok()?))))
        .collect::<Option<_>>()
        .context("figures that are no numbers")?;
    let figure = |name: &str| figures.get(name).copied().with_context(|| format!("no figure {name}"));
    for kind in ERRORS {
        let count = figure(kind)?;
        ensure!(count == 0, "{count} {kind} errors");
    }
    let requests = figure("requests")?;
    ensure_whole_bodies(requests, figure("bytes")?, body_bytes)?;
    Ok(Load {
        requests,
        seconds: figure("microseconds")? as f64 / 1e6,
        p50_ms: figure("p50")? as f64 / 1e3,
        p99_ms: figure("p99")? as f64 / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(figures: &str) -> String {
        format!("Running 2s test\n  1 threads\n{FIGURES} microseconds=2000000 p50=900 p99=3100 {figures}\n")
    }

    #[test]
    fn a_clean_run_is_read() {
        let text = output("requests=100 bytes=130000 connect=0 read=0 write=0 status=0 timeout=0");
        assert_eq!(
            parse(&text, 1024).unwrap(),
            Load { requests: 100, seconds: 2.0, p50_ms: 0.9, p99_ms: 3.1 }
        );
    }

    #[test]
    fn any_error_fails_the_run() {
        for kind in ERRORS {
            let mut text = output("requests=100 bytes=130000");
            for other in ERRORS {
                text = text.replace("p50", &format!("{other}={} p50", u8::from(other == kind)));
            }
            let error = parse(&text, 1024).unwrap_err().to_string();
            assert_eq!(error, format!("1 {kind} errors"));
        }
    }

    #[test]
    fn short_bodies_and_missing_figures_fail_the_run() {
        assert!(
            parse(&output("requests=100 bytes=20000 connect=0 read=0 write=0 status=0 timeout=0"), 1024)
                .is_err()
        );
        assert!(parse(&output("requests=100 bytes=130000"), 1024).is_err());
        assert!(parse("Running 2s test\n", 1024).is_err());
    }
}
