//! Which services of Postfix ask straymail, by which listener, and who else is in the list.

use super::support::postfix::free_ports;
use super::*;

impl Site {
    /// Adds a service of smtpd, open to the outside as far as master.cf says.
    fn add(&self, chroot: &str, host: &str) -> Result<String> {
        let [port] = free_ports()?;
        let line = format!("{host}{port}/inet={host}{port} inet n - {chroot} - - smtpd");
        self.postconf(&["-M", &line])?;
        Ok(format!("{host}{port}/inet"))
    }

    fn value(&self, arguments: &[&str]) -> Result<String> {
        Ok(run(self.postfix.tool("postconf").args(arguments))?
            .trim()
            .to_owned())
    }

    /// Lets straymail listen below the queue directory instead of at `before`.
    fn move_below(&mut self, before: &str) -> Result<()> {
        let place = format!("{}/straymail", self.path("queue"));
        fs::create_dir_all(&place)?;
        let listeners = self.settings.config["listeners"].as_array_mut();
        let mut listeners = listeners.context("no list")?.iter_mut();
        let listener = listeners.find(|one| one["socket"] == json!(before));
        *listener.context("no such listener")? = json!({
            "socket": format!("unix:{place}/milter.sock"),
            "role": "submission",
            "group": "postfix",
        });
        self.stop()?;
        self.restart()
    }

    /// What is between the backticks of a remedy for a person.
    fn quoted(finding: &Finding) -> Vec<String> {
        let text = finding.edit.concat();
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }
}

/// A port of this host at which nobody listens.
fn closed() -> Result<String> {
    let [port] = free_ports()?;
    Ok(format!("inet:127.0.0.1:{port}"))
}

#[test]
fn a_former_address_of_straymail_does_not_stop_the_mail() -> Result<()> {
    let Some(mut site) = site()? else {
        return Ok(());
    };
    let (etc, submission, relay) = (site.etc(), site.submission(), site.relay());
    let (reload, own) = (site.reload(), site.path("milter.sock"));
    let former = closed()?;

    let named = format!("unix:{}", site.path("queue/straymail/old.sock"));
    site.set(&format!("smtpd_milters = {named}, unix:{own}"))?;
    site.mended(
        "error",
        "postfix-silent",
        &format!("{submission}: nobody answers at {named} of smtpd_milters"),
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = unix:{own}'"),
            &reload,
        ],
    )?;

    // As straymail's listener has moved, and no service asks it where it is.
    let (_running, other) = site.other()?;
    site.set(&format!("smtpd_milters = {other}, {former}"))?;
    site.postconf(&["-P", &format!("{relay}/smtpd_milters=")])?;
    site.mended(
        "error",
        "postfix-milter",
        "no service of Postfix asks straymail",
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = {other}, unix:{own}'"),
            &reload,
        ],
    )?;
    let old = site.path("queue/straymail/old.sock");
    for before in [
        format!("{other}, {former}"),
        format!("unix:{old}, {other}"),
        format!("unix:{old}, {other}, unix:{own}"),
    ] {
        site.set(&format!("smtpd_milters = {before}"))?;
        let printed = site.set_up()?;
        let silent = before.split(", ").find(|spec| *spec == former);
        let silent = silent.map_or_else(|| format!("unix:{old}"), str::to_owned);
        let told = format!("# Nobody answers at {silent} of smtpd_milters: left out");
        ensure!(printed.contains(&told), "{printed}");
        site.sound().with_context(|| printed)?;
    }

    // From TCP to a UNIX socket, as the remedy says.
    let tcp = tcp(&site)?;
    site.set(&format!("smtpd_milters = {other}, {tcp}"))?;
    let finding = site.finding()?;
    assert_eq!((&*finding.check, &*finding.run), ("postfix-tcp", &[][..]));
    let place = format!("{}/straymail", site.path("queue"));
    assert!(
        finding.edit[0].contains(&format!(
            "socket: unix:{place}/milter.sock, group: postfix;"
        )),
        "{finding:#?}"
    );
    site.move_below(&tcp)?;
    let quoted = Site::quoted(&finding);
    assert_eq!(
        quoted[1..],
        [format!(
            "postconf -c {etc} -e 'smtpd_milters = {other}, unix:straymail/milter.sock' && {reload}"
        )]
    );
    run_shell(&quoted[1], "/usr/sbin:/usr/bin:/bin")?;
    site.sound()
}

