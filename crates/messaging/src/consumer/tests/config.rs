use intertie_resilience::PipelineConfig;

use super::*;

fn parse(text: &str) -> ConsumerConfig {
    toml::from_str(text).expect(text)
}

#[test]
fn a_consumer_that_says_nothing_has_s2s_prefetch() {
    let config = parse("");
    assert_eq!(config, ConsumerConfig::default());
    assert_eq!((config.prefetch.get(), config.concurrent.get()), (10, 10));
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn what_can_not_work_is_refused_with_value_and_limit() {
    for (text, field, words) in [
        ("prefetch = 5", "prefetch", "5 is less than `concurrent`, which is 10"),
        ("visibility_timeout = \"0s\"", "visibility_timeout", "above zero"),
        ("poll = \"0s\"", "poll", "above zero"),
        ("handling_max = \"0s\"", "handling_max", "above zero"),
        ("backoff = { base = \"0s\" }", "backoff.base", "above zero"),
        (
            "backoff = { base = \"20s\", cap = \"10s\" }",
            "backoff.cap",
            "10s is shorter than `backoff.base`, which is 20s",
        ),
        ("inbox = { name = \"packing\", kept = \"0s\" }", "inbox.kept", "above zero"),
        ("pipeline = { deadline = \"5m\" }", "pipeline.deadline", "before `handling_max`, which is 5m"),
        ("pipeline = { attempt_timeout = \"1h\" }", "pipeline.attempt_timeout", "1h can never be over"),
    ] {
        let refused = parse(text).validate().expect_err(text);
        assert_eq!(refused.field, field, "{text}");
        assert!(refused.problem.contains(words), "{text}: {}", refused.problem);
    }
    for text in
        ["concurrency = 1", "prefetch = 0", "poll = 5", "inbox = { name = \"a b\" }", "panics = \"ack\""]
    {
        toml::from_str::<ConsumerConfig>(text).expect_err(text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_can_not_work_is_not_made() {
    let trial = Trial::new(QueueSpec::default()).await;
    let make = |config| {
        let (engine, events) = (Arc::clone(&trial.engine), trial.events.clone());
        Consumer::new(engine, &trial.queue, &trial.spec, &name("packer"), config, events)
    };
    let inbox = Some(InboxConfig::named(name("packing")));
    let refused = make(ConsumerConfig { inbox, ..ConsumerConfig::default() });
    assert!(matches!(refused, Err(ConsumerError::Invalid(invalid)) if invalid.field == "inbox"));
    let pipeline = PipelineConfig { attempt_timeout: Some(Duration::ZERO), ..PipelineConfig::default() };
    let refused = make(ConsumerConfig { pipeline, ..ConsumerConfig::default() });
    assert!(matches!(refused, Err(ConsumerError::Pipeline(_))));
}
