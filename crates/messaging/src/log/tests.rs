use std::time::Duration;

use intertie_core::envelope::{Data, Envelope};

use super::*;
use crate::support::Feature;

fn parse(text: &str) -> TopicSpec {
    toml::from_str(text).expect(text)
}

#[test]
fn a_topic_that_says_nothing_is_s2s() {
    let spec = parse("");
    assert_eq!(spec, TopicSpec::default());
    assert_eq!((spec.partitions.get(), spec.replicas.get()), (1, 1));
    assert_eq!(spec.retention, Duration::from_millis(604_800_000));
    assert_eq!(spec.cleanup, Cleanup::Delete);
    assert_eq!(spec.check(), Ok(()));
}

#[test]
fn what_no_engine_can_do_is_refused_with_value_and_limit() {
    for (text, field, words) in [
        ("retention = \"0s\"", "retention", "above zero"),
        ("session_timeout_max = \"0s\"", "session_timeout_max", "above zero"),
        ("partitions = 10001", "partitions", "10001 is above the limit of 10000"),
        ("record_bytes_max = \"0B\"", "record_bytes_max", "above zero"),
        (
            "retention_bytes = \"1KiB\"",
            "retention_bytes",
            "1KiB has no room for a record of `record_bytes_max`, 1MiB",
        ),
        ("cleanup = \"compact\"\nretention_bytes = \"1GiB\"", "retention_bytes", "last record of each key"),
        ("durability = { copies = 2, synced = 3 }", "durability", "synced = 3 is more than copies = 2"),
        (
            "durability = { copies = 2, synced = 1 }",
            "durability",
            "copies = 2 is more than `replicas`, which is 1",
        ),
    ] {
        let refused = parse(text).check().expect_err(text);
        assert_eq!(refused.field, field, "{text}");
        assert!(refused.problem.contains(words), "{text}: {}", refused.problem);
    }
    for text in ["retention_ms = 5", "partitions = 0", "replicas = 0", "cleanup = \"none\""] {
        toml::from_str::<TopicSpec>(text).expect_err(text);
    }
}

#[test]
fn each_key_asks_for_a_promise_of_its_own_name() {
    let plain = TopicSpec::default().features();
    for (text, key) in [
        ("partitions = 8", "partitions"),
        ("replicas = 3", "replicas"),
        ("retention = \"1h\"", "retention"),
        ("retention_bytes = \"1GiB\"", "retention_bytes"),
        ("cleanup = \"compact\"", "cleanup"),
        ("record_bytes_max = \"2MiB\"", "record_bytes_max"),
        ("durability = { copies = 1, synced = 0 }", "durability"),
    ] {
        let features = parse(text).features();
        let fresh: Vec<_> = features.iter().filter(|feature| !plain.contains(feature)).collect();
        assert_eq!(fresh.iter().map(|feature| feature.key()).collect::<Vec<_>>(), [key], "{text}");
    }
}

#[test]
fn a_record_ends_its_key_when_it_says_so_and_has_no_data() {
    let plain = || Envelope::new("1", "/shop", "ordered").expect("an event");
    let keyed = || plain().with_partition_key("a").expect("a key");
    let data = |envelope: Envelope| envelope.with_data(Data::text("a"), Some("text/plain")).expect("data");
    for (envelope, tombstone, compact, delete) in [
        (plain(), false, true, true),
        (data(plain()), false, true, true),
        (data(keyed()), false, true, true),
        (keyed(), false, false, true),
        (keyed(), true, true, false),
        (data(keyed()), true, false, false),
        (plain(), true, false, false),
    ] {
        let record = Record { tombstone, ..envelope.into() };
        assert_eq!(record.check(Cleanup::Compact).is_ok(), compact, "{record:?}");
        assert_eq!(record.check(Cleanup::Delete).is_ok(), delete, "{record:?}");
    }
}
