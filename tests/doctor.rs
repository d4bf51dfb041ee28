//! `straymail doctor` at a private Postfix that is broken on purpose, finding by finding: the
//! exact finding, its commands run as they are printed, and the finding gone.

#[path = "doctor/attach.rs"]
mod attach;
#[path = "doctor/local.rs"]
mod local;
#[path = "doctor/release.rs"]
mod release;
#[path = "doctor/sendmail.rs"]
mod sendmail;
#[path = "doctor/state.rs"]
mod state;
mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, Settings, command};
use support::mta::Mta as _;
use support::postfix::{Options, Postfix, run};
use support::wait_for;

/// A finding as `doctor --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: String,
    check: String,
    found: String,
    why: String,
    /// Commands for a shell.
    run: Vec<String>,
    /// What is for a person.
    edit: Vec<String>,
}

/// A sound installation: Postfix, straymail, and its configuration.
struct Site {
    postfix: Postfix,
    settings: Settings,
    daemon: Option<Daemon>,
}

impl Site {
    /// Starts both, with nothing to mend.
    fn start() -> Result<Site> {
        let postfix = Postfix::start(&Options {
            milter_timeout: 60,
            ..Options::default()
        })?;
        let etc = postfix.directory().join("etc");
        fs::write(etc.join("virtual"), "list@valias.test anna@example.org\n")?;
        fs::write(etc.join("canonical"), "gary@old.test gary@example.org\n")?;
        let mut settings = Settings::for_postfix(&postfix).with(json!({
            "trusted": {"own": ["example.org"]},
            "notice": {"from": "straymail@example.org"},
        }));
        fs::create_dir(postfix.directory().join("sub"))?;
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let listeners = settings.config["listeners"]
            .as_array_mut()
            .context("no list")?;
        for socket in [
            format!("unix:{}/sub/m.sock", postfix.directory().display()),
            format!("unix:{}/queue/m.sock", postfix.directory().display()),
        ] {
            listeners.push(json!({"socket": socket, "role": "submission"}));
        }
        for listener in listeners.iter_mut() {
            listener["mode"] = json!("0660");
            listener["group"] = json!("postfix");
        }
        listeners.push(json!({"socket": format!("inet:{free}"), "role": "submission"}));
        let daemon = Daemon::start(&settings)?;
        fs::set_permissions(
            settings.directory.join("store"),
            Permissions::from_mode(0o700),
        )?;
        let site = Site {
            postfix,
            settings,
            daemon: Some(daemon),
        };
        // As in the master.cf of the distributions.
        let name = format!("{}/syslog_name=postfix/submission", site.submission());
        site.postconf(&["-P", &name])?;
        site.sound()?;
        Ok(site)
    }

    /// The service of the submission port, `127.0.0.1:587/inet`.
    fn submission(&self) -> String {
        format!("127.0.0.1:{}/inet", self.postfix.submission_port)
    }

    fn relay(&self) -> String {
        format!("127.0.0.1:{}/inet", self.postfix.relay_port)
    }

