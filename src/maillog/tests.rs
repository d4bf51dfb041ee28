//! Whole logs: what is told about them, and what is counted.

use super::*;

/// One line a delivery: sender, recipient, outcome, and what is not ordinary about it.
fn told(text: &[u8]) -> (Vec<String>, Tally) {
    let mut log = MailLog::new(TimeZone::UTC, "2026-11-26T00:00:00Z".parse().unwrap());
    let mut lines = Vec::new();
    log.read(text, |delivery| lines.push(show(delivery)))
        .unwrap();
    (lines, log.tally())
}

fn show(delivery: &Delivery<'_>) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut line = format!(
        "{} > {} {:?} {:?}",
        delivery.sender.map_or("?".to_owned(), text),
        text(delivery.recipient),
        delivery.outcome,
        delivery.destination
    );
    if let Some(original) = delivery.original {
        line += &format!(" for {}", text(original));
    }
    line += &format!(" {:?}", delivery.entrance);
    if let Some(client) = delivery.client {
        line += &format!(" {client}");
    }
    if let Some(login) = delivery.login {
        line += &format!(" login {}", text(login));
    }
    if !delivery.first {
        line += " again";
    }
    line
}

const POSTFIX: &str = "\
Nov 25 10:00:00 mx postfix/submission/smtpd[1]: connect from pc[192.0.2.9]
Nov 25 10:00:00 mx postfix/submission/smtpd[1]: ABCDE1: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=anna
Nov 25 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<1@pc>
Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<anna@example.org>, size=900, nrcpt=2 (queue active)
Nov 25 10:00:00 mx postfix/submission/smtpd[1]: disconnect from pc[192.0.2.9] ehlo=1 quit=1 commands=2
Nov 25 10:00:01 mx postfix/smtp[4]: ABCDE1: to=<carl@army.ml>, relay=mx.ml[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
Nov 25 10:00:01 mx postfix/smtp[4]: ABCDE1: to=<bob@navy.mil>, relay=none, delay=1, delays=0/0/0/1, dsn=4.4.1, status=deferred (timeout)
Nov 25 11:00:01 mx postfix/smtp[4]: ABCDE1: to=<bob@navy.mil>, relay=mx.mil[192.0.2.8]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
Nov 25 11:00:01 mx postfix/qmgr[3]: ABCDE1: removed
";

#[test]
fn lines_of_one_message_are_joined() {
    let (lines, tally) = told(POSTFIX.as_bytes());
    assert_eq!(
        lines,
        [
            "anna@example.org > carl@army.ml Sent Outside Submission 192.0.2.9 login anna",
            "anna@example.org > bob@navy.mil Deferred Nobody Submission 192.0.2.9 login anna",
            "anna@example.org > bob@navy.mil Sent Outside Submission 192.0.2.9 login anna again",
        ]
    );
    assert_eq!((tally.lines, tally.mail_lines, tally.deliveries), (9, 9, 3));
}

#[test]
fn a_message_through_a_content_filter_is_told_once_with_its_first_client() {
    let text = "\
Nov 25 10:00:00 mx postfix/smtpd[1]: ABCDE1: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=anna
Nov 25 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<1@pc>
Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<anna@example.org>, size=900, nrcpt=1 (queue active)
Nov 25 10:00:01 mx postfix/smtpd[5]: FEDCB2: client=localhost[127.0.0.1]
Nov 25 10:00:01 mx postfix/cleanup[2]: FEDCB2: message-id=<1@pc>
Nov 25 10:00:01 mx postfix/qmgr[3]: FEDCB2: from=<anna@example.org>, size=900, nrcpt=1 (queue active)
Nov 25 10:00:01 mx postfix/smtp[4]: ABCDE1: to=<carl@army.ml>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA: queued as FEDCB2)
Nov 25 10:00:01 mx postfix/qmgr[3]: ABCDE1: removed
Nov 25 10:00:02 mx postfix/smtp[4]: FEDCB2: to=<carl@army.ml>, relay=mx.ml[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
Nov 25 10:00:02 mx postfix/qmgr[3]: FEDCB2: removed
";
    let (lines, tally) = told(text.as_bytes());
    assert_eq!(
        lines,
        ["anna@example.org > carl@army.ml Sent Outside Smtp 192.0.2.9 login anna"]
    );
    assert_eq!(tally.inner_hops, 1);
}

#[test]
fn a_mailing_list_is_a_sender_of_its_own() {
    let text = "\
Nov 25 10:00:00 mx postfix/smtpd[1]: ABCDE1: client=out[203.0.113.9]
Nov 25 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<1@pc>
Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<x@away.example>, size=900, nrcpt=1 (queue active)
Nov 25 10:00:01 mx postfix/smtpd[5]: FEDCB2: client=localhost[127.0.0.1]
Nov 25 10:00:01 mx postfix/cleanup[2]: FEDCB2: message-id=<1@pc>
Nov 25 10:00:01 mx postfix/qmgr[3]: FEDCB2: from=<list-bounces@example.org>, size=900, nrcpt=1 (queue active)
Nov 25 10:00:01 mx postfix/pipe[4]: ABCDE1: to=<list@example.org>, relay=mailman, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)
Nov 25 10:00:02 mx postfix/smtp[4]: FEDCB2: to=<m@gmai.com>, relay=mx[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
";
    assert_eq!(
        told(text.as_bytes()).0,
        [
            "x@away.example > list@example.org Sent Local Smtp 203.0.113.9",
            "list-bounces@example.org > m@gmai.com Sent Outside Smtp 127.0.0.1",
        ]
    );
}

#[test]
fn sendmail_passes_from_its_submission_queue_to_its_daemon() {
    let text = "\
Nov 25 10:00:00 mx sendmail[1]: 4APA00aa000001: from=anna, size=90, class=0, nrcpts=2, msgid=<1@mx>, relay=anna@localhost
Nov 25 10:00:00 mx sm-mta[2]: 4APA00bb000002: from=<anna@mx.example.org>, size=90, class=0, nrcpts=2, msgid=<1@mx>, proto=ESMTP, daemon=MTA-v4, relay=localhost [127.0.0.1]
Nov 25 10:00:00 mx sendmail[1]: 4APA00aa000001: to=carl@army.ml,bob@navy.mil, ctladdr=anna (1000/1000), delay=00:00:00, xdelay=00:00:00, mailer=relay, pri=60090, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent (4APA00bb000002 Message accepted for delivery)
Nov 25 10:00:01 mx sm-mta[3]: 4APA00bb000002: to=<carl@army.ml>, ctladdr=<anna@mx.example.org> (1000/1000), delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120090, relay=mx.ml. [192.0.2.7], dsn=2.0.0, stat=Sent (ok)
Nov 25 10:00:01 mx sm-mta[3]: 4APA00bb000002: to=<bob@navy.mil>, ctladdr=<anna@mx.example.org> (1000/1000), delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120090, relay=mx.mil. [192.0.2.8], dsn=4.0.0, stat=Deferred: Connection refused
Nov 25 10:00:01 mx sm-mta[3]: 4APA00bb000002: to=<verylong...name@army.ml>, delay=00:00:01, mailer=esmtp, relay=x. [192.0.2.8], dsn=2.0.0, stat=Sent (ok)
";
    let (lines, tally) = told(text.as_bytes());
    assert_eq!(
        lines,
        [
            "anna@mx.example.org > carl@army.ml Sent Outside Smtp 127.0.0.1",
            "anna@mx.example.org > bob@navy.mil Deferred Outside Smtp 127.0.0.1",
        ]
    );
    assert_eq!((tally.inner_hops, tally.abridged), (2, 1));
}

/// As 8.17 writes it through syslog(3): the login before there is a queue id, refusals before the
/// sender.
#[test]
fn sendmail_tells_logins_by_process_and_senders_last() {
    let text = "\
Nov 25 10:00:00 mx sm-mta[280]: AUTH=server, relay=pc [192.0.2.9], authid=anna, mech=PLAIN, bits=0
Nov 25 10:00:00 mx sm-mta[280]: 4APA00aa000280: Milter: to=<hugo@hosp1tal.org>, reject=550 5.7.1 not sent
Nov 25 10:00:00 mx sm-mta[280]: 4APA00aa000280: from=<anna@example.org>, size=20, class=0, nrcpts=1, msgid=<1@mx>, proto=ESMTPSA, daemon=MTA, relay=pc [192.0.2.9]
Nov 25 10:00:01 mx sm-mta[281]: 4APA00aa000280: to=<ida@navy.mil>, delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=30020, relay=mx.mil. [192.0.2.7], dsn=2.0.0, stat=Sent (ok)
Nov 25 10:00:02 mx sm-mta[280]: 4APA00ab000280: ruleset=check_rcpt, arg1=<carl@army.ml>, relay=pc [192.0.2.9], reject=550 5.7.1 no
Nov 25 10:00:02 mx sm-mta[280]: 4APA00ab000280: from=<anna@example.org>, size=0, class=0, nrcpts=0, proto=ESMTPSA, daemon=MTA, relay=pc [192.0.2.9]
Nov 25 10:00:03 mx sm-mta[280]: 4APA00ac000280: from=<other@example.org>, size=20, class=0, nrcpts=1, msgid=<2@mx>, proto=ESMTPSA, daemon=MTA, relay=pc [192.0.2.10]
Nov 25 10:00:03 mx sm-mta[282]: 4APA00ac000280: to=<ida@navy.mil>, delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=30020, relay=mx.mil. [192.0.2.7], dsn=2.0.0, stat=Sent (ok)
Nov 25 10:00:04 mx sm-mta[290]: 4APA00ad000290: Milter: to=<hugo@hosp1tal.org>, reject=550 5.7.1 not sent
";
    let (lines, tally) = told(text.as_bytes());
    assert_eq!(
        lines,
        [
            "anna@example.org > hugo@hosp1tal.org Refused Nobody Smtp 192.0.2.9 login anna",
            "anna@example.org > ida@navy.mil Sent Outside Smtp 192.0.2.9 login anna",
            "anna@example.org > carl@army.ml Refused Nobody Smtp 192.0.2.9 login anna",
            // The same process number, but somebody else.
            "other@example.org > ida@navy.mil Sent Outside Smtp 192.0.2.10",
        ]
    );
    assert_eq!((tally.deliveries, tally.without_sender), (4, 1));
    let process = text.replace("mx sm-mta[280]:", "mx sm-mta 280 - -");
    let rfc5424 = process
        .replace("Nov 25 ", "<22>1 2026-11-25T")
        .replace(" mx", "Z mx");
    let rfc5424 = rfc5424
        .replace("[281]:", " 281 - -")
        .replace("[282]:", " 282 - -");
    assert_eq!(
        told(rfc5424.replace("[290]:", " 290 - -").as_bytes()).0,
        lines
    );
}

#[test]
fn nothing_that_is_in_a_log_is_passed_over_in_silence() {
    let mut text = b"\
Nov 25 10:00:00 mx sshd[1]: Accepted publickey for anna
Nov 25 10:00:00 mx postfix/smtp[4]: ABCDE1: to=<carl@army.ml>, relay=mx.ml[192.0.2.7]:25, del
\x00\x01\xff\xfe junk
2026-11-25T10:00:01+00:00 mx postfix/smtp[4]: ABCDE2: to=<carl@army.ml>, relay=mx.ml[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\r

"
    .to_vec();
    text.extend(std::iter::repeat_n(b'x', 3 * BUFFER));
    text.extend(b"\nNov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: rem");
    let (lines, tally) = told(&text);
    assert_eq!(lines, ["? > carl@army.ml Sent Outside Unknown"]);
    assert_eq!(
        tally,
        Tally {
            bytes: text.len() as u64,
            lines: 7,
            mail_lines: 3,
            other_lines: 1,
            unreadable_lines: 1,
            truncated_lines: 2,
            overlong_lines: 1,
            deliveries: 1,
            without_sender: 1,
            first: Some(1_795_600_800),
            last: Some(1_795_600_801),
            samples: vec![Sample {
                log: String::new(),
                line: 3,
                text: "\\u{0}\\u{1}\\xff\\xfe junk".to_owned(),
            }],
            ..Tally::default()
        }
    );
}

/// Gives the bytes in pieces of one size, as a pipe may.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let take = self.1.min(self.0.len()).min(buffer.len());
        let (piece, rest) = self.0.split_at(take);
        buffer[..take].copy_from_slice(piece);
        self.0 = rest;
        Ok(take)
    }
}

