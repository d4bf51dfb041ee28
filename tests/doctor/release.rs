//! The way of released mail, and what the doctor can tell when it may not look.

use super::*;

#[test]
fn the_port_of_released_mail_is_mended_where_its_settings_are() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission, reload) = (site.etc(), site.submission(), site.reload());
    let port = site.postfix.submission_port;
    for (name, value, said, mended) in [
        (
            "mynetworks",
            "10.0.0.0/8",
            "554 5.7.1 <postmaster@example.org>: Recipient address rejected: Access denied",
            "127.0.0.0/8,10.0.0.0/8",
        ),
        (
            "smtpd_client_restrictions",
            "reject",
            "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied",
            "permit_mynetworks,reject",
        ),
        (
            "smtpd_recipient_restrictions",
            "reject",
            "554 5.7.1 <postmaster@example.org>: Recipient address rejected: Access denied",
            "permit_mynetworks,reject",
        ),
    ] {
        site.postconf(&["-P", &format!("{submission}/{name}={value}")])?;
        run_shell(&reload, "/usr/sbin:/usr/bin:/bin")?;
        wait_for("Postfix to refuse", || Ok(site.findings()?.pop()))?;
        let said = said.replace(
            "localhost[",
            if name.contains("client") {
                "unknown["
            } else {
                ""
            },
        );
        site.mended(
            "error",
            "release",
            &format!("a released mail would not be taken at 127.0.0.1:{port}: the MTA answered RCPT TO with: {said}"),
            &[
                &format!("postconf -c {etc} -P {submission}/{name}={mended}"),
                &reload,
            ],
        )?;
        site.postconf(&["-PX", &format!("{submission}/{name}")])?;
    }
    Ok(())
}

#[test]
fn without_straymail_its_absence_is_the_only_cause() -> Result<()> {
    let Some(mut site) = site()? else {
        return Ok(());
    };
    site.stop()?;
    let (_, report) = report(&site.settings, &["--postfix-config", &site.etc()])?;
    let checks: Vec<String> = all(&report)?.into_iter().map(|f| f.check).collect();
    assert!(checks.contains(&"milter-answer".to_owned()), "{checks:?}");
    assert!(!checks.contains(&"release".to_owned()), "{checks:?}");
    let said = format!(
        "whether 127.0.0.1:{} takes released mail: straymail does not answer, mend that first",
        site.postfix.submission_port
    );
    let skipped = report["skipped"].as_array().context("no list")?;
    assert!(skipped.contains(&json!(said)), "{report:#}");
    Ok(())
}

#[test]
fn what_another_user_may_not_see_is_skipped_and_no_error() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let mut setpriv = Command::new("setpriv");
    setpriv
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&site.settings.program)
        .args(["doctor", "--json", "--postfix-config", &site.etc()])
        .arg("--config")
        .arg(site.settings.config_path());
    let output = setpriv.output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let mut wrong = all(&report)?;
    wrong.retain(|finding| finding.severity != "note");
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let skipped = report["skipped"].to_string();
    let own = format!("unix:{}", site.path("milter.sock"));
    for said in [
        format!("whether {own} answers: only root may connect, run it as root"),
        "the store: only root may look, run it as root".to_owned(),
    ] {
        assert!(skipped.contains(&said), "{report:#}");
    }
    Ok(())
}

#[test]
fn a_relative_directory_of_postfix_is_printed_whole() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let etc = std::path::PathBuf::from(site.etc());
    let mut setup = Command::new(&site.settings.program);
    setup.args(["setup", "postfix", "--config"]);
    setup.arg(site.settings.config_path());
    let above = etc.parent().context("no parent")?;
    let name = etc.file_name().context("no name")?;
    let output = (setup.arg("--postfix-config").arg(name).current_dir(above)).output()?;
    let printed = String::from_utf8(output.stdout)?;
    let reload = format!("postfix -c {} reload\n", etc.display());
    assert!(printed.ends_with(&reload), "{printed}");
    Ok(())
}

#[test]
fn setup_ends_with_a_word_where_nothing_can_be_written() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let full = fs::File::options().write(true).open("/dev/full")?;
    let mut setup = Command::new(&site.settings.program);
    setup.args(["setup", "sendmail", "--config"]);
    setup.arg(site.settings.config_path());
    let output = setup.stdout(full).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        (output.status.code(), &*said),
        (
            Some(1),
            "straymail: No space left on device (os error 28)\n"
        )
    );
    // Nobody reads it.
    let line = format!(
        "{{ {} setup sendmail --config {}; echo $? >&2; }} | true",
        site.settings.program.display(),
        site.settings.config_path().display()
    );
    let output = Command::new("/bin/sh").args(["-c", &line]).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "0\n");
    Ok(())
}