    fn etc(&self) -> String {
        format!("{}/etc", self.postfix.directory().display())
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.postfix.directory().display())
    }

    fn store(&self) -> PathBuf {
        self.settings.directory.join("store")
    }

    fn postconf(&self, arguments: &[&str]) -> Result<()> {
        run(self.postfix.tool("postconf").args(arguments))?;
        Ok(())
    }

    fn set(&self, assignment: &str) -> Result<()> {
        self.postconf(&["-e", assignment])
    }

    /// What the doctor finds that is to be mended.
    fn findings(&self) -> Result<Vec<Finding>> {
        findings(&self.settings, &["--postfix-config", &self.etc()])
    }

    /// Waits until there is nothing to mend; Postfix and the worker take a moment.
    fn sound(&self) -> Result<()> {
        let mut last = Vec::new();
        wait_for("the doctor to find nothing", || {
            last = self.findings()?;
            Ok(last.is_empty().then_some(()))
        })
        .with_context(|| format!("{last:#?}"))
    }

    /// The only finding there is.
    fn finding(&self) -> Result<Finding> {
        let mut findings = self.findings()?;
        ensure!(findings.len() == 1, "not one finding: {findings:#?}");
        let finding = findings.remove(0);
        ensure!(finding.why.ends_with('.'), "no sentence: {finding:?}");
        Ok(finding)
    }

    /// Expects this finding alone, runs what mends it, and expects it gone.
    fn mended(&self, severity: &str, check: &str, found: &str, run: &[&str]) -> Result<()> {
        let finding = self.finding()?;
        assert_eq!(
            (&*finding.severity, &*finding.check, &*finding.found),
            (severity, check, found)
        );
        assert_eq!(finding.run, run, "{finding:#?}");
        self.carry_out(&finding)?;
        self.sound().context(found.to_owned())
    }

    fn carry_out(&self, finding: &Finding) -> Result<()> {
        for line in &finding.run {
            let path = format!(
                "{}:/usr/sbin:/sbin",
                std::env::var("PATH").unwrap_or_default()
            );
            run_shell(line, &path)?;
        }
        Ok(())
    }

    /// The lines that make Postfix read its files again.
    fn reload(&self) -> String {
        format!("postfix -c {} reload", self.etc())
    }

    /// Another milter, in front of ours as far as Postfix is told, and where it is.
    fn other(&self) -> Result<(Daemon, String)> {
        let settings = Settings::in_directory(&self.postfix.directory().join("other"));
        let socket = format!("unix:{}/milter.sock", settings.directory.display());
        Ok((Daemon::start(&settings)?, socket))
    }

    /// Changes the configuration and has it reloaded.
    fn edit(&self, changes: Value) -> Result<()> {
        let reloads = || -> Result<Value> {
            let output = command(&self.settings, &["status", "--json"])?;
            let status: Value = serde_json::from_str(&output.text).unwrap_or_default();
            Ok(status["milter"]["loaded"]["at"].clone())
        };
        let before = reloads()?;
        self.settings.clone().with(changes).write()?;
        self.daemon
            .as_ref()
            .context("not running")?
            .signal(Signal::HUP)?;
        wait_for("the reload", || Ok((reloads()? != before).then_some(())))
    }

    /// Runs what setup prints.
    fn set_up(&self) -> Result<String> {
        let arguments = ["setup", "postfix", "--postfix-config", &self.etc()];
        let output = command(&self.settings, &arguments)?;
        ensure!(output.code == 0, "{}", output.text);
        run_shell(&output.text, "/usr/sbin:/usr/bin:/bin")?;
        Ok(output.text)
    }

    fn stop(&mut self) -> Result<()> {
        self.daemon.take().context("not running")?.stop()
    }

    fn restart(&mut self) -> Result<()> {
        self.daemon = Some(Daemon::start(&self.settings)?);
        Ok(())
    }
}

/// What the doctor finds that is to be mended; its exit status says whether there is any.
fn findings(settings: &Settings, arguments: &[&str]) -> Result<Vec<Finding>> {
    let (code, report) = report(settings, arguments)?;
    let mut findings = all(&report)?;
    findings.retain(|finding| finding.severity != "note");
    assert_eq!(code, i32::from(!findings.is_empty()), "{report:#}");
    Ok(findings)
}

/// The exit status of the doctor, and what it prints.
fn report(settings: &Settings, arguments: &[&str]) -> Result<(i32, Value)> {
    let output = command(settings, &[&["doctor", "--json"], arguments].concat())?;
    let report = serde_json::from_str(&output.text).with_context(|| output.text.clone())?;
    Ok((output.code, report))
}

/// All findings of a report, with the notes.
fn all(report: &Value) -> Result<Vec<Finding>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mends = |finding: &Value, kind: &str| {
        let mends = finding["mend"].as_array().into_iter().flatten();
        mends
            .filter_map(|mend| mend[kind].as_str().map(str::to_owned))
            .collect()
    };
    let findings = report["findings"].as_array().context("no findings")?;
    let read = findings.iter().map(|finding| Finding {
        severity: text(&finding["severity"]),
        check: text(&finding["check"]),
        found: text(&finding["found"]),
        why: text(&finding["why"]),
        run: mends(finding, "run"),
        edit: mends(finding, "edit"),
    });
    Ok(read.collect())
}

fn run_shell(line: &str, path: &str) -> Result<()> {
    run(Command::new("/bin/sh").args(["-c", line]).env("PATH", path)).map(drop)
}

