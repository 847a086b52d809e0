//! What to make of a disagreement.

/// The beginning of the page.
pub(super) const HEAD: &str = "\
# The corpus of messages in doubt

What becomes of each message of the corpus in `crates/server/tests/it/corpus` here, in nginx and in HAProxy, each before the same service; made by `cargo xtask corpus`.
A cell of a request has the final statuses that came back, `closed` where none did; a cell of an answer has the client's status and body, `cut off` where the connection ended before its time.
*Smuggled* is a second request that reached the service and that none of its readers may have seen; *forwarded in doubt* is a message that can be read in two ways.
What the RFC allows is what the clause leaves, where SHOULD counts as MUST; clauses are of RFC 9112 unless another is named.
Most messages that the RFC lets a proxy mend are refused here: a request by 400, an answer by 502.
Where another proxy differs from ours, the last column says whether its outcome is allowed, and why it differs.
nginx and HAProxy have their defaults but for short waits.

";

/// Why a proxy does not do as ours, one sentence for each kind.
pub(super) struct Judgement {
    pub(super) words: &'static str,
    pub(super) cases: &'static [&'static str],
}

/// What a case is judged by.
pub(super) struct Rules<'a> {
    pub(super) allowed: &'a [String],
    /// Why ours is none of those.
    pub(super) departure: Option<&'static str>,
    /// On nginx and on HAProxy.
    pub(super) judgements: [&'static [Judgement]; 2],
}

/// Why the proxies differ, empty where they do not, and what nobody has judged yet.
pub(super) fn judge(name: &str, rules: &Rules<'_>, outcomes: &[String; 3]) -> (String, Vec<String>) {
    let (mut judged, mut missing) = (Vec::new(), Vec::new());
    let others = outcomes[1..].iter().zip(["nginx", "HAProxy"]).zip(rules.judgements);
    for ((outcome, proxy), judgements) in others.filter(|((outcome, _), _)| **outcome != outcomes[0]) {
        let verdict = if rules.allowed.contains(outcome) { "allowed" } else { "not allowed" };
        let mut known = judgements.iter().filter(|judgement| judgement.cases.contains(&name));
        match (known.next(), known.next()) {
            (Some(judgement), None) => judged.push((proxy, format!("{verdict}: {}", judgement.words))),
            (None, _) => missing.push(format!("{proxy}, {verdict}: {name}: {outcome}")),
            (Some(_), Some(_)) => missing.push(format!("{proxy}: {name} is judged twice")),
        }
    }
    let judged = match judged.as_slice() {
        [(one, of_one), (other, of_other)] if of_one == of_other => {
            vec![format!("{one} and {other}, {of_one}")]
        }
        each => each.iter().map(|(proxy, judgement)| format!("{proxy}, {judgement}")).collect(),
    };
    let departure = rules.departure.map(|why| format!("ours departs: {why}"));
    (departure.into_iter().chain(judged).collect::<Vec<_>>().join("; "), missing)
}
