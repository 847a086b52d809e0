//! Presets, tables over them, and settings that can not work.

use super::*;

#[test]
fn presets_and_tables_read_as_documented() {
    let read = |json| serde_json::from_str::<CircuitBreakerConfig>(json);
    assert_eq!(read("\"tolerant\"").expect("a preset"), CircuitBreakerConfig::tolerant());
    for own in [r#"{ "preset": "sensitive", "open": "5s" }"#, r#"{ "open": "5s", "preset": "sensitive" }"#] {
        let own = read(own).expect("a table");
        assert_eq!(own, CircuitBreakerConfig { open: 5 * SECOND, ..CircuitBreakerConfig::sensitive() });
    }
    let rate = read(r#"{ "failure_rate": "50%" }"#).expect("a table");
    assert_eq!(rate.failures, None, "an own condition replaces the preset's");
    assert!(read(r#"{ "opens": "5s" }"#).is_err());
    assert!(read("\"standrd\"").expect_err("unknown").to_string().contains("`standard`"));
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let standard = CircuitBreakerConfig::standard;
    let calls = |n| Window::Calls(NonZeroU32::new(n).expect("not zero"));
    for (config, field) in [
        (CircuitBreakerConfig { failures: None, ..standard() }, "failures"),
        (CircuitBreakerConfig { open: Duration::ZERO, ..standard() }, "open"),
        (CircuitBreakerConfig { window: Window::Time(Duration::ZERO), ..standard() }, "window"),
        (CircuitBreakerConfig { window: calls(9), ..standard() }, "minimum_calls"),
        (CircuitBreakerConfig { window: calls(4), minimum_calls: 0, ..standard() }, "failures"),
        (CircuitBreakerConfig { failure_rate: Some(Ratio::ZERO), ..standard() }, "failure_rate"),
        (CircuitBreakerConfig { probe_age_max: Duration::ZERO, ..standard() }, "probe_age_max"),
        (CircuitBreakerConfig { failures: NonZeroU32::new(40_000), ..standard() }, "failures"),
        (CircuitBreakerConfig { minimum_calls: 40_000, ..standard() }, "minimum_calls"),
        (CircuitBreakerConfig { slow_call_duration: Some(SECOND), ..standard() }, "slow_call_rate"),
        (CircuitBreakerConfig { slow_call_rate: Some(Ratio::ZERO), ..slow_calls() }, "slow_call_rate"),
        (CircuitBreakerConfig { open_max: Some(SECOND), ..standard() }, "open_max"),
    ] {
        assert_eq!(config.validate().expect_err(field).field, field);
    }
}