fn site() -> Result<Option<Site>> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(None);
    }
    Site::start().map(Some)
}

#[test]
fn the_way_postfix_asks_is_mended_finding_by_finding() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission, relay) = (site.etc(), site.submission(), site.relay());
    let reload = site.reload();
    let own = site.path("milter.sock");

    let (_running, other) = site.other()?;
    site.set(&format!("smtpd_milters = unix:{own}, {other}"))?;
    site.mended(
        "error",
        "postfix-order",
        &format!("{submission}: straymail is not the last of smtpd_milters"),
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = {other}, unix:{own}'"),
            &reload,
        ],
    )?;
    site.set(&format!("smtpd_milters = unix:{own}"))?;

    site.postconf(&["-P", &format!("{submission}/smtpd_milters=")])?;
    site.mended(
        "error",
        "postfix-unasked",
        &format!("{submission}: smtpd_milters is empty"),
        &[
            &format!("postconf -c {etc} -P {submission}/smtpd_milters=unix:{own}"),
            &reload,
        ],
    )?;
    site.postconf(&["-PX", &format!("{submission}/smtpd_milters")])?;

    site.set("smtpd_milters =")?;
    site.postconf(&["-P", &format!("{relay}/smtpd_milters=")])?;
    site.mended(
        "error",
        "postfix-milter",
        "no service of Postfix asks straymail",
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = unix:{own}'"),
            &reload,
        ],
    )?;
    let of_relay = format!("{relay}/smtpd_milters=unix:{}", site.path("relay.sock"));
    site.postconf(&["-P", &of_relay])?;

    let options = format!("{submission}/receive_override_options=no_milters,no_address_mappings");
    site.postconf(&["-P", &options])?;
    site.mended(
        "error",
        "postfix-no-milters",
        &format!("{submission}: receive_override_options has no_milters"),
        &[
            &format!(
                "postconf -c {etc} -P {submission}/receive_override_options=no_address_mappings"
            ),
            &reload,
        ],
    )?;
    site.postconf(&["-PX", &format!("{submission}/receive_override_options")])?;
    Ok(())
}

#[test]
fn what_postfix_does_without_an_answer_is_mended() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission) = (site.etc(), site.submission());
    let reload = site.reload();

    site.postconf(&["-P", &format!("{submission}/milter_default_action=accept")])?;
    site.mended(
        "error",
        "postfix-default-action",
        &format!("{submission}: milter_default_action is accept"),
        &[
            &format!("postconf -c {etc} -P {submission}/milter_default_action=tempfail"),
            &reload,
        ],
    )?;
    site.set("milter_default_action = quarantine")?;
    site.mended(
        "error",
        "postfix-default-action",
        "milter_default_action is quarantine",
        &[
            &format!("postconf -c {etc} -e 'milter_default_action = tempfail'"),
            &reload,
        ],
    )?;
    site.set("milter_default_action = reject")?;
    site.mended(
        "warning",
        "postfix-default-action",
        "milter_default_action is reject",
        &[
            &format!("postconf -c {etc} -e 'milter_default_action = tempfail'"),
            &reload,
        ],
    )?;
    let own = site.path("milter.sock");
    let mended = format!("smtpd_milters = {{ unix:{own}, default_action=tempfail }}");
    for action in ["accept", "quarantine"] {
        site.set(&mended.replace("tempfail", action))?;
        site.mended(
            "error",
            "postfix-default-action",
            &format!("{submission}: straymail's own default_action is {action}"),
            &[&format!("postconf -c {etc} -e '{mended}'"), &reload],
        )?;
    }
    for (name, value, least, seconds) in [
        ("milter_command_timeout", "3s", "30s", 3),
        ("milter_command_timeout", "10m", "30s", 600),
        ("milter_content_timeout", "30", "300s", 30),
    ] {
        site.set(&format!("{name} = {value}"))?;
        site.mended(
            "warning",
            "postfix-timeout",
            &format!("{name} is {seconds} s"),
            &[&format!("postconf -c {etc} -e '{name} = {least}'"), &reload],
        )?;
    }
    Ok(())
}

