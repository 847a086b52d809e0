//! What users see of the command line: messages with their places, verdicts and exit codes.

mod errors;
mod explain;
mod plan;
mod routes;
mod schema;
mod simulate;
mod warnings;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::Server;

pub(super) use schema::{script_violations, violations};

/// The name of every file here, so that messages are the same everywhere.
const FILE: &str = "intertie.toml";

/// How a command ended and what it printed.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A folder with `text` as its `intertie.toml`.
pub(super) fn folder(text: impl AsRef<[u8]>) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join(FILE), text).expect("written");
    folder
}

/// Runs `intertie` in `folder` to its end.
pub(super) fn intertie(folder: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_intertie"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("COLUMNS")
        .output()
        .expect("intertie runs");
    Run {
        code: output.status.code().expect("it ended by itself"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What `check` printed but for the number of series, which changes whenever a metric is added.
pub(super) fn without_series(printed: &str) -> String {
    printed.split_inclusive('\n').filter(|line| !line.starts_with("series of metrics: ")).collect()
}

/// What `intertie check` makes of `text`: the exit code and all of `expected` in the output.
///
/// Whatever it prints, every place must be where it says it is; see [`messages`].
pub(super) fn check(text: &str, exit_code: i32, expected: &[&str]) -> Run {
    let run = intertie(folder(text).path(), &["check", FILE]);
    let all = format!("{}{}", run.stderr, run.stdout);
    assert_eq!(run.code, exit_code, "of\n{text}\nwhich prints\n{all}");
    for words in expected {
        assert!(all.contains(words), "no `{words}` for\n{text}\nwhich prints\n{all}");
    }
    messages(text, &run.stderr);
    run
}

/// One message about a file.
#[derive(Debug)]
struct Message {
    severity: String,
    /// The whole message as printed.
    text: String,
    /// `line:column marked` of each place: `6:11 atempts`.
    places: Vec<String>,
}

/// The messages of `printed`, each place compared with the file's own `text`.
fn messages(text: &str, printed: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    for block in printed.split("\n\n").map(str::trim_end).filter(|block| !block.is_empty()) {
        let lines: Vec<&str> = block.lines().collect();
        let severity = block.split(':').next().unwrap_or_default().to_owned();
        let heads = lines.iter().enumerate().filter_map(|(number, line)| {
            let place = line.strip_prefix("  --> ").or_else(|| line.strip_prefix("  and "))?;
            Some((number, place.strip_prefix(FILE)?.strip_prefix(':')?))
        });
        let places = heads.map(|(number, place)| marked(text, place, &lines[number + 1..])).collect();
        messages.push(Message { severity, text: block.to_owned(), places });
    }
    messages
}

/// The place `line:column` with what its excerpt marks, when the excerpt is true.
fn marked(text: &str, place: &str, excerpt: &[&str]) -> String {
    let (line, column) = place.split_once(':').expect("a line and a column");
    let number: usize = line.parse().expect("a line");
    let column: usize = column.parse().expect("a column");
    let content = text.lines().nth(number - 1).unwrap_or_default();
    let margin = " ".repeat(line.len());
    if !excerpt.first().is_some_and(|line| line.trim_start().starts_with('|')) {
        let above: String = text.lines().take(number).collect();
        assert!(above.contains("token"), "only what may be a secret is not shown: {place}");
        return place.to_owned();
    }
    assert_eq!(excerpt[0], format!("{margin} |"), "{place}");
    assert_eq!(excerpt[1], format!("{line} | {content}"), "{place}");
    let below = excerpt[2].strip_prefix(&format!("{margin} | ")).expect("a margin");
    let carets = below.trim_start().to_owned();
    assert_eq!(below.chars().count() - carets.len(), column - 1, "the caret of {place} is in its column");
    assert!(!carets.is_empty() && carets.bytes().all(|byte| byte == b'^'), "carets: {carets:?}");
    let marked: String = content.chars().skip(column - 1).take(carets.len()).collect();
    format!("{place} {marked}")
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_owned()
}

pub(super) const GOOD: &str = r#"[service.shop]
endpoints = [{ at = "127.0.0.1:7001" }]

[route."/**"]
to = "shop"
"#;

#[test]
fn exit_codes_tell_good_doubtful_and_refused_files_apart() {
    let noted = format!(
        "{GOOD}rate_limiter = {{ limit = \"1/s\" }}\nretry = \"quick\"\nattempt_timeout = \"1s\"\ncircuit_breaker = \"standard\"\n"
    );
    check(GOOD, 0, &["1 route, 1 service, 0 warnings, 0 notes"]);
    check(&noted, 0, &["note: ", "0 warnings, 1 note"]);
    let doubtful = check(&format!("{GOOD}retry = \"quick\"\n"), 1, &["2 warnings, 0 notes"]);
    assert!(doubtful.stdout.starts_with("worst-case"), "the verdict of a file that runs goes to stdout");
    let refused = check(&format!("{GOOD}retry = \"quik\"\n"), 2, &["error: "]);
    assert_eq!(refused.stdout, "", "nothing is said of a file that can not run");
}

#[test]
fn a_file_that_is_refused_is_refused_by_every_command() {
    for wrong in [GOOD.replace("endpoints", "endpoint"), GOOD.replace("to = \"shop\"", "to = \"shpo\"")] {
        let folder = folder(wrong);
        let refusal = intertie(folder.path(), &["check", FILE]);
        for arguments in [&["up", FILE][..], &["explain", FILE, "GET", "/"]] {
            let run = intertie(folder.path(), arguments);
            assert_eq!((run.code, run.stdout, run.stderr), (2, String::new(), refusal.stderr.clone()));
        }
    }
}

#[test]
fn a_file_that_can_not_be_read_is_refused() {
    let folder = folder(b"[service.shop]\n# caf\xe9\n");
    let run = intertie(folder.path(), &["check", FILE]);
    assert_eq!(run.code, 2);
    assert_eq!(
        run.stderr,
        "error: the file is not UTF-8: a byte in line 2 is no part of a character\n  --> intertie.toml\n\n"
    );
    let run = intertie(folder.path(), &["check", "nowhere.toml"]);
    assert_eq!(run.code, 2);
    assert_eq!(run.stderr, "error: there is no such file\n  --> nowhere.toml\n\n");
    let run = intertie(folder.path(), &["check", "."]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.starts_with("error: the file can not be read: "), "{}", run.stderr);
    for nothing in ["", "\n \n\t\n"] {
        check(nothing, 2, &["error: the file is empty\n  --> intertie.toml\n  = help: a first file: "]);
    }
}

#[test]
fn up_says_which_address_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let server = Server::start(GOOD);
    let other = server.address.to_string();
    for (own, (address, place)) in [
        (format!("listen = [\"{address}\"]\nadmin = \"127.0.0.1:0\""), (&address, "2:11")),
        (format!("listen = [\"127.0.0.1:0\", \"{address}\"]\nadmin = \"127.0.0.1:0\""), (&address, "2:26")),
        (format!("listen = [\"127.0.0.1:0\"]\nadmin = \"{address}\""), (&address, "3:1")),
        // A second server must not quietly take half of the first one's connections.
        (format!("listen = [\"{other}\"]\nadmin = \"127.0.0.1:0\""), (&other, "2:11")),
    ] {
        let folder = folder(format!("[server]\n{own}\n\n{GOOD}"));
        let run = intertie(folder.path(), &["up", FILE]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        let first = format!("error: failed to listen on {address}: Address already in use (os error 98)\n");
        assert!(run.stderr.contains(&format!("{first}  --> {FILE}:{place}\n")), "{}", run.stderr);
        assert!(run.stderr.contains("= help: `ss -ltnp 'sport = :"), "{}", run.stderr);
    }
}

#[test]
fn help_shows_every_command_with_an_example_and_hides_what_is_not_for_people() {
    let folder = folder(GOOD);
    let help = intertie(folder.path(), &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    let (_, rest) = help.stdout.split_once("\nCommands:\n").expect("a list of commands");
    let (commands, rest) = rest.split_once("\n\n").expect("an end of the list");
    let commands: Vec<_> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        commands,
        ["up", "check", "explain", "simulate", "plan", "health", "queue", "data", "schema", "demo", "help"]
    );
    let (_, examples) = rest.split_once("\nExamples:\n").expect("examples");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(
            examples.contains(&format!("\n  intertie {command}"))
                || examples.starts_with(&format!("  intertie {command}")),
            "{command}"
        );
        let own = intertie(folder.path(), &[command, "--help"]);
        assert_eq!((own.code, own.stderr.as_str()), (0, ""), "{command}");
        assert!(own.stdout.contains(&format!("Usage: intertie {command}")), "{}", own.stdout);
        assert!(!own.stdout.contains("until-stdin-closes"), "{}", own.stdout);
    }
    assert!(!help.stdout.contains("demo-service"), "{}", help.stdout);
    for code in ["0", "1", "2", "3"] {
        assert!(help.stdout.contains(&format!("\n  {code}  ")), "exit code {code} is explained");
    }
}

#[test]
fn a_command_line_that_can_not_be_read_is_refused() {
    let folder = folder(GOOD);
    for (arguments, words) in [
        (&[][..], "Usage: intertie <COMMAND>"),
        (&["chekc", FILE], "unrecognized subcommand 'chekc'"),
        (&["check"], "<FILE>"),
        (&["check", FILE, "--strict"], "unexpected argument '--strict'"),
        (&["explain", FILE, "GET"], "<URL>"),
        (&["simulate", FILE], "--script <FAULTS>"),
    ] {
        let run = intertie(folder.path(), arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    }
    let version = intertie(folder.path(), &["--version"]);
    assert_eq!(version.stdout, format!("intertie {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn waits_are_a_list() {
    let keys =
        "retry = { waits = [\"100ms\", \"1s\"] }\nattempt_timeout = \"1s\"\ncircuit_breaker = \"standard\"";
    assert_eq!(check(&format!("{GOOD}{keys}\n"), 0, &[]).stderr, "");
}
