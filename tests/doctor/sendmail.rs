//! The doctor at a Sendmail.

use super::*;

/// sendmail.cf as m4 makes it of sendmail.mc, and broken line by line.
#[test]
fn sendmail_is_looked_at_line_by_line() -> Result<()> {
    if let Some(why) = support::sendmail::why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let sendmail = support::sendmail::Sendmail::start(&support::sendmail::Options {
        milter_timeout: 60,
        ..support::sendmail::Options::default()
    })?;
    let port = sendmail.port("submission").context("no port")?;
    let settings = Settings::for_mta(&sendmail).with(json!({
        "trusted": {"own": ["example.org"]},
        "notice": {"from": "straymail@example.org"},
        "quarantine": {"release_to": format!("127.0.0.1:{port}")},
    }));
    let mut settings = settings;
    for listener in settings.config["listeners"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        listener["mode"] = json!("0660");
    }
    let daemon = Daemon::start(&settings)?;
    fs::set_permissions(
        settings.directory.join("store"),
        Permissions::from_mode(0o700),
    )?;
    let cf = fs::read_to_string(sendmail.directory().join("sendmail.cf"))?;
    let changed = sendmail.directory().join("changed.cf");
    let examine = |text: &str| -> Result<Vec<(String, String, String)>> {
        fs::write(&changed, text)?;
        let found = findings(&settings, &["--sendmail-cf", &changed.to_string_lossy()])?;
        let found = found.into_iter();
        Ok(found.map(|f| (f.severity, f.check, f.found)).collect())
    };
    let mut last = Vec::new();
    wait_for("the doctor to find nothing", || {
        last = examine(&cf)?;
        Ok(last.is_empty().then_some(()))
    })
    .with_context(|| format!("{last:?}"))?;
    for (from, to, severity, check, found) in [
        (
            "InputMailFilters=submission",
            "InputMailFilters=submission;other",
            "error",
            "sendmail-order",
            "submission: submission is not the last of InputMailFilters",
        ),
        (
            "milter.sock, F=T",
            "milter.sock",
            "error",
            "sendmail-flags",
            "submission has F= and not F=T",
        ),
        (
            "relay.sock, F=T",
            "relay.sock, F=R",
            "warning",
            "sendmail-flags",
            "relay has F=R and not F=T",
        ),
        (
            ", {rcpt_addr}",
            "",
            "error",
            "sendmail-macros",
            "Milter.macros.envrcpt lacks {rcpt_addr}",
        ),
        (
            ", {auth_authen}",
            "",
            "error",
            "sendmail-macros",
            "Milter.macros.envfrom lacks {auth_authen}",
        ),
    ] {
        let text = cf.replacen(from, to, 1);
        ensure!(text != cf, "sendmail.cf has no {from}");
        let expected = (severity.to_owned(), check.to_owned(), found.to_owned());
        assert_eq!(examine(&text)?, [expected], "{from}");
    }
    let without = cf
        .replace("milter.sock", "m.sock")
        .replace("relay.sock", "r.sock");
    let expected = "no X line of sendmail.cf leads to straymail";
    assert_eq!(examine(&without)?[0].2, expected);
    // What setup prints is a line that m4 and the doctor take.
    let printed = command(&settings, &["setup", "sendmail"])?;
    ensure!(printed.code == 0, "{}", printed.text);
    assert!(
        printed.text.contains(&format!(
            "INPUT_MAIL_FILTER(`straymail', `S=unix:{}/milter.sock, F=T, T=C:30s;S:30s;R:30s;E:5m')dnl",
            sendmail.directory().display()
        )),
        "{}",
        printed.text
    );
    daemon.stop()
}
