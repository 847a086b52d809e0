//! HTTP/2 without TLS, by prior knowledge; and HTTP/1.1 at a fixed rate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use intertie_bench::process;

use super::{CONCURRENCY, Load, ensure_whole_bodies, explain, percentile, threads};
use crate::mode::Client;
use crate::origin::BODY_BYTES;
use crate::subjects::Site;

/// Streams share a connection, as they do in practice, yet there are connections enough for every worker.
const STREAMS_PER_CONNECTION: usize = 4;

pub(super) fn run(h2load: &Path, site: &Site<'_>, seconds: u64) -> Result<Load> {
    let requests_log = site.dir.join("h2load-requests.log");
    let mut command = Command::new(h2load);
    if site.mode.client() == Client::Paced {
        command.args(["--h1", "--clients", &CONCURRENCY.to_string()]);
        if let Some(rate) = site.steady {
            command.args(["--rps", &(rate / CONCURRENCY).to_string()]);
        }
    } else {
        let connections = (CONCURRENCY / STREAMS_PER_CONNECTION).to_string();
        let streams = STREAMS_PER_CONNECTION.to_string();
        command.args(["--clients", &connections, "--max-concurrent-streams", &streams]);
    }
    command
        .args(["--threads", &threads().to_string()])
        .args(["--duration", &seconds.to_string()])
        // Its summary has no percentiles, its log has the time of each request.
        .arg(format!("--log-file={}", requests_log.display()))
        .args(site.mode.paths().iter().map(|path| format!("http://127.0.0.1:{}{path}", site.port)));
    // h2load appends to a log that exists.
    remove_if_present(&requests_log)?;
    let output = process::run("h2load", command, site.dir, Duration::from_secs(seconds + 30))?;
    let log = std::fs::read_to_string(&requests_log).context("read h2load's log")?;
    remove_if_present(&requests_log)?;
    explain(parse(&output, &log), &output)
}

fn remove_if_present(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("remove h2load's log")
        }
        _ => Ok(()),
    }
}

fn parse(output: &str, log: &str) -> Result<Load> {
    let line = |start: &str| {
        output.lines().find_map(|line| line.strip_prefix(start)).with_context(|| format!("no line {start:?}"))
    };
    let seconds = line("finished in ")?.split_once("s,").and_then(|(seconds, _)| seconds.parse().ok());
    let counts = line("requests:")?;
    for kind in ["failed", "errored", "timeout"] {
        let count = count_before(counts, kind)?;
        ensure!(count == 0, "{count} requests {kind}");
    }
    let requests = count_before(counts, "succeeded")?;
    // There may be more 2xx than succeeded: answers whose head had come when the time was up, and the body had not.
    let statuses = line("status codes:")?;
    for class in ["3xx", "4xx", "5xx"] {
        let count = count_before(statuses, class)?;
        ensure!(count == 0, "{count} answers are {class}");
    }
    ensure_whole_bodies(requests, bytes_of_data(line("traffic:")?)?, BODY_BYTES)?;

    let mut microseconds = Vec::new();
    for entry in log.lines() {
        let (_, time) = entry.rsplit_once('\t').context("odd entry in h2load's log")?;
        microseconds.push(time.parse::<u64>().context("odd time in h2load's log")?);
    }
    microseconds.sort_unstable();
    Ok(Load {
        requests,
        seconds: seconds.context("no duration")?,
        p50_ms: percentile(&microseconds, 50)? / 1e3,
        p99_ms: percentile(&microseconds, 99)? / 1e3,
    })
}

/// Of `100 total, 98 succeeded`, the number before the word.
fn count_before(line: &str, word: &str) -> Result<u64> {
    line.split(',')
        .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        .with_context(|| format!("no count of {word}"))
}

/// Of `1.08MB (1137056) total, 750.00KB (768000) headers (space savings 51%), 78.13KB (80000) data`, the last.
fn bytes_of_data(line: &str) -> Result<u64> {
    line.trim()
        .strip_suffix(") data")
        .and_then(|line| line.rsplit_once('('))
        .and_then(|(_, bytes)| bytes.parse().ok())
        .context("no count of data bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
progress: 100% of clients started
finished in 2.00s, 50.00 req/s, 51.08KB/s
requests: 100 total, 164 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.08MB (113705) total, 750.00KB (768) headers (space savings 51.02%), 100.00KB (102400) data
";

    fn log() -> String {
        (1..=100).rev().map(|time| format!("17952532\t200\t{}\n", time * 10)).collect()
    }

    #[test]
    fn a_clean_run_is_read() {
        assert_eq!(
            parse(OUTPUT, &log()).unwrap(),
            Load { requests: 100, seconds: 2.0, p50_ms: 0.5, p99_ms: 0.99 }
        );
    }

    #[test]
    fn an_answer_cut_off_by_the_end_of_the_time_is_no_failure() {
        assert_eq!(parse(&OUTPUT.replace("100 2xx", "101 2xx"), &log()).unwrap().requests, 100);
    }

    #[test]
    fn any_failure_fails_the_run() {
        for (clean, broken) in [
            ("0 failed", "1 failed"),
            ("0 errored", "1 errored"),
            ("0 timeout", "1 timeout"),
            ("0 3xx", "1 3xx"),
            ("0 4xx", "1 4xx"),
            ("0 5xx", "1 5xx"),
            ("(102400) data", "(2048) data"),
            ("requests:", "requests"),
        ] {
            assert!(parse(&OUTPUT.replace(clean, broken), &log()).is_err(), "{broken}");
        }
        assert!(parse(OUTPUT, "").is_err());
    }
}
