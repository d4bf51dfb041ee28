//! What the running milter says of itself: its version, and whether it works by the
//! configuration that is on the disk.

use jiff::Timestamp;

use crate::metrics::Figures;

use super::finding::{Finding, Report, Severity};
use super::lists::Read;

/// Checks a milter that is alive. `files` are the configuration and the lists it names.
pub(super) fn check(figures: &Figures, files: &[Read], now: Timestamp) -> Report {
    let mut report = Report::default();
    if !figures.alive(now) {
        return report;
    }
    let installed = env!("CARGO_PKG_VERSION");
    if figures.version != installed {
        report.find(
            Finding::new(
                "running",
                Severity::Warning,
                format!(
                    "straymail {} is running, {installed} is installed",
                    figures.version
                ),
                "What the new version mends is not in force yet, and its files may be newer than the old one knows.",
            )
            .run("systemctl restart straymail straymail-worker"),
        );
    }
    if !figures.last_reload_fine {
        report.find(
            Finding::new(
                "running",
                Severity::Error,
                format!(
                    "the last reload was refused; the rules in force are those of {:.0}",
                    figures.loaded.at
                ),
                "What was changed since does not count, and the next start would fail.",
            )
            .run("straymail check-config")
            .run("systemctl reload straymail"),
        );
        return report;
    }
    let newer = |file: &&Read| file.written.is_some_and(|at| at > figures.loaded.at);
    if let Some(file) = files.iter().find(newer) {
        report.find(
            Finding::new(
                "running",
                Severity::Warning,
                format!(
                    "{} was changed after the milter had read it",
                    file.path.display()
                ),
                "What was changed does not count until a reload.",
            )
            .run("systemctl reload straymail")
            .edit("without systemd: send SIGHUP to the process"),
        );
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Loaded, Tally};

    fn at(time: &str) -> Timestamp {
        format!("2026-11-25T{time}Z").parse().unwrap()
    }

    fn found(figures: &Figures, written: Timestamp) -> Vec<(Severity, String)> {
        let file = Read {
            path: "/etc/straymail/milter.yaml".into(),
            written: Some(written),
        };
        let report = check(figures, &[file], at("12:00:10"));
        (report.findings.into_iter())
            .map(|finding| (finding.severity, finding.found))
            .collect()
    }

    #[test]
    fn old_versions_and_old_rules_are_told() {
        let tally = Tally::new(at("10:00:00"));
        let figures = tally.figures(at("12:00:00"));
        assert_eq!(found(&figures, at("09:59:59")), []);
        let changed =
            "/etc/straymail/milter.yaml was changed after the milter had read it".to_owned();
        assert_eq!(
            found(&figures, at("10:00:01")),
            [(Severity::Warning, changed)]
        );
        tally.not_reloaded();
        let refused =
            "the last reload was refused; the rules in force are those of 2026-11-25T10:00:00Z"
                .to_owned();
        assert_eq!(
            found(&tally.figures(at("12:00:00")), at("10:00:01")),
            [(Severity::Error, refused)]
        );
        tally.reloaded(Loaded::at(at("11:00:00")));
        let old = Figures {
            version: "0.0.9".to_owned(),
            ..tally.figures(at("12:00:00"))
        };
        let running = format!(
            "straymail 0.0.9 is running, {} is installed",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(found(&old, at("10:00:01")), [(Severity::Warning, running)]);
        // One that is gone says nothing about what runs.
        let gone = tally.figures(at("11:59:00"));
        assert_eq!(found(&gone, at("11:30:00")), []);
    }
}
