//! What single lines of Postfix say.

use super::*;

fn read<'l>(tag: &'l str, body: &'l str) -> Record<'l> {
    let (_, daemon) = program(tag.as_bytes()).unwrap();
    parse(tag.as_bytes(), daemon, body.as_bytes())
}

#[test]
fn queue_ids_of_both_kinds_and_nothing_else() {
    for id in ["4D8A7C0123", "ABCDE", "4gXkLn3Zj8z2Rt", "3Pt2mN2VXxznjll"] {
        let line = format!("{id}: removed");
        assert_eq!(
            with_id(line.as_bytes()),
            Some((id.as_bytes(), &b"removed"[..])),
            "{id}"
        );
    }
    for line in [
        "warning: x",
        "NOQUEUE: reject",
        "fatal: x",
        "connect from x",
        "statistics: x",
        "AB: x",
        "ABCDE:",
        "ABCDE",
        "",
    ] {
        assert_eq!(with_id(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn instances_and_services_are_told_apart_from_other_programs() {
    let of = |tag: &'static str| program(tag.as_bytes());
    assert_eq!(of("postfix/smtpd"), Some((&b"postfix"[..], &b"smtpd"[..])));
    assert_eq!(
        of("postfix-out/smtp"),
        Some((&b"postfix-out"[..], &b"smtp"[..]))
    );
    assert_eq!(
        of("postfix/submission/smtpd"),
        Some((&b"postfix"[..], &b"smtpd"[..]))
    );
    assert_eq!(of("dovecot/imap"), None);
    assert_eq!(of("sshd"), None);
}

#[test]
fn a_delivery_has_its_recipient_its_origin_and_its_outcome() {
    assert_eq!(
        read(
            "postfix/smtp",
            "4D8A7C0123: to=<carl@army.ml>, orig_to=<carl>, relay=mx.army.ml[192.0.2.7]:25, conn_use=2, delay=1.2, delays=0/0/1/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1, status=bounced)"
        ),
        Record::To {
            id: b"4D8A7C0123",
            recipients: b"carl@army.ml",
            original: Some(b"carl"),
            relay: b"mx.army.ml[192.0.2.7]:25",
            destination: Destination::Outside,
            outcome: Outcome::Sent,
        }
    );
    let cases = [
        (
            "postfix/smtp",
            "127.0.0.1[127.0.0.1]:10024",
            "sent (x)",
            Destination::Loopback,
            Outcome::Sent,
        ),
        (
            "postfix/lmtp",
            "mx[private/dovecot-lmtp]",
            "sent (x)",
            Destination::Local,
            Outcome::Sent,
        ),
        (
            "postfix/local",
            "local",
            "sent (delivered to mailbox)",
            Destination::Local,
            Outcome::Sent,
        ),
        (
            "postfix/smtp",
            "none",
            "deferred (x)",
            Destination::Nobody,
            Outcome::Deferred,
        ),
        (
            "postfix/error",
            "none",
            "bounced (x)",
            Destination::Nobody,
            Outcome::Bounced,
        ),
    ];
    for (tag, relay, status, destination, outcome) in cases {
        let body = format!(
            "ABCDE: to=<a@b.example>, relay={relay}, delay=0, delays=0/0/0/0, dsn=2.0.0, status={status}"
        );
        let expected = Record::To {
            id: b"ABCDE",
            recipients: b"a@b.example",
            original: None,
            relay: relay.as_bytes(),
            destination,
            outcome,
        };
        assert_eq!(read(tag, &body), expected, "{body}");
    }
}

#[test]
fn a_client_has_its_login_and_who_came_before_the_filter() {
    assert_eq!(
        read(
            "postfix/submission/smtpd",
            "ABCDE: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=anna@example.org"
        ),
        Record::Begun {
            id: b"ABCDE",
            client: Client {
                entrance: Entrance::Submission,
                peer: "192.0.2.9".parse().ok(),
                ip: "192.0.2.9".parse().ok(),
                login: Some(b"anna@example.org"),
            },
        }
    );
    assert_eq!(
        read(
            "postfix/smtpd",
            "ABCDE: client=localhost[127.0.0.1], orig_queue_id=FEDCBA, orig_client=pc[192.0.2.9]"
        ),
        Record::Begun {
            id: b"ABCDE",
            client: Client {
                entrance: Entrance::Smtp,
                peer: "127.0.0.1".parse().ok(),
                ip: "192.0.2.9".parse().ok(),
                login: None,
            },
        }
    );
}

#[test]
fn a_client_is_told_whole_or_not_at_all() {
    let whole = "ABCDE: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=";
    for end in "ABCDE: ".len()..whole.len() {
        let body = whole.get(..end).unwrap();
        let is_whole = [
            "ABCDE: client=pc[192.0.2.9]",
            "ABCDE: client=pc[192.0.2.9],",
            "ABCDE: client=pc[192.0.2.9], ",
        ]
        .contains(&body)
            || body.contains("sasl_method=");
        let record = read("postfix/smtpd", body);
        if body.ends_with("sasl_usern") || !is_whole {
            assert_eq!(record, Record::Truncated, "{body}");
        }
    }
}

#[test]
fn a_refused_recipient_is_read_whoever_refused_it() {
    for verb in ["reject", "milter-reject"] {
        let body = format!(
            "NOQUEUE: {verb}: RCPT from pc[192.0.2.9]: 550 5.7.1 <carl@army.ml>: no; from=<anna@example.org> to=<carl@army.ml> proto=ESMTP helo=<pc> sasl_username=<anna>"
        );
        assert_eq!(
            read("postfix/smtpd", &body),
            Record::Refused {
                id: None,
                entrance: Entrance::Smtp,
                ip: "192.0.2.9".parse().ok(),
                login: Some(b"anna"),
                sender: Some(b"anna@example.org"),
                recipient: b"carl@army.ml",
                lasting: Lasting::ForGood,
            }
        );
    }
    assert_eq!(
        read(
            "postfix/smtpd",
            "NOQUEUE: reject: CONNECT from x[192.0.2.1]: 554"
        ),
        Record::Nothing
    );
}

#[test]
fn a_line_cut_off_anywhere_is_truncated_or_nothing_but_never_a_delivery() {
    let whole = "ABCDE: to=<carl@army.ml>, relay=mx[192.0.2.7]:25, delay=1.2, delays=0/0/1/0.2, dsn=2.0.0, status=sent";
    for end in 0..whole.len() {
        let record = read("postfix/smtp", whole.get(..end).unwrap_or_default());
        assert!(
            matches!(record, Record::Truncated | Record::Nothing),
            "{record:?}"
        );
    }
}

#[test]
fn what_a_client_writes_into_a_reply_an_address_or_its_name_forges_nobody() {
    let forged = "; from=<a@b> to=<c@d> proto=SMTP helo=<e>";
    let refused = |reply: &str, sender: &str, recipient: &str, tail: &str| {
        format!(
            "NOQUEUE: reject: RCPT from pc[192.0.2.9]: 550 5.1.1 {reply}; from=<{sender}> to=<{recipient}> proto=ESMTP{tail}"
        )
    };
    let [anna, carl] = ["anna@example.org", "carl@army.ml"];
    let quoted = [
        forged.to_owned(),
        format!("{forged} sasl_username=<y"),
        "; from=<a@b> to=<c@d".to_owned(),
        "x> to=<c@d> proto=SMTP helo=<e>".to_owned(),
        "\\\\\\\"; from=<a@b> to=<\\\"c@d> proto=SMTP".to_owned(),
    ]
    .map(|local| format!("\"{local}\"@x.example"));
    let mut cases = vec![
        (
            format!("<x{forged}>: Recipient address rejected"),
            anna,
            carl,
        ),
        (
            "<x; from=<a@b> to=<c@d>>: Recipient address rejected".to_owned(),
            anna,
            carl,
        ),
        (
            format!("<x; from=<\"a> to=<c{forged}>: rejected"),
            anna,
            carl,
        ),
    ];
    for address in &quoted {
        cases.push((format!("<{address}>: rejected"), anna, address));
        cases.push((format!("<{address}>: rejected"), address, carl));
        cases.push((format!("<{address}>: rejected"), address, address));
    }
    for (reply, sender, recipient) in &cases {
        // The name of a client holds none of ` <>()\";@`: Postfix puts `?` for them.
        for (tail, login) in [
            (" helo=<pc>", None),
            ("", None),
            (" helo=<x?to=?c?d?proto=SMTP>", None),
            (" helo=<pc> sasl_username=<anna>", Some(&b"anna"[..])),
        ] {
            let body = refused(reply, sender, recipient, tail);
            let expected = Record::Refused {
                id: None,
                entrance: Entrance::Smtp,
                ip: "192.0.2.9".parse().ok(),
                login,
                sender: Some(sender.as_bytes()),
                recipient: recipient.as_bytes(),
                lasting: Lasting::ForGood,
            };
            assert_eq!(read("postfix/smtpd", &body), expected, "{body}");
        }
    }
    // Cut off behind the reply: what the reply says is not believed.
    for (reply, _, _) in &cases {
        let body = refused(reply, anna, carl, " helo=<pc>");
        let end_of_reply = body.rfind("; from=<").unwrap();
        for end in end_of_reply + 1..body.len() {
            let cut = body.get(..end).unwrap();
            let record = read("postfix/smtpd", cut);
            let carl = matches!(record, Record::Refused { sender, recipient, .. }
                if sender == Some(anna.as_bytes()) && recipient == carl.as_bytes());
            assert!(
                carl || matches!(record, Record::Truncated | Record::Nothing),
                "{record:?}: {cut}"
            );
        }
    }
}
