//! Mail of sendmail(1), and on what terms each list asks straymail.

use super::*;

#[test]
fn mail_of_sendmail_1_is_followed_to_where_it_is_judged() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, reload, local) = (site.etc(), site.reload(), site.path("local.sock"));
    let unasked = "mail of sendmail(1) does not pass straymail";
    let main = format!("postconf -c {etc} -e 'non_smtpd_milters = unix:{local}'");

    for (options, kept) in [
        ("no_milters", ""),
        ("no_address_mappings,no_milters", "no_address_mappings"),
    ] {
        site.postconf(&[
            "-P",
            &format!("pickup/unix/receive_override_options={options}"),
        ])?;
        site.mended(
            "error",
            "postfix-no-milters",
            "pickup/unix: receive_override_options has no_milters",
            &[
                &format!("postconf -c {etc} -P pickup/unix/receive_override_options={kept}"),
                &reload,
            ],
        )?;
    }
    site.postconf(&["-PX", "pickup/unix/receive_override_options"])?;

    // A filter counts when it is a port that asks.
    let to = |port: u16| format!("pickup/unix/content_filter=smtp:[127.0.0.1]:{port}");
    site.set("non_smtpd_milters =")?;
    site.postconf(&["-P", &to(site.postfix.submission_port)])?;
    site.sound()?;
    for filter in [to(site.postfix.plain_port), to(1)] {
        site.set("non_smtpd_milters =")?;
        site.postconf(&["-P", &filter])?;
        site.mended(
            "warning",
            "postfix-sendmail-mail",
            unasked,
            &[&main, &reload],
        )?;
    }
    site.postconf(&["-PX", "pickup/unix/content_filter"])?;

    // Another cleanup, and another kind of pickup.
    site.postconf(&["-M", "cleanup2/unix=cleanup2 unix n - n - 0 cleanup"])?;
    for setting in [
        "cleanup2/unix/non_smtpd_milters=",
        "pickup/unix/cleanup_service_name=cleanup2",
    ] {
        site.postconf(&["-P", setting])?;
    }
    site.mended(
        "warning",
        "postfix-sendmail-mail",
        unasked,
        &[
            &format!("postconf -c {etc} -P cleanup2/unix/non_smtpd_milters=unix:{local}"),
            &reload,
        ],
    )?;
    site.postconf(&["-MX", "pickup/unix"])?;
    site.postconf(&["-M", "pickup/fifo=pickup fifo n - n 60 1 pickup"])?;
    site.set("non_smtpd_milters =")?;
    site.mended(
        "warning",
        "postfix-sendmail-mail",
        unasked,
        &[&main, &reload],
    )
}

#[test]
fn the_terms_of_every_list_are_looked_at() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let (etc, reload) = (site.etc(), site.reload());
    for (name, value, severity, check, mended) in [
        (
            "milter_default_action",
            "accept",
            "error",
            "postfix-default-action",
            "tempfail",
        ),
        ("milter_protocol", "2", "error", "postfix-protocol", "6"),
    ] {
        site.postconf(&["-P", &format!("cleanup/unix/{name}={value}")])?;
        site.mended(
            severity,
            check,
            &format!("cleanup/unix: {name} is {value}"),
            &[
                &format!("postconf -c {etc} -P cleanup/unix/{name}={mended}"),
                &reload,
            ],
        )?;
        site.postconf(&["-PX", &format!("cleanup/unix/{name}")])?;
    }
    let submission = site.submission();
    for (list, service, socket) in [
        ("smtpd_milters", &*submission, site.path("milter.sock")),
        ("non_smtpd_milters", "cleanup/unix", site.path("local.sock")),
    ] {
        for (name, value, severity, check, told, mended) in [
            (
                "default_action",
                "accept",
                "error",
                "postfix-default-action",
                "accept",
                "tempfail",
            ),
            ("protocol", "2", "error", "postfix-protocol", "2", "6"),
            (
                "connect_timeout",
                "1s",
                "warning",
                "postfix-timeout",
                "1 s",
                "30s",
            ),
            (
                "command_timeout",
                "5s",
                "warning",
                "postfix-timeout",
                "5 s",
                "30s",
            ),
            (
                "content_timeout",
                "10s",
                "warning",
                "postfix-timeout",
                "10 s",
                "300s",
            ),
        ] {
            site.set(&format!("{list} = {{ unix:{socket}, {name}={value} }}"))?;
            site.mended(
                severity,
                check,
                &format!("{service}: straymail's own {name} is {told}"),
                &[
                    &format!(
                        "postconf -c {etc} -e '{list} = {{ unix:{socket}, {name}={mended} }}'"
                    ),
                    &reload,
                ],
            )?;
        }
    }
    // One text is mended by one command, whatever is wrong with it.
    let socket = site.path("milter.sock");
    site.set(&format!(
        "smtpd_milters = {{ unix:{socket}, protocol=2, default_action=accept, command_timeout=5s }}"
    ))?;
    let findings = site.findings()?;
    let mended = format!(
        "postconf -c {etc} -e 'smtpd_milters = {{ unix:{socket}, protocol=6, default_action=tempfail, command_timeout=30s }}'"
    );
    let commands: Vec<&str> = findings.iter().map(|finding| &*finding.run[0]).collect();
    assert_eq!(commands, [&*mended; 3], "{findings:#?}");
    site.carry_out(&findings[0])?;
    site.sound()?;
    // What main.cf says does not count where the milter has it itself.
    let socket = site.path("milter.sock");
    site.set(&format!(
        "smtpd_milters = {{ unix:{socket}, connect_timeout=30s }}"
    ))?;
    site.set(&format!(
        "non_smtpd_milters = {{ unix:{}, connect_timeout=30s }}",
        site.path("local.sock")
    ))?;
    let relay = site.relay();
    site.postconf(&["-P", &format!("{relay}/milter_connect_timeout=30s")])?;
    site.set("milter_connect_timeout = 1s")?;
    site.sound()
}
