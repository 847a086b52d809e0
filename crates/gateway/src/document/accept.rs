//! Whether a client asks for problem documents (RFC 9457) in its `Accept` (RFC 9110, section 12.5.1). Pure.

use crate::field::parts;

/// Whether a value of `Accept` names `application/problem+json` at all: what no client that does not know it
/// does, so that nobody else pays for the negotiation.
pub fn names_problem(value: &[u8]) -> bool {
    const NAME: &[u8] = b"problem+json";
    value.contains(&b'+') && value.windows(NAME.len()).any(|window| window.eq_ignore_ascii_case(NAME))
}

/// Whether a client with these values of `Accept` takes problem documents and likes them no less than our own
/// `application/json`. A wildcard does not ask for them: whoever sends one takes what is the default.
pub fn prefers_problem<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut problem = 0;
    // For `application/json`: the quality by the most specific range so far, and how specific it is.
    let mut json = (0, 0);
    for range in values.flat_map(|value| parts(value, b',')) {
        let mut pieces = parts(range, b';');
        let name = pieces.next().unwrap_or_default();
        let Some(quality) = quality(pieces) else { continue };
        if name.eq_ignore_ascii_case(b"application/problem+json") {
            problem = quality;
        }
        let specific = [&b"*/*"[..], b"application/*", b"application/json"]
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known))
            .map_or(0, |position| position + 1);
        if specific > json.1 {
            json = (quality, specific);
        }
    }
    problem > 0 && problem >= json.0
}

/// The quality in thousandths among the parameters of a media range: 1000 without one, `None` when it is
/// malformed.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let weight = parameters.find_map(|parameter| match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => Some(weight),
        _ => None,
    });
    let Some(weight) = weight else { return Some(1000) };
    let (whole, decimals) = match weight {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] => (whole, decimals),
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| decimals.get(place).map_or(0, |digit| u16::from(digit - b'0'));
    let thousandths = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[&str], expected: bool) {
        let asked = prefers_problem(values.iter().map(|value| value.as_bytes()));
        assert_eq!(asked, expected, "{values:?}");
        if expected {
            assert!(values.iter().any(|value| names_problem(value.as_bytes())), "{values:?}");
        }
    }

    #[test]
    fn only_who_names_it_and_likes_it_no_less_gets_it() {
        check(&["application/problem+json"], true);
        check(&["Application/Problem+JSON"], true);
        check(&["application/json, application/problem+json"], true);
        check(&["application/json", "application/problem+json"], true);
        check(&["application/problem+json;q=0.9, application/json;q=0.8"], true);
        check(&["application/problem+json; Q=0.5, application/*;q=0.5"], true);
        check(&["application/problem+json;q=0.5, */*;q=0.8, application/json;q=0.3"], true);
        check(&["text/x;a=\"\\\",application/json\", application/problem+json;q=0.001"], true);
        check(&["*/*"], false);
        check(&["application/*"], false);
        check(&["application/json"], false);
        check(&["application/problem+json;q=0.5, */*"], false);
        check(&["application/problem+json;q=0.5", "application/json"], false);
        check(&["application/problem+json;q=0"], false);
        check(&["application/problem+json;q=0.000"], false);
        check(&["text/x;a=\", application/problem+json\""], false);
        check(&["application/problem+json-seq"], false);
        check(&["application/xhtml+xml, image/svg+xml"], false);
        check(&[], false);
    }

    #[test]
    fn a_malformed_quality_takes_its_range_away() {
        for weight in ["2", "1.001", "0.0001", "", "-1", ".5", "x", "1.0.0", "\"1\""] {
            check(&[&format!("application/problem+json;q={weight}")], false);
        }
        for weight in ["1", "1.", "1.000", "0.001", "0.5"] {
            check(&[&format!("application/problem+json;q={weight}")], true);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..3)) {
            let asked = prefers_problem(values.iter().map(Vec::as_slice));
            prop_assert!(!asked || values.iter().any(|value| names_problem(value)));
        }

        /// Against a naive reader of well-formed lists.
        #[test]
        fn the_order_of_ranges_never_matters(
            ranges in prop::collection::btree_map(
                prop::sample::select(vec![
                    "application/problem+json", "application/json", "application/*", "*/*", "text/html",
                ]),
                0_u16..=1000,
                0..5,
            ),
            seed in any::<u64>(),
        ) {
            let of = |name: &str| ranges.get(name).copied();
            let json = of("application/json").or(of("application/*")).or(of("*/*")).unwrap_or(0);
            let problem = of("application/problem+json").unwrap_or(0);
            let expected = problem > 0 && problem >= json;
            let mut words: Vec<_> = ranges
                .iter()
                .map(|(name, quality)| format!("{name};q={}.{:03}", quality / 1000, quality % 1000))
                .collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut words);
            prop_assert_eq!(prefers_problem([words.join(" , ").as_bytes()].into_iter()), expected);
        }
    }
}
