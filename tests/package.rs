//! What the packages and units promise: the configuration they install, and how little the
//! services may do.
//!
//! `make package-test` installs the package itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use straymail::config::{Config, SHIPPED};
use straymail::policy::Mode;

fn packaged(socket: &str) -> anyhow::Result<String> {
    let output = Command::new("packaging/configuration")
        .arg(socket)
        .output()?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn the_installed_configuration_is_the_shipped_one_but_watches() {
    let socket = "/var/spool/postfix/straymail/milter.sock";
    let text = packaged(socket).unwrap();
    let changed: Vec<_> = (SHIPPED.lines().zip(text.lines()))
        .filter(|(shipped, packaged)| shipped != packaged)
        .map(|(_, packaged)| packaged.split(" #").next().unwrap().trim())
        .collect();
    assert_eq!(
        changed,
        [
            "- socket: unix:/var/spool/postfix/straymail/milter.sock",
            "group: postfix",
            "mode: observe",
            "format: journal",
        ]
    );
    assert_eq!(SHIPPED.lines().count(), text.lines().count());
    let config = Config::parse(Path::new("milter.yaml"), &text).unwrap();
    let shipped = Config::parse(Path::new("milter.yaml"), SHIPPED).unwrap();
    assert_eq!(config.policy.mode, Mode::Observe);
    assert_eq!(config.policy.thresholds, shipped.policy.thresholds);
    assert_eq!(config.listeners[0].group.as_deref(), Some("postfix"));
    assert_eq!(config.quarantine, shipped.quarantine);
}

#[test]
fn the_versions_of_the_packages_are_that_of_the_program() {
    let changelog = fs::read_to_string("packaging/debian/changelog").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        changelog.starts_with(&format!("straymail ({version}-")),
        "{changelog}"
    );
}

/// The services may do so little: tenths of `systemd-analyze security`, where 96 is everything.
/// For comparison, of Debian 12: OpenDKIM 9.6, rspamd 9.2, Postfix 9.6.
#[test]
fn the_services_are_shut_in() {
    for (unit, most) in [("straymail.service", 5), ("straymail-worker.service", 12)] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(format!("systemd/{unit}"))
            .output();
        let Ok(output) = output else {
            println!("skipped: systemd-analyze is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let overall = text.lines().find(|line| line.contains("Overall exposure"));
        println!("{}", overall.unwrap_or(&text));
        assert!(output.status.success(), "above {most} tenths:\n{text}");
    }
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    // It wants the programs to be there, so the units name some that are.
    let directory = tempfile::tempdir().unwrap();
    let units = [
        "straymail.service",
        "straymail-worker.service",
        "straymail.socket",
    ];
    for unit in units {
        let text = fs::read_to_string(format!("systemd/{unit}")).unwrap();
        let text = text.replace("/usr/bin/straymail", "/bin/sh");
        fs::write(directory.path().join(unit), text).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units.map(|unit| directory.path().join(unit)))
        .output();
    let Ok(output) = output else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

/// Five failed starts within ten seconds would be the last (systemd-system.conf(5)), and while the
/// milter is away mail is put off. On Debian 12 postfix.service runs /bin/true.
#[test]
fn a_service_is_started_for_good_and_before_the_mta() {
    for unit in ["straymail.service", "straymail-worker.service"] {
        let text = fs::read_to_string(format!("systemd/{unit}")).unwrap();
        let (section, rest) = text.split_once("[Service]").unwrap();
        assert!(section.contains("\nStartLimitIntervalSec=0\n"), "{unit}");
        assert!(rest.contains("\nRestart=on-failure\n"), "{unit}");
        let before = section.lines().find_map(|l| l.strip_prefix("Before="));
        if unit == "straymail.service" {
            let names: Vec<&str> = before.unwrap().split(' ').collect();
            assert!(names.contains(&"postfix@-.service"), "{names:?}");
        }
    }
}

/// `@system-service` does not have these (systemd 252), and what is not allowed ends the process.
#[test]
fn the_units_let_the_daemon_build_its_own_walls() {
    for unit in ["straymail.service", "straymail-worker.service"] {
        let text = fs::read_to_string(format!("systemd/{unit}")).unwrap();
        for call in ["create_ruleset", "add_rule", "restrict_self"] {
            let call = format!("landlock_{call}");
            let allowed = (text.lines())
                .filter_map(|line| line.strip_prefix("SystemCallFilter="))
                .any(|calls| calls.split(' ').any(|name| name == call));
            assert!(allowed, "{unit}: {call}");
        }
    }
}