#[test]
fn another_milter_that_is_down_is_taken_out_by_a_person_alone() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, reload) = (site.etc(), site.reload());
    let own = format!("unix:{}", site.path("milter.sock"));
    let (_running, other) = site.other()?;
    let down = closed()?;
    let set = |list: &str| format!("postconf -c {etc} -e 'smtpd_milters = {list}'");
    let left_out = set(&format!("{other}, {own}"));
    let advice = format!("start it, or leave it out: `{left_out} && {reload}`");

    // Released mail meets it, too, as soon as Postfix has read its files.
    let found = || -> Result<Vec<Finding>> {
        let mut found = site.findings()?;
        found.retain(|finding| finding.check != "release");
        Ok(found)
    };

    site.set(&format!("smtpd_milters = {down}, {other}, {own}"))?;
    let found_first = found()?;
    let [finding] = &found_first[..] else {
        anyhow::bail!("{found_first:#?}")
    };
    assert_eq!(
        (&*finding.severity, &*finding.check),
        ("error", "postfix-silent")
    );
    assert_eq!((&finding.run[..], &finding.edit), (&[][..], &vec![advice]));

    // Behind straymail: the order is mended by what keeps it, and what leaves it out keeps that.
    site.set(&format!("smtpd_milters = {own}, {other}, {down}"))?;
    let found_behind = found()?;
    let [order, silent] = &found_behind[..] else {
        anyhow::bail!("{found_behind:#?}")
    };
    assert_eq!(
        order.run,
        [set(&format!("{other}, {down}, {own}")), reload.clone()]
    );
    assert_eq!((&silent.run, &silent.edit), (&finding.run, &finding.edit));
    site.carry_out(order)?;
    assert_eq!(found()?, std::slice::from_ref(silent));
    run_shell(&Site::quoted(silent)[0], "/usr/sbin:/usr/bin:/bin")?;
    site.sound()
}

#[test]
fn each_role_of_listener_is_asked_where_it_belongs() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission, reload) = (site.etc(), site.submission(), site.reload());
    let (own, relay) = (site.path("milter.sock"), site.path("relay.sock"));
    let open = site.add("n", "")?;
    site.mended(
        "warning",
        "postfix-role",
        &format!("{open} asks unix:{own}, the listener of role submission"),
        &[
            &format!("postconf -c {etc} -P {submission}/smtpd_milters=unix:{own}"),
            &format!("postconf -c {etc} -e 'smtpd_milters = unix:{relay}'"),
            &reload,
        ],
    )?;
    site.postconf(&["-PX", &format!("{submission}/smtpd_milters")])?;
    site.set("smtpd_milters =")?;
    let lists = |site: &Site| -> Result<[String; 2]> {
        let of = format!("{submission}/smtpd_milters");
        Ok([
            site.value(&["-h", "smtpd_milters"])?,
            site.value(&["-hP", &of])?,
        ])
    };
    let set_up = [format!("unix:{relay}"), format!("unix:{own}")];
    site.set_up()?;
    site.sound()?;
    assert_eq!(lists(&site)?, set_up);
    // What is right already stays, by whichever of our listeners.
    let another = [
        format!("unix:{relay}"),
        format!("unix:{}", site.path("sub/m.sock")),
    ];
    site.postconf(&["-P", &format!("{submission}/smtpd_milters={}", another[1])])?;
    site.set_up()?;
    site.sound()?;
    assert_eq!(lists(&site)?, another);
    Ok(())
}

#[test]
fn a_port_with_milters_of_its_own_gets_straymail_behind_them() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, reload, relay) = (site.etc(), site.reload(), site.path("relay.sock"));
    let (_running, other) = site.other()?;
    let open = site.add("n", "")?;
    let own_list = format!("{open}/smtpd_milters={other}");
    // No other service is there to ask.
    site.postconf(&["-P", &own_list])?;
    for service in [site.submission(), site.relay()] {
        site.postconf(&["-M#", &service])?;
    }
    site.set("smtpd_milters =")?;
    let unasked = |site: &Site| -> Result<Finding> {
        let mut findings = site.findings()?;
        findings.retain(|finding| finding.check != "release");
        ensure!(findings.len() == 1, "{findings:#?}");
        Ok(findings.remove(0))
    };
    let finding = unasked(&site)?;
    assert_eq!(finding.found, "no service of Postfix asks straymail");
    let added = format!("postconf -c {etc} -P {own_list},unix:{relay}");
    assert_eq!(finding.run, [added.clone(), reload.clone()]);
    site.carry_out(&finding)?;
    let is_mended = || -> Result<()> {
        let mut findings = site.findings()?;
        findings.retain(|finding| finding.check != "release");
        ensure!(findings.is_empty(), "{findings:#?}");
        Ok(())
    };
    is_mended()?;
    site.postconf(&["-P", &own_list])?;
    let printed = site.set_up()?;
    ensure!(printed.contains(&added), "{printed}");
    is_mended()
}

