use anyhow::{Context, Result};

/// One case of h2spec.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// The section and the title: `http2/3.5 Sends client connection preface`.
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// Failed, was skipped, or could not be run.
    Failed {
        why: String,
    },
}

/// The cases of a JUnit report, as h2spec writes it: `<testcase package="…" classname="…" time="…">` with
/// nothing in it, or with what went wrong.
///
/// # Errors
/// A case that is not written so.
pub(super) fn cases(report: &str) -> Result<Vec<Case>> {
    report.split("<testcase ").skip(1).map(case).collect()
}

fn case(text: &str) -> Result<Case> {
    let read = || {
        let (attributes, rest) = text.split_once('>')?;
        let (body, _) = rest.split_once("</testcase>")?;
        let value = |name: &str| {
            let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| unescape(value))
        };
        Some((format!("{} {}", value("package")?, value("classname")?), body))
    };
    let (name, body) = read().with_context(|| format!("no case of h2spec: {text}"))?;
    let outcome = match body.trim() {
        "" => Outcome::Passed,
        body => Outcome::Failed { why: unescape(body).split_whitespace().collect::<Vec<_>>().join(" ") },
    };
    Ok(Case { name, outcome })
}

fn unescape(text: &str) -> String {
    [("&#34;", "\""), ("&quot;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&#xA;", " ")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_case_by_case() {
        let report = "<?xml version=\"1.0\"?>\n<testsuites>\n  <testsuite name=\"a\" package=\"http2/3.5\">\n    \
            <testcase package=\"http2/3.5\" classname=\"Sends &#34;x&#34;\" time=\"0.1\"></testcase>\n    \
            <testcase package=\"http2/3.5\" classname=\"Sends y\" time=\"0.1\">\n      \
            <failure>Expected:&#xA;GOAWAY &amp; close</failure></testcase>\n  </testsuite>\n</testsuites>";
        let why = "<failure>Expected: GOAWAY & close</failure>".to_owned();
        assert_eq!(
            cases(report).expect("a report"),
            [
                Case { name: "http2/3.5 Sends \"x\"".to_owned(), outcome: Outcome::Passed },
                Case { name: "http2/3.5 Sends y".to_owned(), outcome: Outcome::Failed { why } },
            ]
        );
        assert_eq!(cases("").expect("nothing"), []);
        assert!(cases("<testcase package=\"a\"></testcase>").is_err());
        assert!(cases("<testcase package=\"a\" classname=\"b\">").is_err());
    }
}
