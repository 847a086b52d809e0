//! Snapshots as OpenMetrics text, for Prometheus to scrape.

use std::fmt;

use intertie_core::telemetry::{Snapshot, Source, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads every source and renders what they say. All names begin with `intertie_`.
///
/// # Errors
/// When a source gives one name to two kinds of values.
pub fn render(sources: &[&dyn Source]) -> Result<String, fmt::Error> {
    let mut snapshot = Snapshot::default();
    for source in sources {
        source.read(&mut snapshot);
    }
    let mut registry = Registry::with_prefix("intertie");
    registry.register_collector(Box::new(Collected(snapshot)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Collected(Snapshot);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.families() {
            let Some(first) = family.samples.first() else { continue };
            let kind = metric_type(&first.value);
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    encode_value(&sample.value, &mut metric)?;
                } else {
                    encode_value(&sample.value, &mut metric.encode_family(&sample.labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn metric_type(value: &Value) -> MetricType {
    match value {
        Value::Counter(_) | Value::FloatCounter(_) => MetricType::Counter,
        Value::Gauge(_) => MetricType::Gauge,
        Value::Histogram { .. } => MetricType::Histogram,
    }
}

fn encode_value(value: &Value, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match value {
        Value::Counter(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
        Value::FloatCounter(amount) => encoder.encode_counter::<NoLabelSet, _, u64>(amount, None),
        Value::Gauge(value) => encoder.encode_gauge(value),
        Value::Histogram { sum, count, buckets } => {
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Example;

    impl Source for Example {
        fn read(&self, snapshot: &mut Snapshot) {
            snapshot.counter("requests", "Requests.", &[("route", "a \"b\"\n")], 3);
            snapshot.gauge("open", "Open.", &[], 0.5);
            snapshot.add("busy_seconds", "Busy.", &[], Value::FloatCounter(1.5));
            let buckets = vec![(0.1, 1), (f64::INFINITY, 2)];
            snapshot.add(
                "took",
                "Took.",
                &[("route", "a")],
                Value::Histogram { sum: 1.5, count: 3, buckets },
            );
        }
    }

    #[test]
    fn every_kind_is_rendered_and_labels_are_escaped() {
        let text = render(&[&Example]).expect("renders");
        for line in [
            "# TYPE intertie_requests counter",
            r#"intertie_requests_total{route="a \"b\"\n"} 3"#,
            "intertie_open 0.5",
            "# TYPE intertie_busy_seconds counter",
            "intertie_busy_seconds_total 1.5",
            r#"intertie_took_bucket{le="0.1",route="a"} 1"#,
            r#"intertie_took_bucket{le="+Inf",route="a"} 3"#,
            r#"intertie_took_count{route="a"} 3"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
