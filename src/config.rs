//! `milter.yaml`: read, checked as a whole, turned into each module's own settings.
//!
//! Every problem is reported, not only the first, each with its place, its key, what was read
//! and what is allowed. Nothing but the wiring imports this module: the others get their own
//! small settings structs. The only file that names the YAML crate is `config/yaml.rs`.

mod manual;
mod metrics;
mod outcome;
mod problem;
mod reader;
mod review;
mod schema;
mod socket;
mod trust;
mod value;
mod yaml;

use std::path::Path;

pub use manual::{Key, KeyKind, keys};
pub use problem::{ConfigErrors, Problem};
pub use trust::Trust;

pub(crate) use schema::address_pattern;
pub(crate) use value::duration;

use crate::logging::LogSettings;
use crate::milter::MilterSettings;
use crate::milter::listener::ListenerSettings;
use crate::notice::NoticeSettings;
use crate::policy::Policy;
use crate::review::{MetricsSettings, ReviewSettings};
use crate::score::{ScoreSettings, Scorer};
use crate::service::Snapshot;
use crate::service::learning::LearningSettings;
use crate::service::quarantine::QuarantineSettings;
use crate::service::worker::WorkerSettings;
use crate::session::Gate;

/// Where the configuration is looked for when no `--config` is given.
pub const DEFAULT_PATH: &str = "/etc/straymail/milter.yaml";

/// The file that is installed: every key at its default, with the reason.
pub const SHIPPED: &str = include_str!("../milter.yaml");

/// A configuration without problems.
#[derive(Debug)]
pub struct Config {
    /// Where the MTA reaches us; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// The trusted list and the public suffix list, read and checked.
    pub trust: Trust,
    /// Settings of the scoring core.
    pub scoring: ScoreSettings,
    /// Which mail is ours to judge.
    pub gate: Gate,
    /// What to do about an assessment.
    pub policy: Policy,
    /// ASCII sentence at the end of every refusal; `{domain}` stands for the recipient's.
    pub help: String,
    /// Where held mail is kept and how it leaves.
    pub quarantine: QuarantineSettings,
    /// What is done about held mail without an admin.
    pub worker: WorkerSettings,
    /// How senders are told.
    pub notice: NoticeSettings,
    /// Where the web pages are served.
    pub review: ReviewSettings,
    /// What is learned from mail, and when it counts.
    pub learning: LearningSettings,
    /// Where figures are served.
    pub metrics: MetricsSettings,
    /// Bounds of the daemon.
    pub limits: MilterSettings,
    /// Where and how events are logged.
    pub log: LogSettings,
    /// Legal, but most likely not meant; an admin should see them.
    pub warnings: Vec<Problem>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listeners: vec![ListenerSettings::default()],
            trust: Trust::default(),
            scoring: ScoreSettings::default(),
            gate: Gate::default(),
            policy: Policy::default(),
            help: "If {domain} is right, ask your mail administrator.".to_owned(),
            quarantine: QuarantineSettings::default(),
            worker: WorkerSettings::default(),
            notice: NoticeSettings::default(),
            review: ReviewSettings::default(),
            learning: LearningSettings::default(),
            metrics: MetricsSettings::default(),
            limits: MilterSettings::default(),
            log: LogSettings::default(),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Reads and checks the configuration at `path` and every file it names.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Config::parse(path, &Config::text(path)?)
    }

    /// Returns where held mail is kept, and what is wrong elsewhere in the configuration at `path`:
    /// for those who look on while it is being put right.
    ///
    /// # Errors
    /// Everything that is wrong, when that leaves in doubt where held mail is kept.
    pub fn load_quarantine(
        path: &Path,
    ) -> Result<(QuarantineSettings, Option<ConfigErrors>), ConfigErrors> {
        let (config, errors) = Config::read(path, &Config::text(path)?);
        match errors {
            Some(errors)
                if (errors.problems.iter()).any(|problem| problem.hides("quarantine", path)) =>
            {
                Err(errors)
            }
            errors => Ok((config.quarantine, errors)),
        }
    }

    fn text(path: &Path) -> Result<String, ConfigErrors> {
        let problem = |line: usize, message: String| {
            let problem = Problem {
                file: path.to_owned(),
                line,
                column: 0,
                key: String::new(),
                message,
            };
            ConfigErrors::new(path, vec![problem], Vec::new())
        };
        let bytes = read_bounded(path, yaml::MAX_BYTES).map_err(|why| problem(0, why))?;
        utf8(bytes).map_err(|line| problem(line, "is not UTF-8; save the file as UTF-8".to_owned()))
    }

    /// Checks `text` as the content of the file `path`, and every file it names.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigErrors> {
        match Config::read(path, text) {
            (config, None) => Ok(config),
            (_, Some(errors)) => Err(errors),
        }
    }

    /// Returns the configuration as far as it could be read, the rest at its defaults, and what is
    /// wrong.
    fn read(path: &Path, text: &str) -> (Config, Option<ConfigErrors>) {
        let mut reader = reader::Reader::new(path);
        let config = match yaml::parse(text) {
            Ok(root) => schema::config(&mut reader, &root),
            Err(error) => {
                reader.problem(error.at, "", error.message);
                Config::default()
            }
        };
        let mut warnings = reader.warnings;
        if reader.problems.is_empty() {
            problem::sort(path, &mut warnings);
            (Config { warnings, ..config }, None)
        } else {
            let errors = ConfigErrors::new(path, reader.problems, warnings);
            (config, Some(errors))
        }
    }

    /// Returns the rules alone, with the trusted list indexed.
    pub fn into_rules(self) -> Snapshot {
        Snapshot {
            scorer: Scorer::new(self.trust.list, self.scoring),
            suffixes: self.trust.suffixes,
            policy: self.policy,
            gate: self.gate,
            help: self.help,
        }
    }
}

