//! What `intertie simulate` says of a file and a script, and how it refuses what it can not run.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{FILE, GOOD, Run, folder, intertie, root};

const SCRIPT: &str = "faults.toml";

/// A service of one server that can answer 100 calls a second, gets 20, and is away for five seconds.
const OUTAGE: &str = r#"seed = 3
duration = "40s"

[route."/**"]
rate = "20/s"
latency = { constant = "10ms" }
capacity = 1
queue = 10

[[route."/**".fault]]
at = "10s"
for = "5s"
effect = "refuse"
"#;

fn with_script(file: &str, script: &str) -> TempDir {
    let folder = folder(file);
    std::fs::write(folder.path().join(SCRIPT), script).expect("written");
    folder
}

fn simulate(file: &str, script: &str, options: &[&str]) -> Run {
    let arguments: Vec<_> =
        ["simulate", FILE, "--script", SCRIPT].into_iter().chain(options.iter().copied()).collect();
    intertie(with_script(file, script).path(), &arguments)
}

fn as_json(file: &str, script: &str) -> Value {
    let run = simulate(file, script, &["--json"]);
    assert!(run.code < 2, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

/// One error at `place` of the script, which says `words`.
fn refused(script: &str, place: &str, words: &str) {
    let run = simulate(GOOD, script, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{script}");
    assert!(run.stderr.contains(&format!("\n  --> {SCRIPT}:{place}\n")), "no {place} in {}", run.stderr);
    assert!(run.stderr.contains(words), "no `{words}` in {}", run.stderr);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{}", run.stderr);
}

#[test]
fn a_simulation_in_full() {
    let run = simulate(GOOD, OUTAGE, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(
        run.stdout,
        "\
route `/**` to service `shop`
  offered        780 calls in 40s, seed 3
  succeeded      679 (87.1%)
  failed         101 (12.9%) refused: nobody was there
  amplification  1.00 attempts for each call; 1.00 in the worst second, 1.00 in the worst 5s
  latency        p50 10ms, p99 22ms of the calls that succeeded
  fault          refuse from 10s for 5s: all was well when it ended
  goodput        |██████████     █████████████████████████| 1s a mark
  faults         |          ^^^^^                         |
"
    );
}

#[test]
fn the_same_seed_says_the_same_and_another_one_does_not() {
    let run = |options: &[&str]| simulate(GOOD, OUTAGE, options).stdout;
    assert_eq!(run(&[]), run(&[]));
    assert_eq!(run(&[]), run(&["--seed", "3"]), "the script's own seed");
    let other = run(&["--seed", "4"]);
    assert_ne!(run(&[]), other);
    assert!(other.contains("seed 4"), "{other}");
}

#[test]
fn the_routes_effective_policies_are_tried() {
    let failed = |file: &str| as_json(file, OUTAGE)["/**"]["report"]["failed"].clone();
    assert!(failed(GOOD)["refused"].as_u64() > Some(80), "without policies all calls of the fault fail");
    let breaker = "\n[defaults]\ncircuit_breaker = { preset = \"sensitive\", open = \"2s\" }\n";
    let guarded = format!("{GOOD}{breaker}");
    let broken = failed(&guarded);
    assert!(broken["circuit_breaker"].as_u64() > Some(60), "{broken}");
    assert!(broken["refused"].as_u64() < Some(20), "{broken}");
    let off = guarded.replace("to = \"shop\"", "to = \"shop\"\ncircuit_breaker = \"off\"");
    assert_eq!(failed(&off), failed(GOOD), "the route's own key wins");
    for (keys, reason) in [
        ("rate_limiter = { limit = \"5/s\", burst = 1 }", "rate_limiter"),
        ("deadline = \"15ms\"", "deadline"),
        ("attempt_timeout = \"5ms\"", "attempt_timeout"),
        ("bulkhead = { concurrent = 1 }", "bulkhead"),
    ] {
        let failed = failed(&format!("{GOOD}{keys}\n"));
        assert!(failed[reason].as_u64() > Some(5), "{keys}: {failed}");
    }
    let retry = "retry = { preset = \"quick\", attempts = 2, budget = \"100%\" }\n";
    let report = &as_json(&format!("{GOOD}{retry}"), OUTAGE)["/**"]["report"];
    assert!(report["amplification"]["worst_second"].as_f64() > Some(1.5), "{report}");
}

#[test]
fn an_outage_without_an_end_is_told_by_the_exit_code() {
    let late = OUTAGE.replace("at = \"10s\"", "at = \"32s\"");
    let run = simulate(GOOD, &late, &[]);
    assert_eq!(run.code, 1, "three seconds are too few to see that all is well");
    assert!(run.stdout.contains("refuse from 32s for 5s: never recovered"), "{}", run.stdout);
}

#[test]
fn what_is_left_out_is_said() {
    let file = GOOD
        .replace("to = \"shop\"", "to = \"shop\"\nlimits = [\"plan\"]")
        .replace(" }]", " }, { at = \"127.0.0.1:7002\" }]")
        + "\n[limit.plan]\nlimit = \"1/s\"\n";
    let run = simulate(&file, OUTAGE, &[]);
    for line in [
        "\n  left out       the shared limits plan\n",
        "\n  left out       the choice of an endpoint: one stands for all 2\n",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
    assert_eq!(as_json(&file, OUTAGE)["/**"]["left_out"][0], "the shared limits plan");
    assert!(!simulate(GOOD, OUTAGE, &[]).stdout.contains("left out"));
}

#[test]
fn a_wrong_script_is_refused_at_its_place() {
    let change = |from: &str, to: &str| {
        assert!(OUTAGE.contains(from), "{from}");
        OUTAGE.replace(from, to)
    };
    for (script, place, words) in [
        (change("capacity", "capcity"), "7:1", "did you mean `capacity`?"),
        (change("\"refuse\"", "\"refus\""), "13:10", "did you mean `refuse`?"),
        (change("\"refuse\"", "{ slow = 0 }"), "13:19", "expected a whole number above 0"),
        (change("constant", "constnat"), "6:13", "did you mean `constant`?"),
        (change("\"20/s\"", "20"), "5:8", "expected a rate as text"),
        (change("capacity = 1\n", ""), "4:1", "the key `capacity` is missing"),
        (change("constant = \"10ms\"", "uniform = [\"1ms\", \"9ms\"]"), "6:23", "`uniform` is no list"),
        (change("\"5s\"", "\"0s\""), "12:1", "0s is over before it begins"),
        (
            change("\"5s\"", "\"30s\""),
            "12:1",
            "a fault at 10s for 30s is not over before the simulation, 40s",
        ),
        (change("\"20/s\"", "\"900000/s\""), "5:1", "are 36000000 calls, above 5000000"),
        (
            change("duration = \"40s\"", "duration = \"0s\"").split("\n[[").next().expect("text").to_owned(),
            "2:1",
            "0s leaves no time",
        ),
        (change("\"40s\"", "\"25h\""), "2:1", "1day 1h is above 1day, the most that is simulated"),
        (
            change("{ constant = \"10ms\" }", "{ uniform = { from = \"9ms\", to = \"1ms\" } }"),
            "6:1",
            "is below `from`",
        ),
        (change("\"refuse\"", "{ fail = \"0%\" }"), "13:1", "`fail` of 0% does nothing"),
    ] {
        refused(&script, place, words);
    }
    let run = simulate(GOOD, "seed = 1\n[route]\n", &[]);
    assert!(run.stderr.contains("the script is about no route"), "{}", run.stderr);
    let run = simulate(GOOD, "", &[]);
    assert!(
        run.stderr.contains("the file is empty\n  --> faults.toml\n  = help: a first script: "),
        "{}",
        run.stderr
    );
    let run = intertie(folder(GOOD).path(), &["simulate", FILE, "--script", "nowhere.toml"]);
    assert_eq!((run.code, run.stderr.as_str()), (2, "error: there is no such file\n  --> nowhere.toml\n\n"));
}

#[test]
fn a_route_that_the_file_has_not_is_refused_with_the_nearest() {
    let file = GOOD.replace("/**", "/orders/**");
    let script = OUTAGE.replace("/**", "/order/**");
    let run = simulate(&file, &script, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert_eq!(
        run.stderr,
        "\
error: the file has no route `/order/**`
  --> faults.toml:4:8
  |
4 | [route.\"/order/**\"]
  |        ^^^^^^^^^^^
  = help: did you mean `/orders/**`?

"
    );
}

#[test]
fn more_callers_than_the_limiter_remembers_are_refused() {
    let file =
        format!("{GOOD}rate_limiter = {{ limit = \"1/s\", by = \"client_address\", keys_max = 10 }}\n");
    let crowd = OUTAGE.replace("capacity = 1\n", "capacity = 1\nclients = 11\n");
    let run = simulate(&file, &crowd, &[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("11 are more than the 10 callers"), "{}", run.stderr);
    assert!(run.stderr.contains("--> faults.toml:8:1"), "{}", run.stderr);
}

#[test]
fn policies_that_can_not_work_are_refused_in_their_own_file() {
    let file = format!("{GOOD}retry = {{ base = \"40s\", cap = \"50s\" }}\n");
    let run = simulate(&file, OUTAGE, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("40s can never be over before the deadline, 30s"), "{}", run.stderr);
    assert!(run.stderr.contains("--> intertie.toml:6:1"), "{}", run.stderr);
}

#[test]
fn the_script_of_the_shop_ends_well() {
    let shop: &Path = &root().join("examples/shop");
    let run = intertie(shop, &["simulate", "intertie.toml", "--script", "faults.toml"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(run.stdout.matches("route `").count(), 2);
}
