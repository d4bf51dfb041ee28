//! The text format of Prometheus, version 0.0.4.
//!
//! Our own: the figures come from another process and from the store, so there is nothing a
//! library's registry could keep, and what is left is names, labels and numbers. `promtool
//! check metrics` reads the result in the tests.

use std::fmt::Write as _;

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up, and back to 0 with a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper ends.
    Histogram,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// What is appended to the name of the family; `_bucket`, `_sum` and `_count` of a histogram.
    pub suffix: &'static str,
    /// Names and values, in order.
    pub labels: Vec<(&'static str, &'a str)>,
    /// The number.
    pub value: f64,
}

impl<'a> Sample<'a> {
    /// Returns a sample without labels.
    pub fn plain(value: f64) -> Sample<'a> {
        Sample {
            suffix: "",
            labels: Vec::new(),
            value,
        }
    }

    /// Returns a sample with one label.
    pub fn of(name: &'static str, label: &'a str, value: f64) -> Sample<'a> {
        Sample {
            suffix: "",
            labels: vec![(name, label)],
            value,
        }
    }
}

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Adds a family. `name` and the names of labels are ours and so well-formed.
    pub fn family<'a>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in samples {
            let _ = write!(self.text, "{name}{}", sample.suffix);
            for (at, (label, value)) in sample.labels.iter().enumerate() {
                let before = if at == 0 { '{' } else { ',' };
                let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
            }
            let end = if sample.labels.is_empty() { "" } else { "}" };
            let _ = writeln!(self.text, "{end} {}", sample.value);
        }
    }

    /// Returns the page.
    pub fn into_text(self) -> String {
        self.text
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_help_type_and_lines() {
        let mut page = Exposition::default();
        page.family(
            "a_total",
            Kind::Counter,
            "All of them.",
            [Sample::of("kind", "x\"\\\n", 3.0), Sample::plain(0.5)],
        );
        assert_eq!(
            page.into_text(),
            "# HELP a_total All of them.\n# TYPE a_total counter\na_total{kind=\"x\\\"\\\\\\n\"} 3\na_total 0.5\n"
        );
    }
}
