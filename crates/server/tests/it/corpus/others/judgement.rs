//! What to make of a disagreement.

/// The beginning of the page.
pub(super) const HEAD: &str = "\
# The corpus of messages in doubt

What becomes of each message of the corpus in `crates/server/tests/it/corpus` here, in nginx and in HAProxy, each before the same service; made by `cargo xtask corpus`.
A cell of a request has the final statuses that came back, `closed` where none did; a cell of an answer has the client's status and body.
*Smuggled* is a second request that reached the service and that none of its readers may have seen; *forwarded in doubt* is a message that can be read in two ways.
Clauses are of RFC 9112 unless another is named.
nginx and HAProxy have their defaults but for short waits.

";

/// Disagreements that need more words than the rule has.
const JUDGED: &[(&str, &str)] = &[];

/// One line on why the proxies differ, empty where they do not. `allowed` are the statuses that the RFC allows,
/// which are looked up where they are known.
pub(super) fn judge(name: &str, clause: &str, outcomes: &[String], allowed: Option<&[&[u16]]>) -> String {
    if outcomes.iter().all(|outcome| *outcome == outcomes[0]) {
        return String::new();
    }
    if let Some((_, judged)) = JUDGED.iter().find(|(known, _)| *known == name) {
        return (*judged).to_owned();
    }
    let others =
        outcomes[1..].iter().zip(["nginx", "HAProxy"]).filter(|(outcome, _)| **outcome != outcomes[0]);
    let clause = &super::shown(clause);
    let lines: Vec<_> =
        others.map(|(other, name)| difference(name, clause, &outcomes[0], other, allowed)).collect();
    lines.join("; ")
}

fn difference(name: &str, clause: &str, ours: &str, other: &str, allowed: Option<&[&[u16]]>) -> String {
    let refuses = |outcome: &str| {
        outcome.starts_with(['4', '5', 'c']) || outcome.contains(" 4") || outcome.contains("cut off")
    };
    if other.contains("in doubt") || other == "no HTTP" {
        return format!("{name} passes on what {clause} does not allow");
    }
    if ours == "400" && matches!(other, "501" | "505") {
        return format!("{name} has the status that RFC 9110, 15.6 made for it");
    }
    let statuses: Vec<u16> = other.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let permitted = allowed.map(|allowed| allowed.contains(&statuses.as_slice()));
    match (refuses(ours), refuses(other), permitted) {
        (true, true, _) => format!("{name} refuses too, in another way"),
        (_, _, Some(false)) => format!("{name} does what {clause} does not allow"),
        (true, false, Some(true)) => format!("{clause} allows {name} to be lenient"),
        (true, false, None) => format!("{name} passes on what {clause} lets a proxy refuse"),
        (false, true, _) => format!("{name} refuses what {clause} allows"),
        (false, false, _) => format!("{name} passes it on in another form"),
    }
}
