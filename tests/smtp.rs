//! Re-injection against servers that keep to SMTP, and servers that do not.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use straymail::octets::Octets;
use straymail::smtp::{Accepted, Delivery, SmtpError, SmtpSettings, Target, inject};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\nbody\r\n";
const EHLO: &str = "250-mx\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 SIZE 1000\r\n";

/// What a scripted server got: the commands, and the octets between DATA and the final dot.
#[derive(Debug, Default, PartialEq)]
struct Got {
    commands: Vec<String>,
    data: Vec<u8>,
}

/// Starts a server that says these replies in order, one for the greeting, one for each
/// command and one for the end of the message; then it closes.
fn server(replies: &[&str]) -> (SmtpSettings, JoinHandle<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = SmtpSettings {
        target: Target::Tcp(listener.local_addr().unwrap().to_string()),
        helo: "client.test".to_owned(),
        command_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
    };
    let replies: Vec<Vec<u8>> = replies
        .iter()
        .map(|reply| reply.as_bytes().to_vec())
        .collect();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut got = Got::default();
        let mut in_data = false;
        for reply in replies {
            if stream.write_all(&reply).is_err() {
                break;
            }
            if in_data {
                in_data = false;
            } else if reply.starts_with(b"354") {
                in_data = true;
                while !got.data.ends_with(b"\r\n.\r\n") && got.data != b".\r\n" {
                    let mut octet = [0];
                    if input.read_exact(&mut octet).is_err() {
                        return got;
                    }
                    got.data.push(octet[0]);
                }
                continue;
            }
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                break;
            }
            got.commands
                .push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        got
    });
    (settings, thread)
}

fn delivery<'a>(sender_args: &'a [Octets], recipient_args: &'a [Octets]) -> Delivery<'a> {
    Delivery {
        sender: b"<anna@example.org>",
        sender_args,
        recipient: b"carl@army.ml",
        recipient_args,
    }
}

fn args(args: &[&str]) -> Vec<Octets> {
    args.iter().map(|arg| Octets::from(*arg)).collect()
}

fn run(
    replies: &[&str],
    sender_args: &[&str],
    message: &[u8],
) -> (Result<Accepted, SmtpError>, Got) {
    let (settings, server) = server(replies);
    let result = inject(&settings, &delivery(&args(sender_args), &[]), message);
    (result, server.join().unwrap())
}

const FINE: [&str; 7] = [
    "220 mx\r\n",
    EHLO,
    "250 ok\r\n",
    "250 ok\r\n",
    "354 go\r\n",
    "250 2.0.0 queued as 4XyZ\r\n",
    "221 bye\r\n",
];

#[test]
fn the_envelope_goes_out_as_it_came_in() {
    let (settings, server) = server(&FINE);
    let sender_args = args(&[
        "BODY=8BITMIME",
        "SMTPUTF8",
        "RET=HDRS",
        "ENVID=a+2Bb",
        "SIZE=77",
        "AUTH=<>",
    ]);
    let recipient_args = args(&["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;carl@army.ml"]);
    let accepted = inject(&settings, &delivery(&sender_args, &recipient_args), MESSAGE).unwrap();
    assert_eq!(accepted.reply.to_string(), "250 2.0.0 queued as 4XyZ");
    assert_eq!(accepted.left_out, []);
    let got = server.join().unwrap();
    assert_eq!(
        got.commands,
        [
            "EHLO client.test",
            "MAIL FROM:<anna@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb",
            "RCPT TO:<carl@army.ml> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;carl@army.ml",
            "DATA",
            "QUIT",
        ]
    );
    assert_eq!(got.data, [MESSAGE, b".\r\n"].concat());
}

#[test]
fn a_smuggled_message_stays_inside_the_data() {
    let message = b"Subject: x\r\n\r\na\n.\r\nMAIL FROM:<evil@x>\r.\rb\r\n.\r\nlast";
    let (result, got) = run(&FINE, &[], message);
    result.unwrap();
    assert_eq!(
        got.data,
        b"Subject: x\r\n\r\na\r\n..\r\nMAIL FROM:<evil@x>\r\n..\r\nb\r\n..\r\nlast\r\n.\r\n"
    );
    assert_eq!(got.commands.len(), 5);
}