#[test]
fn a_path_that_only_a_chroot_understands_is_written_for_all() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission, queue) = (site.etc(), site.submission(), site.path("queue"));
    site.add("y", "127.0.0.1:")?;
    site.set("smtpd_milters = unix:/m.sock")?;
    site.mended(
        "error",
        "postfix-chroot",
        &format!("{submission} runs in no chroot, where unix:/m.sock is not below {queue}"),
        &[
            &format!("postconf -c {etc} -e 'smtpd_milters = unix:m.sock'"),
            &site.reload(),
        ],
    )
}

#[test]
fn a_socket_outside_of_the_chroot_moves_into_it() -> Result<()> {
    let Some(mut site) = site()? else {
        return Ok(());
    };
    let (etc, submission, own) = (site.etc(), site.submission(), site.path("milter.sock"));
    let (_running, other) = site.other()?;
    let below = site.path("queue/other.sock");
    fs::hard_link(other.trim_start_matches("unix:"), &below)?;
    site.set(&format!("smtpd_milters = unix:other.sock, unix:{own}"))?;
    site.postconf(&["-F", &format!("{submission}/chroot=y")])?;
    let finding = site.finding()?;
    assert_eq!(finding.check, "postfix-chroot");
    let line = format!(
        "postconf -c {etc} -e 'smtpd_milters = unix:other.sock, unix:straymail/milter.sock' && {}",
        site.reload()
    );
    assert_eq!(Site::quoted(&finding), std::slice::from_ref(&line));
    site.move_below(&format!("unix:{own}"))?;
    run_shell(&line, "/usr/sbin:/usr/bin:/bin")?;
    site.sound()
}

#[test]
fn straymail_belongs_behind_a_proxy_filter() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, submission, own) = (site.etc(), site.submission(), site.path("milter.sock"));
    let port = site.postfix.plain_port;
    let filter = format!("127.0.0.1:{port}");
    site.postconf(&["-P", &format!("{submission}/smtpd_proxy_filter={filter}")])?;
    site.mended(
        "error",
        "postfix-proxy-filter",
        &format!("{submission} asks straymail in front of smtpd_proxy_filter = {filter}"),
        &[
            &format!("postconf -c {etc} -P {filter}/inet/smtpd_milters=unix:{own}"),
            &format!("postconf -c {etc} -P {submission}/smtpd_milters="),
            &site.reload(),
        ],
    )?;
    site.postconf(&["-P", &format!("{filter}/inet/smtpd_milters=")])?;
    site.mended(
        "error",
        "postfix-proxy-filter",
        &format!(
            "{submission} does not ask straymail in front of smtpd_proxy_filter = {filter}, and nothing behind it does"
        ),
        &[
            &format!("postconf -c {etc} -P {filter}/inet/smtpd_milters=unix:{own}"),
            &site.reload(),
        ],
    )
}

#[test]
fn a_port_behind_a_filter_is_known_by_its_empty_filter_too() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    site.postconf(&[
        "-P",
        &format!(
            "{}/smtpd_milters=unix:{}",
            site.submission(),
            site.path("milter.sock")
        ),
    ])?;
    site.set(&format!("smtpd_milters = unix:{}", site.path("relay.sock")))?;
    let open = site.add("n", "")?;
    let options = format!("{open}/receive_override_options=no_milters");
    site.postconf(&["-P", &options])?;
    let finding = site.finding()?;
    assert_eq!(finding.check, "postfix-no-milters");
    site.postconf(&["-P", &format!("{open}/content_filter=")])?;
    site.sound()
}

#[test]
fn a_host_that_is_not_known_is_said_to_be_untold() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    // At the port of our own TCP listener, so that it may be straymail.
    let tcp = tcp(&site)?;
    let port = tcp.rsplit(':').next().context("no port")?;
    let milter = format!("inet:milter.invalid:{port}");
    site.set(&format!("smtpd_milters = {milter}"))?;
    site.postconf(&["-P", &format!("{}/smtpd_milters=", site.relay())])?;
    assert_eq!(site.findings()?, []);
    let (_, report) = report(&site.settings, &["--postfix-config", &site.etc()])?;
    let submission = site.submission();
    let said = format!("{submission}: whether {milter} is straymail: the name is not known here");
    let skipped = report["skipped"].as_array().context("no list")?;
    assert!(skipped.contains(&json!(said)), "{report:#}");
    Ok(())
}
