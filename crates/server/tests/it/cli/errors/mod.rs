//! What `intertie check` refuses, routes aside: one error each, at its place, with what would mend it.

mod in_full;
mod keys_and_values;
mod settings;
mod transports;

use super::{GOOD, Message, check, messages};

/// `text` is refused with one error that marks `places` and says all of `words`.
pub(super) fn refused(text: &str, places: &[&str], words: &[&str]) {
    let run = check(text, 2, words);
    assert_eq!(run.stdout, "", "{text}");
    let error = the_error(text, &run.stderr);
    assert_eq!(error.places, places, "of\n{}", error.text);
    for words in words {
        assert!(error.text.contains(words), "no `{words}` in\n{}", error.text);
    }
}

pub(super) fn the_error(text: &str, printed: &str) -> Message {
    let mut errors: Vec<_> =
        messages(text, printed).into_iter().filter(|message| message.severity == "error").collect();
    assert_eq!(errors.len(), 1, "one error is made, one is told:\n{printed}");
    errors.remove(0)
}

/// [`GOOD`] with `keys` as its route's own; the first of them stands in line 6.
fn route(keys: &str) -> String {
    format!("{GOOD}{keys}\n")
}

/// [`GOOD`] with `keys` as its service's own; the first of them stands in line 3.
fn service(keys: &str) -> String {
    GOOD.replacen("\n\n", &format!("\n{keys}\n\n"), 1)
}

/// [`GOOD`] after `section`.
fn after(section: &str) -> String {
    format!("{section}\n\n{GOOD}")
}

/// The service alone, then `routes`; the first of them stands in line 4.
pub(super) fn routes(routes: &str) -> String {
    let (service, _) = GOOD.split_once("[route").expect("a route");
    format!("{service}{routes}\n")
}

pub(super) fn golden(text: &str, expected: &str) {
    let run = check(text, 2, &[]);
    assert_eq!(format!("{}{}", run.stderr, run.stdout), expected);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = "\
[service.shop]
endpoints = []
use = \"standard\"

[route.\"/**\"]
to = \"shpo\"
deadline = \"1s\"
attempt_timeout = \"2s\"
limits = [\"provider\"]
";
    let run = check(text, 2, &[]);
    let errors: Vec<_> =
        messages(text, &run.stderr).into_iter().filter(|message| message.severity == "error").collect();
    let places: Vec<_> = errors.iter().map(|error| error.places[0].as_str()).collect();
    assert_eq!(places, ["8:1 attempt_timeout", "9:1 limits", "6:1 to", "2:1 endpoints", "3:1 use"]);
}