#[test]
fn mail_may_pass_while_straymail_only_observes() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission, reload) = (site.etc(), site.submission(), site.reload());
    let own = site.path("milter.sock");
    site.set(&format!(
        "smtpd_milters = {{ unix:{own}, default_action=accept, command_timeout=3s }}"
    ))?;
    let observe = json!({"policy": {"mode": "observe"}});
    site.edit(observe.clone())?;
    // What is right as it is stays so when something else is mended.
    let kept = format!("{{ unix:{own}, default_action=accept, command_timeout=30s }}");
    site.mended(
        "warning",
        "postfix-timeout",
        &format!("{submission}: straymail's own command_timeout is 3 s"),
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = {kept}'"),
            &reload,
        ],
    )?;
    let (code, report) = report(&site.settings, &["--postfix-config", &etc])?;
    let mut notes = all(&report)?;
    notes.retain(|note| note.check == "postfix-default-action");
    ensure!(code == 0 && notes.len() == 1, "{report:#}");
    assert_eq!(
        (&*notes[0].severity, &*notes[0].found),
        (
            "note",
            &*format!("{submission}: straymail's own default_action is accept")
        )
    );
    assert_eq!(notes[0].run, [""; 0]);
    let command = format!(
        "postconf -c {etc} -e 'smtpd_milters = {}'",
        kept.replace("accept", "tempfail")
    );
    assert_eq!(
        notes[0].edit,
        [format!(
            "before policy.mode: enforce, run `{command} && {reload}`"
        )]
    );
    // A rule that enforces is enough to need it now, and nothing excuses quarantine.
    let rule = json!({"name": "mali", "when": {"recipient": "army.ml"}, "mode": "enforce"});
    site.edit(json!({"policy": {"mode": "observe", "rules": [rule]}}))?;
    assert_eq!(site.finding()?.severity, "error");
    site.set(&format!(
        "smtpd_milters = {}",
        kept.replace("accept", "quarantine")
    ))?;
    site.edit(observe)?;
    assert_eq!(site.finding()?.severity, "error");
    site.edit(json!({}))?;
    let finding = site.finding()?;
    site.carry_out(&finding)?;
    site.sound()
}

#[test]
fn what_postfix_tells_is_mended() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, reload) = (site.etc(), site.reload());

    site.set("milter_protocol = 2")?;
    site.mended(
        "error",
        "postfix-protocol",
        "milter_protocol is 2",
        &[
            &format!("postconf -c {etc} -e 'milter_protocol = 6'"),
            &reload,
        ],
    )?;
    let submission = site.submission();
    for (name, value, severity, check, found, mended) in [
        (
            "milter_protocol",
            "2",
            "error",
            "postfix-protocol",
            "is 2",
            "6",
        ),
        (
            "milter_rcpt_macros",
            "i",
            "error",
            "postfix-macros",
            "lacks {rcpt_addr}",
            "i,{rcpt_addr}",
        ),
        (
            "milter_command_timeout",
            "2s",
            "warning",
            "postfix-timeout",
            "is 2 s",
            "30s",
        ),
    ] {
        site.postconf(&["-P", &format!("{submission}/{name}={value}")])?;
        let finding = site.finding()?;
        assert_eq!(
            (&*finding.severity, &*finding.check),
            (severity, check),
            "{finding:#?}"
        );
        assert_eq!(finding.found, format!("{submission}: {name} {found}"));
        site.carry_out(&finding)?;
        site.sound()?;
        let line = format!("{submission}/{name}");
        let told = run(site.postfix.tool("postconf").args(["-P", &line]))?;
        assert_eq!(told.trim(), format!("{line} = {mended}"));
        site.postconf(&["-PX", &line])?;
    }
    for (list, value, lacks, severity) in [
        (
            "milter_rcpt_macros",
            "i {rcpt_host}",
            "{rcpt_addr}",
            "error",
        ),
        (
            "milter_mail_macros",
            "i {mail_addr}",
            "{auth_authen}",
            "error",
        ),
        ("milter_end_of_data_macros", "", "i", "warning"),
    ] {
        site.set(&format!("{list} = {value}"))?;
        let mended = format!("{value} {lacks}");
        site.mended(
            severity,
            "postfix-macros",
            &format!("{list} lacks {lacks}"),
            &[
                &format!("postconf -c {etc} -e '{list} = {}'", mended.trim()),
                &reload,
            ],
        )?;
    }

    let local = site.path("local.sock");
    site.set("non_smtpd_milters =")?;
    site.mended(
        "warning",
        "postfix-sendmail-mail",
        "mail of sendmail(1) does not pass straymail",
        &[
            &format!("postconf -c {etc} -e 'non_smtpd_milters = unix:{local}'"),
            &reload,
        ],
    )?;
    let (_running, other) = site.other()?;
    site.set(&format!("non_smtpd_milters = unix:{local}, {other}"))?;
    site.mended(
        "error",
        "postfix-order",
        "cleanup/unix: straymail is not the last of non_smtpd_milters",
        &[
            &format!("postconf -c {etc} -e 'non_smtpd_milters = {other}, unix:{local}'"),
            &reload,
        ],
    )?;
    let own = site.path("milter.sock");
    // As one that is `$smtpd_milters`: the others stay.
    site.set(&format!("non_smtpd_milters = {other}, unix:{own}"))?;
    site.mended(
        "warning",
        "postfix-local-role",
        &format!("non_smtpd_milters names the listener unix:{own} of another role than local"),
        &[
            &format!("postconf -c {etc} -e 'non_smtpd_milters = {other}, unix:{local}'"),
            &reload,
        ],
    )
}