#[test]
fn it_does_not_matter_in_which_pieces_the_bytes_arrive() {
    let whole = told(POSTFIX.as_bytes());
    for size in [1, 7, 64, 1000] {
        let mut log = MailLog::new(TimeZone::UTC, "2026-11-26T00:00:00Z".parse().unwrap());
        let mut lines = Vec::new();
        log.read(Pieces(POSTFIX.as_bytes(), size), |delivery| {
            lines.push(show(delivery))
        })
        .unwrap();
        assert_eq!((lines, log.tally()), whole);
    }
}

proptest::proptest! {
    #[test]
    fn no_line_panics(text in "(Nov 25 10:00:00|2026-11-25T10:00:00Z|<22>1 ) ?(mx )?(postfix/[a-z]{3,7}|sm-mta)(\\[1\\])?: ?(NOQUEUE|[A-F0-9]{6}|[0-9A-Za-z]{14})?:? ?(to=|from=|client=|reject: RCPT from |\\PC){0,4}[<>\",a-z@=\\\\\\[\\]]{0,40}") {
        told(text.as_bytes());
    }
}

#[test]
fn a_line_dated_in_the_future_is_counted_and_told_with_the_time_of_the_line_before() {
    let text = POSTFIX
        .replace("Nov 25 10:00:00 mx", "2026-11-25T10:00:00Z mx")
        .replace("Nov 25 10:00:01 mx", "2036-07-01T10:00:01Z mx")
        .replace("Nov 25 11:00:01 mx", "2026-11-25T11:00:01Z mx");
    let mut log = MailLog::new(TimeZone::UTC, "2026-11-26T00:00:00Z".parse().unwrap());
    let mut times = Vec::new();
    log.read(text.as_bytes(), |delivery| times.push(delivery.time))
        .unwrap();
    let tally = log.tally();
    let time = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
    let (first, last) = (time("2026-11-25T10:00:00Z"), time("2026-11-25T11:00:01Z"));
    assert_eq!(times, [first, first, last]);
    assert_eq!((tally.first, tally.last), (Some(first), Some(last)));
    assert_eq!((tally.later_lines, tally.mail_lines), (2, 9));
}

