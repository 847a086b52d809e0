use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::quantity::ByteSize;
use proptest::prelude::*;

use super::*;
use crate::support::Feature;
use crate::{Durability, Unfit};

fn parse(text: &str) -> Result<QueueSpec, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

#[test]
fn a_queue_that_says_nothing_is_safe() {
    let spec = parse("").expect("defaults");
    assert_eq!(spec, QueueSpec::default());
    assert!(spec.durable && spec.delays && !spec.exclusive && !spec.groups);
    assert_eq!(spec.max_deliveries.get(), 5);
    assert_eq!(spec.visibility_timeout, Duration::from_secs(30));
    assert_eq!(spec.durability, Durability::SYNCED);
    assert_eq!(spec.check(), Ok(()));
}

#[test]
fn s2s_queue_can_be_written_down() {
    let spec = parse(
        "durable = true\nexclusive = true\nauto_delete = \"5m\"\nttl = \"1h\"\nmax_deliveries = 3\n\
         dead_letter = \"orders-failed\"\n",
    );
    let spec = spec.expect("S2's queue");
    assert_eq!(spec.check(), Ok(()));
    let keys: Vec<_> = spec.features().into_iter().map(Feature::key).collect();
    for key in ["durable", "exclusive", "auto_delete", "ttl", "max_deliveries", "dead_letter"] {
        assert!(keys.contains(&key), "{key} is asked of the engine: {keys:?}");
    }
}

#[test]
fn what_no_engine_can_do_is_refused_with_value_and_limit() {
    for (text, field, words) in [
        ("visibility_timeout = \"0s\"", "visibility_timeout", "above zero"),
        ("ttl = \"0s\"", "ttl", "above zero"),
        ("deduplication_window = \"0s\"", "deduplication_window", "above zero"),
        ("auto_delete = \"10s\"", "auto_delete", "10s is shorter than `visibility_timeout`, which is 30s"),
        (
            "visibility_timeout = \"13h\"",
            "visibility_timeout_max",
            "12h is shorter than `visibility_timeout`, which is 13h",
        ),
        ("redelivery = { base = \"10s\", cap = \"5s\" }", "redelivery.cap", "5s is shorter"),
        ("message_bytes_max = \"0B\"", "message_bytes_max", "above zero"),
        ("depth_max = 0", "depth_max", "above zero"),
        ("durability = { copies = 1, synced = 2 }", "durability", "synced = 2 is more than copies = 1"),
        ("durable = false", "durability", "`synced = 0`"),
    ] {
        let refused = parse(text).expect(text).check().expect_err(text);
        assert_eq!(refused.field, field, "{text}");
        assert!(refused.problem.contains(words), "{text}: {}", refused.problem);
    }
    for text in [
        "visibility = \"1s\"",
        "needs = [\"rollback\"]",
        "ttl_counts = \"none\"",
        "max_deliveries = 0",
        "priorities = 0",
        "ttl = 5",
        "dead_letter = \"a b\"",
    ] {
        parse(text).expect_err(text);
    }
}

#[test]
fn each_key_asks_for_one_promise_of_its_own_name() {
    let plain = QueueSpec::default().features();
    for (text, key) in [
        ("exclusive = true", "exclusive"),
        ("auto_delete = \"1h\"", "auto_delete"),
        ("ttl = \"1h\"", "ttl"),
        ("deduplication_window = \"1m\"", "deduplication_window"),
        ("priorities = 3", "priorities"),
        ("groups = true", "groups"),
        ("depth_max = 10", "depth_max"),
        ("needs = [\"extend\"]", "extend"),
        ("needs = [\"expirytime\"]", "expirytime"),
    ] {
        let features = parse(text).expect(text).features();
        let fresh: Vec<_> = features.iter().filter(|feature| !plain.contains(feature)).collect();
        assert_eq!(fresh.len(), 1, "{text}");
        assert_eq!(fresh[0].key(), key);
        assert!(!plain.iter().any(|feature| feature.key() == key), "{key} is not asked for by default");
    }
    for (text, share) in [("", 100), ("leases_per_consumer_max = 10", 10)] {
        let share = QueueFeature::LeasesPerConsumerMax(NonZeroU32::new(share).expect("positive"));
        assert!(parse(text).expect(text).features().contains(&share), "{text}");
    }
    for text in ["delays = false", "settlement_window = \"0s\""] {
        let without = parse(text).expect("a queue").features();
        assert_eq!(without.len(), plain.len() - 1, "{text}");
    }
}

#[test]
fn a_share_is_the_same_after_it_was_written_down_also_none() {
    for leases_per_consumer_max in [None, NonZeroU32::new(7), QueueSpec::default().leases_per_consumer_max] {
        let spec = QueueSpec { leases_per_consumer_max, ..QueueSpec::default() };
        let text = serde_json::to_string(&spec).expect("it has text for keys");
        assert_eq!(serde_json::from_str::<QueueSpec>(&text).expect(&text), spec);
    }
}

