//! Prometheus text out of counted values, by the metric catalogue.
use std::collections::BTreeMap;

use millstream_api::metric::{Kind, Metric};
use prometheus::proto::{Counter, Gauge, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// Values of one scrape.
#[derive(Default)]
pub struct Scrape {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Scrape {
    /// Adds a value; `labels` in the order of the catalogue.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let mut sample = prometheus::proto::Metric::default();
        let pairs = metric.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        sample.set_label(pairs.collect());
        let family = self.families.entry(metric.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            });
            family
        });
        match metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        family.mut_metric().push(sample);
    }

    /// In the text format of Prometheus.
    pub fn text(self) -> String {
        let families: Vec<MetricFamily> = self.families.into_values().collect();
        let mut text = Vec::new();
        // Writing into memory only fails on a family without samples, and none is made without one.
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!("cannot write metrics: {error}");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
