//! A recorder that remembers everything.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

/// A metric and its labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Vec<f64>),
}

#[derive(Default)]
struct Inner {
    values: BTreeMap<Name, Arc<Cell>>,
    described: BTreeSet<String>,
}

struct Cell {
    value: Mutex<Value>,
    panics: bool,
}

/// Panics without the hook, whose text the harness keeps in memory until the test has ended.
pub fn silently() -> ! {
    std::panic::resume_unwind(Box::new("user code of the test"))
}

impl Cell {
    fn value(&self) -> std::sync::MutexGuard<'_, Value> {
        if self.panics {
            silently();
        }
        self.value.lock().unwrap()
    }
}

impl metrics::CounterFn for Cell {
    fn increment(&self, n: u64) {
        if let Value::Counter(value) = &mut *self.value() {
            *value += n;
        }
    }

    fn absolute(&self, n: u64) {
        if let Value::Counter(value) = &mut *self.value() {
            assert!(n >= *value, "a counter never falls");
            *value = n;
        }
    }
}

impl metrics::GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }

    fn set(&self, n: f64) {
        *self.value() = Value::Gauge(n);
    }
}

impl metrics::HistogramFn for Cell {
    fn record(&self, n: f64) {
        if let Value::Histogram(values) = &mut *self.value() {
            values.push(n);
        }
    }
}

/// Clones share what they remember.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Inner>>);

impl Recorder {
    /// The recorder of this process.
    pub fn install() -> Self {
        static INSTALLED: OnceLock<Recorder> = OnceLock::new();
        let make = || {
            let recorder = Self::default();
            metrics::set_global_recorder(recorder.clone()).map_err(drop).unwrap();
            recorder
        };
        INSTALLED.get_or_init(make).clone()
    }

    /// Everything of channels whose target says `https`: other tests use others.
    pub fn values(&self) -> BTreeMap<Name, Value> {
        self.values_of("https")
    }

    /// Everything of channels whose target begins so.
    fn values_of(&self, target: &str) -> BTreeMap<Name, Value> {
        let inner = self.0.lock().unwrap();
        let ours =
            |name: &&Name| name.labels.get("grpc.target").is_none_or(|t| t.starts_with(target));
        let values = inner.values.iter().filter(|(name, _)| ours(name));
        values.map(|(name, cell)| (name.clone(), cell.value.lock().unwrap().clone())).collect()
    }

    pub fn described(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().described.clone()
    }

    /// The sum over all labels, or of those that carry this one; of a histogram, its values' number.
    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        self.sum_of("https", name, label)
    }

    /// The same for channels whose target begins so.
    pub fn sum_of(&self, target: &str, name: &str, label: Option<(&str, &str)>) -> f64 {
        let matches = |key: &Name| {
            let labelled = label
                .is_none_or(|(label, value)| key.labels.get(label).is_some_and(|v| v == value));
            key.name == name && labelled
        };
        let number = |value: Value| match value {
            Value::Counter(n) => n as f64,
            Value::Gauge(n) => n,
            Value::Histogram(values) => values.len() as f64,
        };
        let values = self.values_of(target);
        values.into_iter().filter(|(key, _)| matches(key)).map(|(_, value)| number(value)).sum()
    }

    fn cell(&self, key: &Key, empty: Value) -> Arc<Cell> {
        let labels = key.labels().map(|l| (l.key().to_owned(), l.value().to_owned())).collect();
        let name = Name { name: key.name().to_owned(), labels };
        let panics = |when| name.labels.get("grpc.target").is_some_and(|t| t.contains(when));
        if panics("panics-at-once") {
            silently();
        }
        let panics = panics("panics-later");
        let mut inner = self.0.lock().unwrap();
        let cell = inner
            .values
            .entry(name)
            .or_insert_with(|| Arc::new(Cell { value: Mutex::new(empty), panics }));
        Arc::clone(cell)
    }

    fn describe(&self, name: &KeyName) {
        self.0.lock().unwrap().described.insert(name.as_str().to_owned());
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key, Value::Counter(0)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key, Value::Gauge(0.0)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key, Value::Histogram(Vec::new())))
    }
}
