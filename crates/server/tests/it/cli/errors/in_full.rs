//! Whole messages, letter by letter.

use super::*;

#[test]
fn an_unknown_key_in_full() {
    golden(
        &route("retry = { atempts = 3 }"),
        "\
error: unknown key `atempts`
  --> intertie.toml:6:11
  |
6 | retry = { atempts = 3 }
  |           ^^^^^^^
  = help: did you mean `attempts`?

",
    );
}

#[test]
fn a_limit_that_can_never_fire_in_full() {
    let text = "\
[defaults]
deadline = \"5s\"

[policy.slow]
attempt_timeout = \"5s\"

[service.shop]
endpoints = [{ at = \"127.0.0.1:7001\" }]

[route.\"/**\"]
to = \"shop\"
use = \"slow\"
";
    golden(
        text,
        "\
error: an attempt_timeout of 5s can never fire: the deadline of route `/**` ends the call after 5s
  --> intertie.toml:5:1
  |
5 | attempt_timeout = \"5s\"
  | ^^^^^^^^^^^^^^^
  and intertie.toml:2:1
  |
2 | deadline = \"5s\"
  | ^^^^^^^^

",
    );
}

#[test]
fn a_missing_service_in_full() {
    golden(
        &GOOD.replace("to = \"shop\"", "to = \"shpo\""),
        "\
error: there is no service `shpo`
  --> intertie.toml:5:1
  |
5 | to = \"shpo\"
  | ^^
  = help: did you mean `shop`?

warning: nothing calls service `shop`
  --> intertie.toml:1:10
  |
1 | [service.shop]
  |          ^^^^

",
    );
}

#[test]
fn a_duration_without_a_unit_in_full() {
    golden(
        &route("# A tab, and letters of more than one byte: \u{e4}\u{20ac}.\n\tdeadline = \"30\""),
        "\
error: `30` is no duration; write a number and a unit, such as \"250ms\", \"30s\" or \"5min\"
  --> intertie.toml:7:13
  |
7 | \tdeadline = \"30\"
  | \t           ^^^^

",
    );
}

#[test]
fn a_broken_line_in_full() {
    golden(
        &GOOD.replace("[service.shop]", "[service.shop"),
        "\
error: unclosed table, expected `]`
  --> intertie.toml:1:14
  |
1 | [service.shop
  |              ^

",
    );
}
