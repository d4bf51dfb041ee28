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
    daemon.stop()
}

/// Lines of sendmail.mc, and what the doctor finds once m4 has made them sendmail.cf.
struct Lines {
    settings: Settings,
    lines: Vec<String>,
}

impl Lines {
    fn findings(&self) -> Result<Vec<Finding>> {
        let mc = self.settings.directory.join("sendmail.mc");
        let head = "OSTYPE(`linux')dnl\ndefine(`confDONT_BLAME_SENDMAIL', `TrustStickyBit')dnl\nFEATURE(`no_default_msa')dnl\n";
        fs::write(
            &mc,
            format!(
                "{head}{}\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
                self.lines.join("\n")
            ),
        )?;
        let cf = mc.with_extension("cf");
        fs::write(&cf, support::sendmail::made_of(&mc)?)?;
        let mut found = findings(&self.settings, &["--sendmail-cf", &cf.to_string_lossy()])?;
        found.retain(|finding| finding.check.starts_with("sendmail-"));
        Ok(found)
    }

    /// Expects these findings, does what they say, and expects them gone.
    fn mended(&mut self, expected: &[(&str, &str)]) -> Result<()> {
        let found = self.findings()?;
        let shown: Vec<(&str, &str)> = found.iter().map(|f| (&*f.found, &*f.edit[0])).collect();
        assert_eq!(shown, expected);
        for finding in &found {
            let edit = &finding.edit[0];
            if let Some((_, line)) = edit.split_once("below every INPUT_MAIL_FILTER: ") {
                self.lines.push(line.to_owned());
            } else if let Some((_, line)) = edit.split_once("instead of the line there is: ") {
                let name = line
                    .split('\'')
                    .next()
                    .unwrap_or_default()
                    .rsplit('`')
                    .next();
                let name = format!("(`{}'", name.unwrap_or_default());
                let own = self.lines.iter_mut().find(|own| own.contains(&name));
                line.clone_into(own.context("no such filter")?);
            } else if let Some((daemon, list)) = edit.split_once(": InputMailFilters=") {
                let name = daemon.rsplit(' ').next().unwrap_or_default();
                let own = self
                    .lines
                    .iter_mut()
                    .find(|own| own.contains(&format!("Name={name},")));
                let own = own.context("no such daemon")?;
                let (before, _) = own.split_once("InputMailFilters=").context("no list")?;
                *own = format!("{before}InputMailFilters={list}')dnl");
            } else {
                anyhow::bail!("what to do? {edit}");
            }
        }
        let left = self.findings()?;
        ensure!(left.is_empty(), "{left:#?}\n{:#?}", self.lines);
        Ok(())
    }
}