#[test]
fn a_large_message_arrives_whole() {
    let line = [b"x".repeat(900), b"\r\n".to_vec()].concat();
    let message = line.repeat(3000);
    let (result, got) = run(&FINE, &[], &message);
    result.unwrap();
    assert!(got.data == [&message[..], b".\r\n"].concat());
}

#[test]
fn what_the_server_does_not_offer_is_left_out_or_named() {
    let plain = [
        "220 mx\r\n",
        "250 mx\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 go\r\n",
        "250 ok\r\n",
        "221 bye\r\n",
    ];
    let (result, got) = run(
        &plain,
        &["RET=FULL", "ENVID=7", "BODY=7BIT", "X-OWN=1"],
        MESSAGE,
    );
    assert_eq!(
        result.unwrap().left_out,
        args(&["RET=FULL", "ENVID=7", "X-OWN=1"])
    );
    assert_eq!(got.commands[1], "MAIL FROM:<anna@example.org>");
    for (arg, needs) in [
        ("SMTPUTF8", "SMTPUTF8"),
        ("BODY=8BITMIME", "8BITMIME"),
        ("body=binarymime", "BINARYMIME by DATA"),
        ("REQUIRETLS", "REQUIRETLS"),
    ] {
        let (settings, server) = server(&plain);
        let target = settings.target.to_string();
        let error = inject(&settings, &delivery(&args(&[arg]), &[]), MESSAGE).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the message needs {needs}, which the MTA at {target} does not offer")
        );
        assert!(!error.is_temporary());
        assert_eq!(server.join().unwrap().commands, ["EHLO client.test"]);
    }
}

#[test]
fn refusals_are_temporary_or_permanent_and_say_where() {
    for (at, reply, temporary, text) in [
        (
            0,
            "421 4.3.2 busy\r\n",
            true,
            "the MTA answered the greeting with: 421 4.3.2 busy",
        ),
        (1, "502 no\r\n", false, "the MTA answered EHLO with: 502 no"),
        (
            2,
            "550-5.7.1 you\r\n550 5.7.1 never\r\n",
            false,
            "the MTA answered MAIL FROM with: 550 5.7.1 you 5.7.1 never",
        ),
        (
            3,
            "451 4.7.1 later\r\n",
            true,
            "the MTA answered RCPT TO with: 451 4.7.1 later",
        ),
        (4, "554 no\r\n", false, "the MTA answered DATA with: 554 no"),
        (
            5,
            "452 4.3.1 full\r\n",
            true,
            "the MTA answered the end of the message with: 452 4.3.1 full",
        ),
    ] {
        let mut replies = FINE[..at].to_vec();
        replies.push(reply);
        let (result, _) = run(&replies, &[], MESSAGE);
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.is_temporary(), temporary, "{text}");
    }
}

#[test]
fn a_connection_lost_after_the_final_dot_is_uncertain_and_before_it_is_not() {
    for (replies, uncertain) in [(5, true), (4, false), (3, false), (1, false)] {
        let (result, _) = run(&FINE[..replies], &[], MESSAGE);
        let error = result.unwrap_err();
        assert_eq!(
            matches!(error, SmtpError::Unknown { .. }),
            uncertain,
            "{replies}: {error}"
        );
        assert_eq!(
            matches!(error, SmtpError::NoAnswer { .. }),
            !uncertain,
            "{replies}: {error}"
        );
    }
}

#[test]
fn an_answer_to_the_final_dot_that_is_not_smtp_is_uncertain_too() {
    for answer in ["gibberish\r\n", "354 go on\r\n"] {
        let mut replies = FINE[..5].to_vec();
        replies.push(answer);
        let (result, _) = run(&replies, &[], MESSAGE);
        let error = result.unwrap_err();
        assert!(
            matches!(error, SmtpError::Unknown { .. }),
            "{answer:?}: {error}"
        );
    }
}

