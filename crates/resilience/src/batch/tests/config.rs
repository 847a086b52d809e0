//! Options as text, and settings that can not work.

use super::*;

#[test]
fn contradictory_settings_are_refused_by_name() {
    let two = NonZeroU32::new(2).expect("2");
    for (wrong, field) in [
        (config(1), "size_max"),
        (BatchConfig { window: MILLISECOND, ..config(2) }, "window"),
        (BatchConfig { queue: Some(NonZeroU32::MIN), ..config(2) }, "queue"),
        (BatchConfig { wait: MILLISECOND, window: MILLISECOND, concurrent: two, ..config(2) }, "wait"),
        (BatchConfig { wait: Duration::ZERO, ..config(2) }, "wait"),
    ] {
        assert_eq!(wrong.validate().expect_err(field).field, field);
    }
    assert_eq!(config(2).validate(), Ok(()));
}

#[test]
fn options_are_read_from_text() {
    let read: BatchConfig =
        serde_json::from_str(r#"{ "size_max": 5, "concurrent": 2, "window": "2ms", "bisect": true }"#)
            .expect("good");
    let concurrent = NonZeroU32::new(2).expect("2");
    assert_eq!(read, BatchConfig { concurrent, window: 2 * MILLISECOND, bisect: true, ..config(5) });
    assert_eq!(read.capacity(), 50);
    assert!(serde_json::from_str::<BatchConfig>(r#"{ "size_max": 5, "size": 5 }"#).is_err());
}