/// The remedies are carried out in sendmail.mc, and m4 makes of it what the doctor takes.
#[test]
fn what_is_said_of_sendmail_mc_mends_it() -> Result<()> {
    if let Some(why) = support::sendmail::why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
    let own = directory.path().join("own");
    fs::create_dir(&own)?;
    let socket = |name: &str| format!("unix:{}/{name}", own.display());
    // Whatever may be at port 25 of this host is none of ours.
    let nobody = {
        let [port] = support::postfix::free_ports()?;
        format!("127.0.0.1:{port}")
    };
    let settings = Settings::in_directory(&own).with(
        json!({"quarantine": {"release_to": nobody}, "listeners": [
            {"socket": socket("relay.sock"), "role": "relay"},
            {"socket": socket("milter.sock"), "role": "submission"},
        ]}),
    );
    settings.write()?;
    let printed = command(&settings, &["setup", "sendmail"])?;
    let lines: Vec<String> = printed.text.lines().map(str::to_owned).collect();
    let terms = "F=T, T=C:30s;S:30s;R:30s;E:5m')dnl";
    let filter = format!(
        "INPUT_MAIL_FILTER(`straymail', `S={}, {terms}",
        socket("relay.sock")
    );
    let of_senders = format!(
        "MAIL_FILTER(`straymail-submission', `S={}, {terms}",
        socket("milter.sock")
    );
    ensure!(
        lines.contains(&filter) && lines.contains(&of_senders),
        "{lines:#?}"
    );
    let dkim = "INPUT_MAIL_FILTER(`opendkim', `S=inet:8891@127.0.0.1, F=T')dnl".to_owned();
    let msa = |list: &str| {
        format!("DAEMON_OPTIONS(`Name=MSA, Port=587, M=Ea, InputMailFilters={list}')dnl")
    };
    let mta =
        |list: &str| format!("DAEMON_OPTIONS(`Name=MTA, Port=25, InputMailFilters={list}')dnl");
    let with = |more: &[String]| Lines {
        settings: settings.clone(),
        lines: [more, &lines].concat(),
    };
    // As setup prints it.
    let set_up = with(&[dkim.clone(), msa("opendkim;straymail-submission")]);
    assert_eq!(set_up.findings()?, []);
    let of_msa =
        "in sendmail.mc, in DAEMON_OPTIONS of MSA: InputMailFilters=opendkim;straymail-submission";
    let unasked = "straymail is defined and not among InputMailFilters";
    with(&[msa("opendkim")]).mended(&[(unasked, of_msa)])?;
    let unasked = "MSA: straymail is not among its InputMailFilters";
    with(&[mta("straymail"), msa("opendkim")]).mended(&[(unasked, of_msa)])?;
    with(&[msa("straymail;opendkim")]).mended(&[(
        "MSA: straymail is not the last of InputMailFilters",
        "in sendmail.mc, in DAEMON_OPTIONS of MSA: InputMailFilters=opendkim;straymail",
    )])?;
    with(&[mta("opendkim;straymail-submission")]).mended(&[(
        "MTA asks straymail-submission, the listener of role submission",
        "in sendmail.mc, in DAEMON_OPTIONS of MTA: InputMailFilters=opendkim;straymail",
    )])?;
    let list = "in sendmail.mc, below every INPUT_MAIL_FILTER: define(`confINPUT_MAIL_FILTERS', `opendkim, straymail')dnl";
    let all = "DAEMON_OPTIONS(`Name=MTA, Port=25')dnl".to_owned();
    let defined = "define(`confINPUT_MAIL_FILTERS', `straymail, opendkim')dnl".to_owned();
    for more in [[all.clone(), defined.clone()], [defined, all.clone()]] {
        let mut lines = with(&more);
        lines.lines.push(dkim.clone());
        lines.mended(&[(
            "MTA: InputMailFilters names straymail and opendkim twice",
            list,
        )])?;
    }
    // Above the one filter there is; each of the other remedies will do as well.
    let alone = "define(`confINPUT_MAIL_FILTERS', `straymail')dnl".to_owned();
    let mut twice = with(&[all.clone(), alone.clone()]);
    let found = twice.findings()?;
    ensure!(
        found.len() == 1 && found[0].edit[1].contains("MAIL_FILTER(`straymail', …) instead of"),
        "{found:#?}"
    );
    twice.lines.retain(|line| *line != alone);
    assert_eq!(twice.findings()?, []);
    twice.lines.insert(0, alone);
    for line in &mut twice.lines {
        *line = line.replace("INPUT_MAIL_FILTER(", "MAIL_FILTER(");
    }
    assert_eq!(twice.findings()?, []);
    // A filter that is defined below the list.
    let mut below = with(&[all]);
    below.lines.push(dkim);
    below
        .lines
        .push("define(`confINPUT_MAIL_FILTERS', `straymail, opendkim')dnl".to_owned());
    below.mended(&[("MTA: straymail is not the last of InputMailFilters", list)])?;
    // Each filter keeps its own socket and its own kind of line.
    let mut lines = with(&[mta("straymail"), msa("straymail-submission")]);
    let weak = |line: &String| line.replace("F=T, ", "");
    lines.lines = lines.lines.iter().map(weak).collect();
    let instead = |line: &str| format!("in sendmail.mc, instead of the line there is: {line}");
    lines.mended(&[
        (
            "straymail-submission has F= and not F=T",
            &instead(&of_senders),
        ),
        ("straymail has F= and not F=T", &instead(&filter)),
    ])?;
    // What Sendmail calls unsafe.
    fs::set_permissions(&own, Permissions::from_mode(0o775))?;
    let found = set_up.findings()?;
    let unsafe_way = format!(
        "{} on the way to the socket is writable by others than its owner (mode 0775)",
        own.display()
    );
    assert_eq!(found[0].found, unsafe_way);
    run_shell(&found[0].run[0], "/usr/bin:/bin")?;
    assert_eq!(set_up.findings()?, []);
    Ok(())
}