#[test]
fn a_unix_socket_is_a_target_too_and_a_full_one_does_not_keep_us() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("smtp.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let settings = SmtpSettings {
        target: Target::Unix(path.clone()),
        command_timeout: Duration::from_millis(300),
        ..SmtpSettings::default()
    };
    let started = Instant::now();
    // The first one waits in the queue, and the second finds it full.
    for _ in 0..3 {
        let error = inject(&settings, &delivery(&[], &[]), MESSAGE).unwrap_err();
        assert!(error.is_temporary(), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_is_not_smtp_is_named_so() {
    let long = format!("220 {}\r\n", "x".repeat(10_000));
    let lines = "220-x\r\n".repeat(200);
    for greeting in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\u{0}\u{16}\u{3}\u{1}\n",
        "354 go\r\n",
        "220-a\r\n250 b\r\n",
        &long,
        &lines,
    ] {
        let (result, _) = run(&[greeting], &[], MESSAGE);
        let error = result.unwrap_err();
        assert!(
            matches!(error, SmtpError::NotSmtp { .. }),
            "{greeting:.20?}: {error}"
        );
    }
}

#[test]
fn a_silent_server_costs_its_timeout_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = SmtpSettings {
        target: Target::Tcp(listener.local_addr().unwrap().to_string()),
        command_timeout: Duration::from_millis(200),
        ..SmtpSettings::default()
    };
    let started = Instant::now();
    let error = inject(&settings, &delivery(&[], &[]), MESSAGE).unwrap_err();
    assert!(matches!(error, SmtpError::NoAnswer { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_dribbles_octets_meets_the_same_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = SmtpSettings {
        target: Target::Tcp(listener.local_addr().unwrap().to_string()),
        command_timeout: Duration::from_millis(300),
        ..SmtpSettings::default()
    };
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"2").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let started = Instant::now();
    let error = inject(&settings, &delivery(&[], &[]), MESSAGE).unwrap_err();
    assert!(matches!(error, SmtpError::NoAnswer { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    server.join().unwrap();
}

#[test]
fn a_path_with_a_line_end_is_never_sent() {
    for (sender, recipient) in [
        (&b"<a\r\nRCPT TO:<x@y>"[..], &b"<c@d>"[..]),
        (b"<a@b>", b"<c\n@d>"),
        (b"<a@b>", b"<c\0@d>"),
    ] {
        let (settings, server) = server(&FINE);
        let delivery = Delivery {
            sender,
            sender_args: &[],
            recipient,
            recipient_args: &[],
        };
        let error = inject(&settings, &delivery, MESSAGE).unwrap_err();
        assert!(matches!(error, SmtpError::Unsendable(_)), "{error}");
        drop(server.join());
    }
}

#[test]
fn a_message_that_breaks_off_is_not_ended() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 {
                return Err(std::io::Error::other("disk error"));
            }
            buffer[..5].copy_from_slice(b"half\n");
            Ok(5)
        }
    }
    let (settings, server) = server(&FINE);
    let error = inject(&settings, &delivery(&[], &[]), Broken(0)).unwrap_err();
    assert!(matches!(error, SmtpError::Message(_)), "{error}");
    assert_eq!(server.join().unwrap().data, b"half\r\n");
}

#[test]
fn nobody_listening_is_temporary_and_says_where() {
    let settings = SmtpSettings {
        target: Target::Unix("/nonexistent/smtp.sock".into()),
        ..SmtpSettings::default()
    };
    let error = inject(&settings, &delivery(&[], &[]), MESSAGE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot connect to the MTA at unix:/nonexistent/smtp.sock"
    );
    assert!(error.is_temporary());
}

#[test]
fn eight_bit_paths_and_arguments_are_not_touched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = SmtpSettings {
        target: Target::Tcp(listener.local_addr().unwrap().to_string()),
        ..SmtpSettings::default()
    };
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut lines = Vec::new();
        for reply in [
            "220 mx\r\n",
            "250-mx\r\n250 SMTPUTF8\r\n",
            "250 ok\r\n",
            "550 no\r\n",
        ] {
            stream.write_all(reply.as_bytes()).unwrap();
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line).unwrap() > 0 {
                lines.push(line);
            }
        }
        lines
    });
    let sender_args = args(&["SMTPUTF8"]);
    let delivery = Delivery {
        sender: b"<a\xffb@x>",
        sender_args: &sender_args,
        recipient: "<jörg@армия.ml>".as_bytes(),
        recipient_args: &[],
    };
    inject(&settings, &delivery, MESSAGE).unwrap_err();
    let lines = server.join().unwrap();
    assert_eq!(lines[1], b"MAIL FROM:<a\xffb@x> SMTPUTF8\r\n");
    assert_eq!(lines[2], "RCPT TO:<jörg@армия.ml>\r\n".as_bytes());
}