#[test]
fn without_a_line_before_a_line_dated_in_the_future_is_of_now() {
    let text = "2036-07-01T10:00:01Z mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from a[192.0.2.1]: 550 5.1.1 <b@army.ml>: no; from=<a@army.mil> to=<b@army.ml> proto=ESMTP helo=<a>\n";
    let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
    let mut log = MailLog::new(TimeZone::UTC, now);
    let mut times = Vec::new();
    log.read(text.as_bytes(), |delivery| times.push(delivery.time))
        .unwrap();
    assert_eq!(times, [now.as_second()]);
    assert_eq!((log.tally().first, log.tally().later_lines), (None, 1));
}

#[test]
fn lines_of_busybox_and_lines_without_a_host_are_read() {
    let (whole, _) = told(POSTFIX.as_bytes());
    for layout in [" mx mail.info postfix/", " postfix/", " mail.info postfix/"] {
        let (lines, tally) = told(POSTFIX.replace(" mx postfix/", layout).as_bytes());
        assert_eq!(lines, whole, "{layout}");
        assert_eq!((tally.mail_lines, tally.other_lines), (9, 0), "{layout}");
    }
}

#[test]
fn a_line_cut_anywhere_behind_its_program_is_told_or_counted() {
    let lines = POSTFIX.lines().chain([
        "Nov 25 10:00:00 mx postfix/pickup[1]: ABCDE1: uid=0 from=<root>",
        "Nov 25 10:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from pc[192.0.2.9]: 550 5.7.1 <carl@army.ml>: no; from=<anna@example.org> to=<carl@army.ml> proto=ESMTP helo=<pc>",
        "Nov 25 10:00:00 mx postfix/smtpd[1]: ABCDE1: milter-reject: RCPT from pc[192.0.2.9]: 550 5.7.1 <carl@army.ml>: no; from=<anna@example.org> to=<carl@army.ml> proto=ESMTP helo=<pc>",
        "Nov 25 10:00:01 mx sm-mta[3]: 4APA00bb000002: to=<carl@army.ml>, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120090, relay=mx.ml. [192.0.2.7], dsn=2.0.0, stat=Sent (ok)",
        "Nov 25 10:00:01 mx sm-mta[3]: 4APA00bb000002: Milter: to=<carl@army.ml>, reject=550 5.7.1 no",
        "Nov 25 10:00:01 mx sm-mta[3]: 4APA00bb000002: from=<anna@example.org>, size=0, class=0, nrcpts=0, proto=ESMTP, daemon=MTA, relay=pc [192.0.2.9]",
    ]);
    for line in lines.filter(|line| !line.contains("connect from")) {
        let body = line.find("]: ").unwrap() + 3;
        let needed = [
            "to=<",
            "from=<",
            "client=",
            "message-id=",
            "uid=",
            "removed",
        ];
        let end = (needed.iter().filter_map(|field| line.find(field)).min()).unwrap();
        for end in body..=end {
            let cut = line.get(..end).unwrap();
            let (lines, tally) = told(cut.as_bytes());
            assert_eq!((lines.len(), tally.truncated_lines), (0, 1), "{cut}");
        }
    }
    // Nothing of these is needed.
    for body in ["connect from pc[192.0.2.9]", "warning: x", "statistics: x"] {
        let line = format!("Nov 25 10:00:00 mx postfix/smtpd[1]: {body}");
        assert_eq!(told(line.as_bytes()).1.truncated_lines, 0, "{body}");
    }
}