/// Returns the text, or the first line that is not UTF-8.
fn utf8(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    })
}

/// Returns the bytes of a file of at most `limit` bytes, or the sentence that says why not.
fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let cannot = |error: std::io::Error| format!("cannot read: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err("cannot read: it is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() > limit {
        return Err(format!("is larger than {} MiB", limit >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything but the trust, which holds what this machine has installed.
    fn shown(config: &Config) -> String {
        let Config {
            listeners,
            trust: _,
            scoring,
            gate,
            policy,
            help,
            quarantine,
            worker,
            notice,
            review,
            learning,
            metrics,
            limits,
            log,
            warnings: _,
        } = config;
        format!(
            "{listeners:#?}{scoring:#?}{gate:#?}{policy:#?}{help:?}{quarantine:#?}{worker:#?}{notice:#?}{review:#?}{learning:#?}{metrics:#?}{limits:#?}{log:#?}"
        )
    }

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("milter.yaml"), text).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_shipped_file_holds_the_defaults_of_the_code() {
        let shipped = parse(SHIPPED).unwrap();
        assert_eq!(shown(&shipped), shown(&Config::default()));
        assert_eq!(shown(&parse("").unwrap()), shown(&Config::default()));
    }

    /// Returns the key paths that `text` sets.
    fn keys(text: &str) -> Vec<String> {
        fn walk(path: &str, node: &yaml::Node, keys: &mut Vec<String>) {
            match &node.value {
                yaml::Value::Map(entries) => {
                    for entry in entries {
                        let path = if path.is_empty() {
                            entry.key.clone()
                        } else {
                            format!("{path}.{}", entry.key)
                        };
                        walk(&path, &entry.value, keys);
                        keys.push(path);
                    }
                }
                yaml::Value::List(items) => {
                    for (i, item) in items.iter().enumerate() {
                        walk(&format!("{path}[{i}]"), item, keys);
                    }
                }
                yaml::Value::Null | yaml::Value::Scalar(_) => {}
            }
        }
        let mut keys = Vec::new();
        walk("", &yaml::parse(text).unwrap(), &mut keys);
        keys.sort();
        keys
    }

    #[test]
    fn the_shipped_file_has_every_key_there_is() {
        let text = manual::with_example();
        let mut reader = reader::Reader::new(Path::new("milter.yaml"));
        schema::config(&mut reader, &yaml::parse(&text).unwrap());
        assert_eq!(reader.problems, []);
        let known: Vec<String> = reader.known.into_iter().collect();
        assert_eq!(keys(&text), known);
    }

    #[test]
    fn every_line_of_the_shipped_file_gives_its_reason() {
        let mut comment_above = false;
        for line in SHIPPED.lines().map(str::trim) {
            let key = !line.is_empty() && !line.starts_with('#') && !line.ends_with(':');
            assert!(
                !key || line.contains('#') || comment_above,
                "no reason: {line}"
            );
            comment_above = line.starts_with('#');
        }
    }

    #[test]
    fn the_example_rule_says_what_it_looks_like() {
        let config = parse(&manual::with_example()).unwrap();
        let rule = &config.policy.rules[0];
        assert_eq!(rule.name, "mali-office");
        assert_eq!(rule.hold_at, Some(95));
        assert_eq!(rule.expires, Some("2027-06-30T00:00:00Z".parse().unwrap()));
        assert_eq!(rule.scope.client, Some("192.0.2.0/24".parse().unwrap()));
    }

    #[test]
    fn mistakes_elsewhere_do_not_hide_where_held_mail_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("milter.yaml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let loaded = Config::load_quarantine(&file);
            loaded.map(|(settings, errors)| (settings.dir, errors.map(|e| e.problems.len())))
        };
        let held = "quarantine: {directory: /srv/held}\n";
        let dir = std::path::PathBuf::from("/srv/held");
        assert_eq!(load(held), Ok((dir.clone(), None)));
        let mood = format!("{held}policy: {{mood: observe}}\ntrusted: {{files: [/none.list]}}\n");
        assert_eq!(load(&mood), Ok((dir, Some(2))));
        for unsure in ["quarantine: {direktory: /srv/held}\n", "quarantine: [\n"] {
            assert!(load(unsure).is_err(), "{unsure}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(yaml::MAX_BYTES as u64 + 1).unwrap();
        let error = Config::load(file.path()).unwrap_err().to_string();
        assert!(error.ends_with(": is larger than 4 MiB"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_every_message_is_printable(text in "([a-z_]{1,12}|listeners|policy|hold_at|: |:\n  |- |\n|[\\[\\]{}\"'#&*!|>%@`]|[0-9]{1,3}|\\PC){0,40}") {
            if let Err(errors) = parse(&text) {
                for problem in errors.lines() {
                    proptest::prop_assert!(!problem.chars().any(char::is_control), "{:?}", problem);
                }
            }
        }
    }
}
