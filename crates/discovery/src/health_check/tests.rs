use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn config(healthy_after: u32, unhealthy_after: u32) -> HealthCheckConfig {
    let count = |count| NonZeroU32::new(count).expect("not zero");
    HealthCheckConfig {
        healthy_after: count(healthy_after),
        unhealthy_after: count(unhealthy_after),
        ..HealthCheckConfig::default()
    }
}

#[test]
fn defaults_are_those_of_the_page() {
    let read: HealthCheckConfig = serde_json::from_str("{}").expect("every key has a default");
    assert_eq!(read, HealthCheckConfig::default());
    assert_eq!(read.validate(), Ok(()));
    assert_eq!(
        serde_json::to_value(&read).expect("serializes"),
        serde_json::json!({
            "path": "/health/ready", "every": "5s", "timeout": "1s", "healthy_after": 2, "unhealthy_after": 3
        })
    );
}

#[test]
fn options_that_can_not_work_are_refused() {
    let check = |change: fn(&mut HealthCheckConfig), field| {
        let mut config = HealthCheckConfig::default();
        change(&mut config);
        assert_eq!(config.validate().expect_err(field).field, field);
    };
    check(|config| config.path = String::new(), "path");
    check(|config| config.path = "health".to_owned(), "path");
    check(|config| config.path = "/a b".to_owned(), "path");
    check(|config| config.path = "/a\r\n".to_owned(), "path");
    check(|config| config.path = "/ä".to_owned(), "path");
    check(|config| config.path = "/a#b".to_owned(), "path");
    check(|config| config.every = Duration::ZERO, "every");
    check(|config| config.timeout = Duration::ZERO, "timeout");
    check(|config| config.timeout = config.every + Duration::from_millis(1), "timeout");
    assert!(serde_json::from_str::<HealthCheckConfig>(r#"{ "interval": "5s" }"#).is_err());
    assert!(serde_json::from_str::<HealthCheckConfig>(r#"{ "healthy_after": 0 }"#).is_err());
}

#[test]
fn a_check_may_take_as_long_as_its_interval() {
    let config = HealthCheckConfig {
        path: "/health?deep=1".to_owned(),
        timeout: Duration::from_secs(5),
        ..HealthCheckConfig::default()
    };
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn an_endpoint_leaves_after_three_failures_in_a_row_and_returns_after_two_successes() {
    let config = HealthCheckConfig::default();
    let mut health = Health::default();
    assert!(health.is_healthy(), "it starts healthy");
    let changes = [false, false, true, false, false, false, true, false, true, true]
        .map(|ok| health.record(&config, ok));
    let mut expected = [None; 10];
    expected[5] = Some(HealthChange::BecameUnhealthy);
    expected[9] = Some(HealthChange::BecameHealthy);
    assert_eq!(changes, expected);
    assert!(health.is_healthy());
}

proptest! {
    #[test]
    fn health_follows_from_the_log_of_all_checks(
        checks in vec(any::<bool>(), 0..200), healthy_after in 1_u32..5, unhealthy_after in 1_u32..5,
    ) {
        let config = config(healthy_after, unhealthy_after);
        let mut health = Health::default();
        // The model: the checks since the last change; the newest of them decide when they all agree.
        let (mut healthy, mut log) = (true, Vec::new());
        for ok in checks {
            log.push(ok);
            let enough = if healthy { unhealthy_after } else { healthy_after } as usize;
            let changes = log.len() >= enough && log.iter().rev().take(enough).all(|ok| *ok != healthy);
            let expected = changes.then_some(match healthy {
                true => HealthChange::BecameUnhealthy,
                false => HealthChange::BecameHealthy,
            });
            if changes {
                healthy = !healthy;
                log.clear();
            }
            prop_assert_eq!(health.record(&config, ok), expected);
            prop_assert_eq!(health.is_healthy(), healthy);
        }
    }
}