/// The lines of one mail of Postfix up to its place in the queue.
fn queued(id: &str, login: &str, sender: &str) -> String {
    format!(
        "Nov 25 10:00:00 mx postfix/smtpd[1]: {id}: client=pc[192.0.2.9]{login}\n\
         Nov 25 10:00:00 mx postfix/cleanup[2]: {id}: message-id=<{sender}>\n\
         Nov 25 10:00:00 mx postfix/qmgr[3]: {id}: from=<{sender}>, size=9, nrcpt=1 (queue active)\n"
    )
}

fn delivered(id: &str, recipient: &str) -> String {
    format!(
        "Nov 25 10:00:01 mx postfix/smtp[4]: {id}: to=<{recipient}>, relay=mx.ml[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n"
    )
}

#[test]
fn a_queue_id_used_again_is_another_message_also_after_one_without_a_message_id() {
    let anna = queued("ABCDE1", "", "anna@example.org")
        .replace("message-id=<anna@example.org>", "message-id=<>");
    assert!(anna.contains("message-id=<>"), "{anna}");
    let text = anna
        + &delivered("ABCDE1", "carl@army.ml")
        + "Nov 25 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<3@mx>\n\
           Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<>, size=9, nrcpt=1 (queue active)\n"
        + &delivered("ABCDE1", "anna@example.org");
    let (lines, _) = told(text.as_bytes());
    assert_eq!(lines[1], " > anna@example.org Sent Outside Unknown");
}

