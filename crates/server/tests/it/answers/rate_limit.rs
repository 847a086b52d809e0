//! `RateLimit` and `RateLimit-Policy`.

use super::one;
use crate::harness::{Answer, Client, Origin, Server, answer};

/// Whether `line` is `expected`, but for the time that has passed since the quota was taken from.
fn is(line: &str, expected: &str) -> bool {
    let mut slow = true;
    let mut times = expected.split(";t=").skip(1).map(|rest| seconds(rest).0);
    let mut text = String::new();
    for (place, part) in line.split(";t=").enumerate() {
        if place == 0 {
            text.push_str(part);
            continue;
        }
        let (said, rest) = seconds(part);
        let wanted = times.next().unwrap_or(0);
        slow &= (wanted.saturating_sub(100)..=wanted).contains(&said);
        text.push_str(&format!(";t={wanted}{rest}"));
    }
    slow && text == expected
}

/// The number that `text` begins with, and what follows.
fn seconds(text: &str) -> (u64, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..digits].parse().expect("seconds"), &text[digits..])
}

fn told(answer: &Answer) -> (Vec<&str>, Option<&str>) {
    let lines = answer.headers.get_all("ratelimit").iter();
    (lines.map(|value| value.to_str().expect("ASCII")).collect(), answer.header("ratelimit-policy"))
}

#[tokio::test]
async fn each_answer_says_what_is_left_and_under_which_policy() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&one(&origin, "rate_limiter = { limit = \"2/h\", burst = 3 }"));
    let policy = Some("\"default\";q=3;w=5400");
    for (client, status, item) in [
        (Client::new(server.address), 200, "\"default\";r=2;t=1800"),
        (Client::new(server.address).http2(), 200, "\"default\";r=1;t=3600"),
        (Client::new(server.address), 200, "\"default\";r=0;t=5400"),
        (Client::new(server.address), 429, "\"default\";r=0;t=1800"),
        (Client::new(server.address).http2(), 429, "\"default\";r=0;t=1800"),
    ] {
        let answered = client.get("/").await;
        assert_eq!(answered.status, status);
        let (lines, said) = told(&answered);
        assert!(lines.len() == 1 && is(lines[0], item), "{lines:?} is not {item}");
        assert_eq!(said, policy);
        let wait = answered.header("retry-after");
        assert_eq!(wait, (status == 429).then(|| lines[0].rsplit_once('=').expect("a time").1));
    }
}

#[tokio::test]
async fn several_limiters_are_several_items() {
    let origin = Origin::start(|_| async { answer(200, &[("ratelimit", "\"own\";r=9")], "") }).await;
    let traffic = format!(
        "[limit.\"the \\\"plan\\\"\"]\nlimit = \"5/h\"\nby = \"header:x-key\"\n[limit.billed]\nlimit = \"7/h\"\n\
         count = \"attempts\"\n[limit.special]\nlimit = \"9/h\"\nby = \"header:x-key\"\n\
         overrides = {{ vip = {{ limit = \"1/h\" }} }}\n{}",
        one(
            &origin,
            "rate_limiter = { limit = \"4/h\" }\nlimits = [\"the \\\"plan\\\"\", \"billed\", \"special\"]"
        )
    );
    let server = Server::start(&traffic);
    let client = Client::new(server.address);
    let first = client.get_with("/", &[("x-key", "vip")]).await;
    let (lines, policy) = told(&first);
    let expected = [
        "\"own\";r=9",
        "\"default\";r=3;t=900, \"the \\\"plan\\\"\";r=4;t=720, \"special\";r=0;t=3600",
        "\"billed\";r=6;t=515",
    ];
    assert!(
        lines.len() == 3 && lines.iter().zip(expected).all(|(line, expected)| is(line, expected)),
        "{lines:?}"
    );
    // Not everybody has the same of `special`.
    let expected = "\"default\";q=4;w=3600, \"the \\\"plan\\\"\";q=5;w=3600, \"billed\";q=7;w=3600";
    assert_eq!(policy, Some(expected));
    let refused = client.get_with("/", &[("x-key", "vip")]).await;
    assert_eq!(refused.status, 429);
    let (lines, _) = told(&refused);
    let [line] = lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with("\"default\";r=2;t=") && line.contains("\"special\";r=0;t="), "{line}");
}

#[tokio::test]
async fn nothing_is_told_where_it_is_switched_off_or_nothing_is_limited() {
    let origin = Origin::statuses(&[200]).await;
    let limited = one(&origin, "rate_limiter = { limit = \"1/h\" }");
    let off = Server::start(&format!("[server.answers]\nrate_limit_headers = false\n{limited}"));
    let unlimited = Server::start(&one(&origin, ""));
    for (server, statuses) in [(off, [200, 429]), (unlimited, [200, 200])] {
        for status in statuses {
            let answered = Client::new(server.address).get("/").await;
            assert_eq!((answered.status, told(&answered)), (status, (Vec::new(), None)));
        }
    }
}
