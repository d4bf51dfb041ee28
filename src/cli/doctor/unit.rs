//! What systemd says of the two services.

use std::path::Path;

use super::ask::ask;
use super::finding::{Finding, Report, Severity};
use super::place::{Hosts, Place, real};

/// A service as `systemctl show` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    /// `active`, `failed`, `inactive`.
    pub(super) active: String,
    /// `enabled`, `disabled`, empty when there is no such unit.
    pub(super) enabled: String,
}

/// Asks systemd; `None` when it does not run this machine.
pub(super) fn gather() -> Option<Vec<Unit>> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let unit = |name: &'static str| {
        let text = ask(
            "systemctl",
            &["show", "-p", "ActiveState", "-p", "UnitFileState", name],
        )
        .ok()?;
        let value = |key: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default().to_owned()
        };
        Some(Unit {
            name,
            active: value("ActiveState"),
            enabled: value("UnitFileState"),
        })
    };
    ["straymail", "straymail-worker"]
        .into_iter()
        .map(unit)
        .collect()
}

/// Returns where systemd's nth socket for us is, counted from 1.
pub(super) fn socket(nth: usize) -> Option<Place> {
    let text = ask("systemctl", &["show", "-p", "Listen", "straymail.socket"]).ok()?;
    let listen = text.lines().filter_map(|line| line.strip_prefix("Listen="));
    let place = listen.map(|line| line.split(' ').next().unwrap_or_default());
    let place = place.into_iter().nth(nth.checked_sub(1)?)?;
    match place.starts_with('/') {
        true => Some(Place::Unix {
            path: real(Path::new(place)),
            meant: None,
        }),
        false => Hosts::default().inet(place),
    }
}

/// Says which service does not run, or will not after the next start of the machine.
pub(super) fn check(units: &[Unit]) -> Report {
    let mut report = Report::default();
    for unit in units {
        let name = unit.name;
        let why = match name {
            "straymail" => "Without it no mail is judged.",
            _ => "Without it nobody is told what is held, and no decision is carried out.",
        };
        let finding = |severity, found: String| Finding::new("systemd", severity, found, why);
        if unit.enabled.is_empty() {
            report.find(
                finding(Severity::Note, format!("systemd knows no unit {name}"))
                    .run(format!(
                        "install -m 0644 systemd/{name}.service /etc/systemd/system/"
                    ))
                    .run(format!(
                        "systemctl daemon-reload && systemctl enable --now {name}"
                    )),
            );
        } else if unit.active != "active" {
            report.find(
                finding(
                    Severity::Error,
                    format!("the unit {name} is {}", unit.active),
                )
                .run(format!("systemctl enable --now {name}"))
                .run(format!("journalctl -u {name} -n 50")),
            );
        } else if unit.enabled == "disabled" {
            report.find(
                finding(
                    Severity::Warning,
                    format!("the unit {name} does not start with the machine"),
                )
                .run(format!("systemctl enable {name}")),
            );
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_runs_and_starts_with_the_machine_or_it_is_told() {
        let unit = |active: &str, enabled: &str| Unit {
            name: "straymail",
            active: active.into(),
            enabled: enabled.into(),
        };
        let found = |unit| {
            let findings = check(&[unit]).findings;
            findings.into_iter().map(|f| (f.severity, f.found)).next()
        };
        assert_eq!(found(unit("active", "enabled")), None);
        assert_eq!(found(unit("active", "static")), None);
        assert_eq!(
            found(unit("failed", "enabled")),
            Some((Severity::Error, "the unit straymail is failed".into()))
        );
        assert_eq!(
            found(unit("active", "disabled")),
            Some((
                Severity::Warning,
                "the unit straymail does not start with the machine".into()
            ))
        );
        assert_eq!(
            found(unit("inactive", "")),
            Some((Severity::Note, "systemd knows no unit straymail".into()))
        );
    }
}