#[test]
fn a_queue_id_used_again_is_another_message() {
    let anna = queued(
        "ABCDE1",
        ", sasl_method=PLAIN, sasl_username=anna",
        "anna@example.org",
    );
    let anna = anna + &delivered("ABCDE1", "carl@army.ml");
    let bob = queued("ABCDE1", "", "bob@example.org") + &delivered("ABCDE1", "carl@army.ml");
    // The client is gone before the end of DATA: nothing but its first line.
    let lost = "Nov 25 10:00:00 mx postfix/smtpd[1]: ABCDE1: client=pc[192.0.2.8], sasl_method=PLAIN, sasl_username=eve\n";
    let local = "Nov 25 10:00:00 mx postfix/pickup[1]: ABCDE1: uid=0 from=<root>\n\
                 Nov 25 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<2>\n\
                 Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<root@example.org>, size=9, nrcpt=1 (queue active)\n"
        .to_owned()
        + &delivered("ABCDE1", "carl@army.ml");
    // A notice of non-delivery: no client brings it.
    let notice = "Nov 25 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<3@mx>\n\
                  Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<>, size=9, nrcpt=1 (queue active)\n"
        .to_owned()
        + &delivered("ABCDE1", "anna@example.org");
    let text = anna.clone() + &bob + lost + &bob + &anna + &local + &anna + &notice;
    let mut log = MailLog::new(TimeZone::UTC, "2026-11-26T00:00:00Z".parse().unwrap());
    let mut lines = Vec::new();
    let mut messages = Vec::new();
    log.read(text.as_bytes(), |delivery| {
        assert!(delivery.first_of_message);
        messages.push(delivery.message);
        lines.push(show(delivery));
    })
    .unwrap();
    let anna = "anna@example.org > carl@army.ml Sent Outside Smtp 192.0.2.9 login anna".to_owned();
    let bob = "bob@example.org > carl@army.ml Sent Outside Smtp 192.0.2.9".to_owned();
    let root = "root@example.org > carl@army.ml Sent Outside Local".to_owned();
    let notice = " > anna@example.org Sent Outside Unknown".to_owned();
    assert_eq!(
        lines,
        [&anna, &bob, &bob, &anna, &root, &anna, &notice].map(Clone::clone)
    );
    messages.dedup();
    assert_eq!(messages.len(), 7, "{messages:?}");
}