#[test]
fn no_remedy_sends_a_chroot_to_a_socket_it_cannot_reach() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (submission, queue) = (site.submission(), site.path("queue"));
    for service in [&*submission, "cleanup/unix"] {
        site.postconf(&["-F", &format!("{service}/chroot=y")])?;
    }
    site.postconf(&["-P", &format!("{submission}/smtpd_milters=")])?;
    site.set("non_smtpd_milters =")?;
    let findings = site.findings()?;
    for (check, socket) in [
        ("postfix-unasked", "milter.sock"),
        ("postfix-sendmail-mail", "local.sock"),
    ] {
        let finding = (findings.iter().find(|finding| finding.check == check)).context(check)?;
        assert_eq!(finding.run, [""; 0], "{finding:#?}");
        let place = format!("socket: unix:{queue}/straymail/{socket},");
        assert!(finding.edit[0].contains(&place), "{finding:#?}");
    }
    Ok(())
}

#[test]
fn a_port_behind_a_filter_may_ask_no_milter() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let relay = site.relay();
    let options =
        format!("{relay}/receive_override_options=no_unknown_recipient_checks,no_milters");
    site.postconf(&["-P", &options])?;
    site.sound()
}

#[test]
fn a_mail_server_that_cannot_be_read_is_an_error() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let broken = site.path("broken");
    fs::create_dir(&broken)?;
    for arguments in [
        ["--postfix-config", &broken],
        ["--sendmail-cf", &format!("{broken}/sendmail.cf")],
    ] {
        let findings = findings(&site.settings, &arguments)?;
        let found = findings
            .iter()
            .find(|finding| finding.check == "mail-server");
        let found = &found.with_context(|| format!("{findings:#?}"))?.found;
        assert!(found.contains("No such file"), "{found}");
    }
    Ok(())
}