#[test]
fn dead_letters_go_where_they_are_as_safe_as_before() {
    let transient = "durable = false\ndurability = { copies = 1, synced = 0 }";
    let unsynced = "durability = { copies = 1, synced = 0 }";
    for (source, target, expected) in [
        ("", "", Ok(())),
        (transient, "", Ok(())),
        (transient, transient, Ok(())),
        ("auto_delete = \"1h\"", "", Ok(())),
        ("", "auto_delete = \"1h\"", Err(Unfit::AutoDelete)),
        (unsynced, transient, Err(Unfit::Transient)),
        ("", unsynced, Err(Unfit::LessDurable { has: Durability::UNSYNCED, needs: Durability::SYNCED })),
    ] {
        let [source, target] = [source, target].map(|text| parse(text).expect(text));
        assert_eq!(target.takes_dead_of(&source), expected, "{source:?} and {target:?}");
    }
}

#[test]
fn a_reason_is_cut_between_two_characters() {
    let kept = |reason: &str| DeadLetter::kept_reason(reason.to_owned());
    assert_eq!(kept("broken"), "broken");
    assert_eq!(kept(&"ö".repeat(512)).len(), 1024);
    assert_eq!(kept(&format!("a{}", "ö".repeat(512))).len(), 1023);
}

#[test]
fn a_dead_letter_is_the_same_after_it_was_written_down() {
    let origins = [
        Origin::Queue { queue: "orders".parse().expect("a name"), position: Some(7) },
        Origin::Topic {
            topic: "prices".parse().expect("a name"),
            group: "readers".parse().expect("a name"),
            partition: 3,
            position: 9,
        },
    ];
    for origin in origins {
        let dead = DeadLetter {
            cause: Cause::Undecodable,
            reason: Some("no JSON".to_owned()),
            origin,
            deliveries: 1,
            at: Timestamp::from_unix_nanos(1_755_945_000_123_456_789),
            redrives: 2,
        };
        let text = serde_json::to_string(&dead).expect("written");
        assert_eq!(serde_json::from_str::<DeadLetter>(&text).expect("read"), dead);
        let later = text.replace("\"redrives\"", "\"shard\":1,\"redrives\"");
        assert_eq!(serde_json::from_str::<DeadLetter>(&later).expect("a later version's"), dead);
    }
}

#[test]
fn redelivery_waits_longer_each_time_up_to_the_cap() {
    let config = RedeliveryConfig::default();
    let waits =
        (1..=12).map(|deliveries| config.wait(NonZeroU32::new(deliveries).expect("positive"), 0).as_secs());
    assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    let jittered = config.wait(NonZeroU32::MIN, u32::MAX);
    assert_eq!(jittered, Duration::from_millis(1300));
}

proptest! {
    #[test]
    fn a_lease_token_has_one_text(position: u64, delivery: u64, secret: u64) {
        let token = LeaseToken { position, delivery, secret };
        let id = LeaseId::from(token);
        prop_assert_eq!(id.as_str().parse::<LeaseToken>(), Ok(token));
        for other in [format!("0{id}"), format!("{id}0"), format!("+{id}"), id.as_str().replace('-', "")] {
            prop_assert_ne!(other.parse::<LeaseToken>(), Ok(token), "{}", other);
        }
    }

    #[test]
    fn any_text_is_a_token_or_is_refused(text in "\\PC{0,40}") {
        if let Ok(token) = text.parse::<LeaseToken>() {
            prop_assert_eq!(LeaseId::from(token), LeaseId::new(text));
        }
    }

    #[test]
    fn waits_stay_within_the_cap_and_its_jitter(
        base in 1..1_000_000u64,
        more in 0..1_000_000u64,
        multiplier in 1..1000u32,
        deliveries in 1..u32::MAX,
        random: u32,
    ) {
        let config = RedeliveryConfig {
            base: Duration::from_millis(base),
            cap: Duration::from_millis(base + more),
            multiplier: NonZeroU32::new(multiplier).expect("positive"),
            ..RedeliveryConfig::default()
        };
        let wait = config.wait(NonZeroU32::new(deliveries).expect("positive"), random);
        prop_assert!(wait >= config.base);
        prop_assert!(wait <= config.cap.mul_f64(1.3) + Duration::from_nanos(1));
    }

    #[test]
    fn a_specification_is_the_same_after_it_was_written_down(
        exclusive: bool,
        groups: bool,
        ttl in prop::option::of(1..1_000_000u64),
        priorities in 1..=u8::MAX,
        bytes in 1..1_000_000u64,
    ) {
        let spec = QueueSpec {
            exclusive,
            groups,
            ttl: ttl.map(Duration::from_millis),
            priorities: priorities.try_into().expect("positive"),
            message_bytes_max: ByteSize::from_bytes(bytes),
            ..QueueSpec::default()
        };
        let text = serde_json::to_string(&spec).expect("written");
        prop_assert_eq!(serde_json::from_str::<QueueSpec>(&text).expect("read"), spec);
    }
}