#[test]
fn what_the_operator_deletes_has_left_the_queue() {
    let text = queued("ABCDE1", "", "anna@example.org")
        + "Nov 25 10:00:01 mx postfix/postsuper[9]: ABCDE1: removed\n\
           Nov 25 10:00:01 mx postfix/postsuper[9]: Deleted: 1 message\n"
        + &delivered("ABCDE1", "carl@army.ml");
    assert_eq!(
        told(text.as_bytes()).0,
        ["? > carl@army.ml Sent Outside Unknown"]
    );
}

fn refused(sender: &str, recipient: &str, client: u8, reply: &str) -> String {
    format!(
        "Nov 25 10:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from pc[192.0.2.{client}]: {reply} <{recipient}>: no; from=<{sender}> to=<{recipient}> proto=ESMTP helo=<pc>\n"
    )
}

/// Recipients told for the first time.
fn judged(text: &str) -> usize {
    let (lines, _) = told(text.as_bytes());
    lines
        .iter()
        .filter(|line| !line.ends_with(" again"))
        .count()
}

#[test]
fn a_recipient_refused_for_now_is_told_once_however_often_it_is_tried() {
    let [anna, carl] = ["anna@example.org", "carl@army.ml"];
    let later = refused(anna, carl, 9, "450 4.2.0");
    let mail = queued("ABCDE1", "", anna) + &delivered("ABCDE1", carl);
    // Greylisting, then accepted; the next mail is another one.
    assert_eq!(judged(&later.repeat(5)), 1);
    assert_eq!(judged(&(later.repeat(2) + &mail)), 1);
    assert_eq!(judged(&(later.repeat(2) + &mail + &later + &mail)), 2);
    assert_eq!(
        judged(&(mail.clone() + &mail.replace("ABCDE1", "ABCDE2"))),
        2
    );
    // Refused for good in the end.
    let never = refused(anna, carl, 9, "550 5.1.1");
    assert_eq!(judged(&(later.clone() + &never)), 1);
    assert_eq!(judged(&(later.clone() + &never + &never)), 2);
    // Another recipient, sender or client.
    let others = refused(anna, "dora@army.ml", 9, "450 4.2.0")
        + &refused("bob@example.org", carl, 9, "450 4.2.0")
        + &refused(anna, carl, 8, "450 4.2.0");
    assert_eq!(judged(&(later.clone() + &others.repeat(2))), 4);
    // No MTA tries for a week.
    let past = later.replace("Nov 25", "Nov 18");
    assert_eq!(judged(&(past + &later)), 2);
    let milter = later.replace(": reject:", ": milter-reject:");
    assert_eq!(judged(&(milter.repeat(3) + &later)), 1);
    let alias = mail.replace("to=<carl@army.ml>", "to=<c@x.ml>, orig_to=<carl@army.ml>");
    let (mut first, mut log) = (
        0,
        MailLog::new(TimeZone::UTC, "2026-11-26T00:00:00Z".parse().unwrap()),
    );
    log.read((later + &alias).as_bytes(), |delivery| {
        first += u32::from(delivery.first_original && delivery.first);
    })
    .unwrap();
    assert_eq!(first, 1);
}

#[test]
fn a_recipient_of_sendmail_refused_for_now_is_told_once() {
    let attempt = |id: &str, code: &str| {
        format!(
            "Nov 25 10:00:00 mx sm-mta[280]: {id}: Milter: to=<carl@army.ml>, reject={code}\n\
             Nov 25 10:00:00 mx sm-mta[280]: {id}: ruleset=check_rcpt, arg1=<hugo@army.ml>, relay=pc [192.0.2.9], reject={code}\n\
             Nov 25 10:00:00 mx sm-mta[280]: {id}: from=<anna@example.org>, size=0, class=0, nrcpts=0, proto=ESMTP, daemon=MTA, relay=pc [192.0.2.9]\n"
        )
    };
    let attempts = |code| attempt("4APA00aa000280", code) + &attempt("4APA00ab000280", code);
    assert_eq!(judged(&attempts("451 4.7.1 later")), 2);
    assert_eq!(judged(&attempts("550 5.7.1 no")), 4);
}