#[test]
fn a_socket_out_of_reach_is_brought_into_reach() -> Result<()> {
    let Some(mut site) = site()? else {
        return Ok(());
    };
    let (etc, submission) = (site.etc(), site.submission());
    let reload = site.reload();
    let (own, queue) = (site.path("milter.sock"), site.path("queue"));

    site.postconf(&["-F", &format!("{submission}/chroot=y")])?;
    site.mended(
        "error",
        "postfix-chroot",
        &format!("{submission} runs in a chroot, where unix:{own} is below {queue}"),
        &[
            &format!("postconf -c {etc} -F {submission}/chroot=n"),
            &reload,
        ],
    )?;
    // The socket is inside, and only its path is that of the outside.
    site.postconf(&["-F", &format!("{submission}/chroot=y")])?;
    site.set(&format!("smtpd_milters = unix:{queue}/m.sock"))?;
    site.mended(
        "error",
        "postfix-chroot",
        &format!("{submission} runs in a chroot, where unix:{queue}/m.sock is below {queue}"),
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = unix:m.sock'"),
            &reload,
        ],
    )?;
    site.postconf(&["-F", &format!("{submission}/chroot=n")])?;

    let sub = site.path("sub");
    site.set(&format!("smtpd_milters = unix:{sub}/m.sock"))?;
    fs::set_permissions(&sub, Permissions::from_mode(0o700))?;
    site.mended(
        "error",
        "socket-reach",
        &format!("{sub} is not searchable for postfix (mode 0700, owner 0:0)"),
        &[&format!("chmod o+x {sub}")],
    )?;
    let socket = format!("{sub}/m.sock");
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    let group = fs::metadata(&socket)?.gid();
    site.mended(
        "error",
        "socket-reach",
        &format!("{socket} is not writable for postfix (mode 0600, owner 0:{group})"),
        &[&format!("chgrp postfix {socket} && chmod g+w {socket}")],
    )?;

    site.set(&format!("smtpd_milters = {}", tcp(&site)?))?;
    let finding = site.finding()?;
    assert_eq!(
        (&*finding.severity, &*finding.check),
        ("warning", "postfix-tcp")
    );
    assert_eq!(finding.edit.len(), 1, "{finding:?}");
    site.set(&format!("smtpd_milters = unix:{own}"))?;

    // Gone with its file: Postfix finds nothing, and nobody answers.
    site.stop()?;
    let found: Vec<String> = (site.findings()?.into_iter())
        .filter(|finding| finding.check == "socket-reach" || finding.check == "milter-answer")
        .map(|finding| finding.found)
        .collect();
    assert!(
        found.contains(&format!("{own} does not exist")),
        "{found:?}"
    );
    let silent = format!("unix:{own} does not answer: No such file or directory (os error 2)");
    assert!(found.contains(&silent), "{found:?}");
    site.restart()?;
    site.sound()
}

fn tcp(site: &Site) -> Result<String> {
    let listeners = site.settings.config["listeners"]
        .as_array()
        .context("no list")?;
    let sockets = listeners
        .iter()
        .filter_map(|listener| listener["socket"].as_str());
    let tcp = sockets
        .into_iter()
        .find(|socket| socket.starts_with("inet:"));
    Ok(tcp.context("no TCP listener")?.to_owned())
}

#[test]
fn the_way_out_and_the_maps_are_looked_at() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, reload) = (site.etc(), site.reload());
    let port = site.postfix.submission_port;

    site.set("mynetworks = 10.0.0.0/8")?;
    run_shell(&reload, "/usr/sbin:/usr/bin:/bin")?;
    let refused = wait_for("Postfix to refuse", || Ok(site.findings()?.pop()))?;
    assert_eq!(
        refused.found,
        format!(
            "a released mail would not be taken at 127.0.0.1:{port}: the MTA answered RCPT TO with: 554 5.7.1 <postmaster@example.org>: Recipient address rejected: Access denied"
        )
    );
    site.mended(
        "error",
        "release",
        &refused.found,
        &[
            &format!("postconf -c {etc} -e 'mynetworks = 127.0.0.0/8 10.0.0.0/8'"),
            &reload,
        ],
    )?;

    site.edit(json!({"quarantine": {"release_to": "127.0.0.1:1"}}))?;
    let finding = site.finding()?;
    assert_eq!(
        finding.found,
        "a released mail would not be taken at 127.0.0.1:1: cannot connect to the MTA at 127.0.0.1:1: Connection refused (os error 111)"
    );
    site.edit(json!({}))?;

    let file = site.path("etc/virtual");
    fs::write(&file, "list@valias.test anna@example.org, carl@army.ml\n")?;
    let finding = site.finding()?;
    assert_eq!(
        (&*finding.check, &*finding.found),
        (
            "alias-doubtful",
            "virtual_alias_maps: list@valias.test leads to carl@army.ml, which looks like army.mil"
        )
    );
    assert_eq!(finding.edit, [format!("correct it in {file}")]);
    fs::write(&file, "list@valias.test anna@example.org, carl@army.mil\n")?;
    site.carry_out(&finding)?;
    site.sound()
}

#[test]
fn setup_prints_lines_that_put_straymail_in_front_of_postfix() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (_running, other) = site.other()?;
    site.set(&format!("smtpd_milters = {other}"))?;
    site.set("non_smtpd_milters =")?;
    site.set("milter_default_action = accept")?;
    assert!(!site.findings()?.is_empty());
    site.set_up()?;
    site.sound()
}
