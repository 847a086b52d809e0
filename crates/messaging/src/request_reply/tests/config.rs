use super::*;

#[test]
fn a_requester_that_says_nothing_waits_half_a_minute() {
    let config: RequesterConfig = toml::from_str("").expect("valid");
    assert_eq!(config, RequesterConfig::default());
    assert_eq!((config.timeout.as_secs(), config.in_flight_max.get(), config.fail_fast), (30, 1000, true));
    assert_eq!(config.validate(), Ok(()));
    let responder: ResponderConfig = toml::from_str("").expect("valid");
    assert!(responder.reply_to.matches("shop.replies") && !responder.reply_to.matches("shop.orders"));
}

#[test]
fn what_can_not_work_is_refused_with_value_and_limit() {
    for (text, field, words) in [
        ("timeout = \"0s\"", "timeout", "above zero"),
        ("answer_timeout = \"0s\"", "answer_timeout", "above zero"),
        ("backoff = { base = \"0s\" }", "backoff.base", "above zero"),
        (
            "backoff = { base = \"20s\", cap = \"10s\" }",
            "backoff.cap",
            "10s is shorter than `backoff.base`, which is 20s",
        ),
        ("auto_delete = \"1s\"", "auto_delete", "1s is shorter than `takeover`, which is 30s"),
        ("poll = \"30s\"", "takeover", "30s is over while one question for replies waits, `poll`, 30s"),
    ] {
        let config: RequesterConfig = toml::from_str(text).expect(text);
        let refused = config.validate().expect_err(text);
        assert_eq!(refused.field, field, "{text}");
        assert!(refused.problem.contains(words), "{text}: {}", refused.problem);
    }
    for text in ["in_flight_max = 0", "batch_max = 0", "patience = 1", "timeout = 5"] {
        toml::from_str::<RequesterConfig>(text).expect_err(text);
    }
    toml::from_str::<ResponderConfig>("reply_to = \"a*\"").expect_err("no pattern");
}
