//! `straymail quarantine`, `approve` and `audit` as an admin types them.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod held;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use held::{MESSAGE, at, envelope, files, hold, recipient, settings};
use straymail::octets::Octets;
use straymail::score::{Assessment, Candidate, Edit, Evidence, Finding, Reason};
use straymail::service::decide::{Decision, Remember};
use straymail::service::quarantine::Quarantine;
use straymail::store::EntryId;
use support::sink::Sink;

/// A state directory with a configuration that names it.
struct Site {
    dir: tempfile::TempDir,
    port: u16,
}

impl Site {
    fn new(port: u16) -> Site {
        let site = Site {
            dir: tempfile::tempdir().unwrap(),
            port,
        };
        std::fs::create_dir(site.state()).unwrap();
        let config = format!(
            "trusted:\n  domains: [army.mil]\nquarantine:\n  directory: {}\n  min_free: 1B\n  release_to: 127.0.0.1:{port}\n",
            site.state().display()
        );
        std::fs::write(site.dir.path().join("milter.yaml"), config).unwrap();
        site
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn quarantine(&self) -> Quarantine {
        Quarantine::open(settings(&self.state(), self.port), at(-10_000_000)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_straymail"));
        command
            .arg("--config")
            .arg(self.dir.path().join("milter.yaml"))
            .args(args)
            .env("SUDO_USER", "anna");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }
}

#[derive(Debug, PartialEq)]
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Columns are two blanks apart.
fn row(line: &str) -> Vec<&str> {
    line.split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}

fn hold_look_alike(site: &Site) -> EntryId {
    let quarantine = site.quarantine();
    let mut envelope = envelope(at(0));
    envelope.sender = Octets::from(&b"<e\x1b[2Jvil@example.org>"[..]);
    envelope.sender_address = "e\u{1b}[2Jvil@example.org".to_owned();
    let mut one = recipient("<carl@аrmy.mil>".as_bytes(), "carl@xn--rmy-5cd.mil");
    one.assessment = Assessment {
        score: 97,
        finding: Finding::Resembles {
            candidates: vec![Candidate {
                trusted: "army.mil".to_owned(),
                hosts: String::new(),
                score: 97,
                evidence: vec![Evidence {
                    reason: Reason::ReplacedLetter,
                    points: 97,
                    detail: "one letter differs".into(),
                }],
                edit: Edit {
                    marked: "[а→a]rmy.mil".to_owned(),
                    ..Edit::default()
                },
            }],
        },
    };
    envelope.recipients = vec![one];
    let mut draft = quarantine.draft();
    draft
        .write(b"Subject: \x1b]0;owned\x07 \xe2\x80\xae txt\r\nX: y\r\n\r\nbody\r\n")
        .unwrap();
    quarantine.hold(draft, envelope, at(0)).unwrap().remove(0)
}

#[test]
fn list_shows_both_spellings_and_obeys_no_escape() {
    let site = Site::new(1);
    assert_eq!(site.run(&["quarantine", "list"]).out, "no entries\n");
    let plain = hold(&site.quarantine(), at(-100));
    let odd = hold_look_alike(&site);
    let ran = site.run(&["quarantine", "list"]);
    let lines: Vec<_> = ran.out.lines().map(row).collect();
    let (plain, odd) = (plain.as_str(), odd.as_str());
    assert_eq!(
        lines[0],
        ["ID", "STATE", "HELD", "SCORE", "FROM", "TO", "MEANT"]
    );
    assert_eq!(
        lines[1],
        [
            odd,
            "pending",
            "2027-01-15 08:00:00Z",
            "97",
            "e\\u{1b}[2Jvil@example.org",
            "carl@аrmy.mil/xn--rmy-5cd.mil",
            "army.mil"
        ]
    );
    assert_eq!(
        lines[2],
        [
            plain,
            "pending",
            "2027-01-15 07:58:20Z",
            "0",
            "anna@example.org",
            "carl@army.ml",
            "army.mil"
        ]
    );
    for (filter, shown) in [
        (&["--domain", "аrmy.mil"][..], &[odd][..]),
        (&["--domain", "ml"], &[plain]),
        (&["--recipient", "CARL"], &[odd, plain]),
        (&["--sender", "anna"], &[plain]),
        (&["--min-score", "50"], &[odd]),
        (&["--since", "2027-01-15T08:00:00Z"], &[odd]),
        (&["--limit", "1"], &[odd]),
        (&["--state", "released", "--state", "dropped"], &[]),
        (&["--state", "pending"], &[odd, plain]),
        (&["--recipient", "%"], &[]),
    ] {
        let ran = site.run(&[&["quarantine", "list", "--json"], filter].concat());
        let ids: Vec<String> = ran
            .out
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(ids, shown, "{filter:?}");
    }
}

#[test]
fn show_explains_an_entry_and_escapes_its_headers() {
    let site = Site::new(1);
    let id = hold_look_alike(&site).to_string();
    let ran = site.run(&["quarantine", "show", id.get(..5).unwrap()]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    let expected = format!(
        "\
entry     {id}
state     pending since 2027-01-15 08:00:00Z
held      2027-01-15 08:00:00Z, handed in once
from      <e\\u{{1b}}[2Jvil@example.org>
to        <carl@аrmy.mil>
domain    аrmy.mil/xn--rmy-5cd.mil
rule      default
login     anna
client    192.0.2.7
mail args BODY=8BITMIME RET=HDRS SIZE=999
rcpt args NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;carl@army.ml
session   s1
queue id  4XyZ
size      43 octets

why
  looks like army.mil   [а→a]rmy.mil
     +97  one letter differs
      97  of 100

headers
  Subject: \\u{{1b}}]0;owned\\u{{7}} \\u{{202e}} txt
  X: y

history
  2027-01-15 08:00:00Z held {id} <e\\u{{1b}}[2Jvil@example.org> -> <carl@аrmy.mil> score=97 meant=army.mil by milter ("
    );
    assert!(ran.out.starts_with(&expected), "{}", ran.out);
    let raw = site
        .command(&["quarantine", "show", "--message", &id])
        .output()
        .unwrap();
    assert_eq!(
        raw.stdout,
        b"Subject: \x1b]0;owned\x07 \xe2\x80\xae txt\r\nX: y\r\n\r\nbody\r\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&site.run(&["quarantine", "show", "--json", &id]).out).unwrap();
    assert_eq!(json["entry"]["path"], "<carl@\\xd0\\xb0rmy.mil>");
    assert_eq!(json["assessment"]["score"], 97);
    assert_eq!(json["envelope"]["login"], "anna");
    assert_eq!(json["history"][0]["kind"], "held");
}

#[test]
fn mistakes_are_named_and_the_rest_is_done() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let id = hold(&site.quarantine(), at(0)).to_string();
    let ran = site.run(&["quarantine", "release", "0000", &id, "x"]);
    assert_eq!(
        ran,
        Ran {
            status: Some(1),
            out: format!("{id} released to carl@army.ml: 250 ok\n"),
            err: "straymail: no entry 0000\nstraymail: \"x\" is too short for an id; give at least 4 characters\n".to_owned(),
        }
    );
    assert_eq!(sink.deliveries()[0].data, MESSAGE);
    let ran = site.run(&["quarantine", "release", &id]);
    assert!(
        ran.err
            .starts_with(&format!("straymail: entry {id} was released at ")),
        "{}",
        ran.err
    );
    let ran = site.run(&["quarantine", "drop", "--reason", "typo", &id]);
    assert_eq!(ran.status, Some(1));
    for wrong in [
        &["quarantine", "drop", &id][..],
        &["quarantine", "list", "--state", "odd"],
        &["quarantine"],
    ] {
        assert_eq!(site.run(wrong).status, Some(64), "{wrong:?}");
    }
    std::fs::remove_dir_all(site.state()).unwrap();
    let ran = site.run(&["quarantine", "list"]);
    assert!(ran.err.contains("does not exist"), "{}", ran.err);
    assert!(!site.state().exists(), "looking creates nothing");
}

#[test]
fn a_mistake_elsewhere_keeps_nobody_from_deciding() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let id = hold(&site.quarantine(), at(0)).to_string();
    let file = site.dir.path().join("milter.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}listen: nowhere\nscorng: {{}}\n")).unwrap();
    let ran = site.run(&["quarantine", "release", &id]);
    assert_eq!(
        ran,
        Ran {
            status: Some(0),
            out: format!("{id} released to carl@army.ml: 250 ok\n"),
            err: format!(
                "straymail: goes on, though there are 2 mistakes elsewhere in {}; straymail check-config names each\n",
                file.display()
            ),
        }
    );
    assert_eq!(sink.deliveries()[0].data, MESSAGE);
    // Where held mail is kept must not be in doubt.
    let config = config.replace("min_free: 1B", "min_free: some");
    std::fs::write(&file, config).unwrap();
    let ran = site.run(&["quarantine", "list"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(78), ""));
    assert!(ran.err.contains("quarantine.min_free"), "{}", ran.err);
}

#[test]
fn what_nobody_can_read_on_standard_error_keeps_nothing_from_being_done() {
    let site = Site::new(1);
    let id = hold(&site.quarantine(), at(0)).to_string();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = site.command(&["quarantine", "drop", "0000", &id, "--reason", "typo"]);
    let done = command.stderr(full).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        format!("{id} to carl@army.ml dropped\n")
    );
}

#[test]
fn drop_and_log_say_who_and_why() {
    let site = Site::new(1);
    let id = hold(&site.quarantine(), at(0)).to_string();
    let ran = site.run(&[
        "quarantine",
        "drop",
        &id.to_lowercase(),
        "--reason",
        "a typo\n\u{1b}",
    ]);
    assert_eq!(
        (ran.status, ran.out),
        (Some(0), format!("{id} to carl@army.ml dropped\n"))
    );
    assert_eq!(files(&site.state()), 0);
    let ran = site.run(&["quarantine", "log", "--entry", &id, "--kind", "dropped"]);
    let uid = rustix::process::getuid().as_raw();
    assert!(
        ran.out.ends_with(&format!(
            " dropped {id} <Anna@example.org> -> <carl@army.ml> score=0 meant=army.mil by cli anna (uid {uid}) (a typo\\n\\u{{1b}})\n"
        )),
        "{}",
        ran.out
    );
    assert_eq!(
        site.run(&["quarantine", "log", "--json"])
            .out
            .lines()
            .count(),
        2
    );
    // The explanation outlives the message.
    let ran = site.run(&["quarantine", "show", &id]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    assert!(ran.out.contains("dropped since"), "{}", ran.out);
}

#[test]
fn approvals_are_added_listed_and_removed() {
    let site = Site::new(1);
    assert_eq!(site.run(&["approve", "list"]).out, "no approvals\n");
    let add = [
        "approve",
        "add",
        "аrmy.mil",
        "--sender",
        "Anna@Example.org",
        "--for",
        "12h",
        "--reason",
        "real",
        "--owner",
        "J. Doe",
    ];
    let ran = site.run(&add);
    assert!(
        ran.out
            .contains(" approved: from anna@example.org to аrmy.mil/xn--rmy-5cd.mil until "),
        "{}",
        ran.out
    );
    let id = ran.out.get(..8).unwrap().to_owned();
    let ran = site.run(&[
        "approve",
        "add",
        ".ml",
        "--forever",
        "--reason",
        "we are there",
        "--json",
    ]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&json["recipient"], &json["expires_at"], &json["origin"]),
        (&".ml".into(), &serde_json::Value::Null, &"admin".into())
    );
    let ran = site.run(&["approve", "list"]);
    assert_eq!(ran.out.lines().count(), 3);
    assert_eq!(
        row(ran.out.lines().next().unwrap()),
        ["ID", "FROM", "TO", "UNTIL", "OWNER", "ORIGIN", "REASON"]
    );
    // Not "removed", which is what it is not.
    assert!(ran.out.contains("  no end  "), "{}", ran.out);
    let ran = site.run(&["approve", "remove", &id, "0000"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(
        ran.out,
        format!("{id} removed: from anna@example.org to аrmy.mil/xn--rmy-5cd.mil\n")
    );
    assert_eq!(ran.err, "straymail: no approval 0000\n");
    for wrong in [
        "*@army.ml",
        "army",
        "a b@c..d",
        "x@y@army.ml",
        "*",
        "@",
        "co.uk",
    ] {
        let ran = site.run(&["approve", "add", wrong, "--reason", "x"]);
        assert_eq!(ran.status, Some(64), "{wrong:?}");
        assert!(!ran.err.contains("did you mean ?"), "{}", ran.err);
    }
    let ran = site.run(&["approve", "add", "co.uk", "--reason", "x"]);
    let text =
        "is a public suffix, below which anybody registers names; for all of them write .co.uk";
    assert!(ran.err.contains(text), "{}", ran.err);
    let ran = site.run(&["approve", "add", "army.ml", "--reason", "x", "--for", "0s"]);
    assert_eq!(ran.status, Some(64));
    assert!(ran.err.contains("would approve nothing"), "{}", ran.err);
    let ran = site.run(&["audit", "verify"]);
    assert!(
        ran.out
            .starts_with("3 rows, each follows from the one before; head "),
        "{}",
        ran.out
    );
    let head = ran.out.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(
        site.run(&["audit", "verify", "--expect", head]).status,
        Some(0)
    );
    let ran = site.run(&["audit", "verify", "--expect", &"f".repeat(64)]);
    assert_eq!(ran.status, Some(1));
    assert!(
        ran.err
            .starts_with("straymail: none of the 3 rows has the expected hash"),
        "{}",
        ran.err
    );
}

#[test]
fn processes_that_release_at_once_deliver_once_while_another_one_holds() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    for round in 0..5 {
        let daemon = site.quarantine();
        let id = hold(&daemon, at(0)).to_string();
        let seen = sink.deliveries().len();
        let children: Vec<_> = (0..4)
            .map(|_| {
                site.command(&["quarantine", "release", &id])
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for n in 0..5 {
            let mut other = envelope(at(n));
            other.recipients = vec![recipient(
                format!("<r{round}n{n}@army.ml>").as_bytes(),
                "r@army.ml",
            )];
            let mut draft = daemon.draft();
            draft.write(MESSAGE).unwrap();
            daemon.hold(draft, other, at(n)).unwrap();
        }
        let won = children
            .into_iter()
            .filter_map(|child| child.wait_with_output().ok())
            .filter(|ran| ran.status.success());
        assert_eq!(
            (won.count(), sink.deliveries().len() - seen),
            (1, 1),
            "round {round}"
        );
    }
    let ran = site.run(&["audit", "verify"]);
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    let path: &Path = &site.state();
    assert_eq!(files(path), 25);
}

#[test]
fn filters_show_and_count_first_and_do_it_with_yes() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let quarantine = site.quarantine();
    for (number, to) in ["carl@army.ml", "dora@army.ml", "emil@navy.ml"]
        .iter()
        .enumerate()
    {
        let mut envelope = envelope(at(-20_000_000));
        envelope.recipients = vec![recipient(format!("<{to}>").as_bytes(), to)];
        let mut draft = quarantine.draft();
        draft
            .write(format!("Message-ID: <{number}@x>\r\n\r\n").as_bytes())
            .unwrap();
        quarantine.hold(draft, envelope, at(-20_000_000)).unwrap();
    }
    drop(quarantine);
    let shown = site.run(&["quarantine", "release", "--domain", "army.ml"]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert_eq!(shown.out.lines().count(), 3, "{shown:?}");
    assert_eq!(
        shown.err,
        "straymail: 2 entries would be released, nothing was done; add --yes to do it\n"
    );
    assert_eq!(sink.deliveries().len(), 0);
    let done = site.run(&[
        "quarantine",
        "release",
        "--domain",
        "army.ml",
        "--yes",
        "--json",
    ]);
    assert_eq!(
        (done.status, done.out.lines().count()),
        (Some(0), 2),
        "{done:?}"
    );
    assert_eq!(sink.deliveries().len(), 2);
    let args = ["quarantine", "drop", "--sender", "anna", "--reason", "typo"];
    let shown = site.run(&[&args[..], &["--json"]].concat());
    assert!(
        shown.out.contains("emil@navy.ml") && shown.out.lines().count() == 1,
        "{shown:?}"
    );
    assert_eq!(site.run(&[&args[..], &["--yes"]].concat()).status, Some(0));
    assert_eq!(site.run(&["quarantine", "list"]).out, "no entries\n");
    for wrong in [
        &["quarantine", "release"][..],
        &["quarantine", "release", "7Q2M", "--sender", "a"],
    ] {
        assert_eq!(site.run(wrong).status, Some(64), "{wrong:?}");
    }
}

#[test]
fn an_empty_filter_or_id_selects_nothing_and_is_refused() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let id = hold(&site.quarantine(), at(-20_000_000)).to_string();
    for wrong in [
        &["quarantine", "release", "--recipient", "", "--yes"][..],
        &["quarantine", "release", "--domain", "", "--yes"],
        &["quarantine", "release", "--since", "", "--yes"],
        &["quarantine", "release", ""],
        &["quarantine", "drop", "--sender=", "--reason", "x", "--yes"],
        &["quarantine", "drop", "--sender= ", "--reason", "x", "--yes"],
        &[
            "quarantine",
            "drop",
            "--sender",
            "anna",
            "--reason",
            "",
            "--yes",
        ],
        &["quarantine", "drop", &id, "--reason", " "],
        &["quarantine", "list", "--sender", ""],
        &["quarantine", "show", ""],
        &["quarantine", "correct", "", "carl@army.mil"],
        &["quarantine", "correct", &id, ""],
        &["quarantine", "export", ""],
        &["quarantine", "log", "--entry", ""],
        &["approve", "add", "army.ml", "--reason", ""],
        &["approve", "add", "army.ml", "--sender", "", "--reason", "x"],
        &["approve", "add", "army.ml", "--owner", "", "--reason", "x"],
        &["approve", "add", "", "--reason", "x"],
        &["approve", "remove", ""],
        &["approve", "remove", "7Q2M", "--reason", ""],
        &["audit", "verify", "--expect", ""],
        &["learn", "forget", ""],
        &["learn", "show", "army.ml", "--sender", ""],
        &["reviewer", "remove", ""],
    ] {
        let ran = site.run(wrong);
        assert_eq!((ran.status, ran.out.as_str()), (Some(64), ""), "{wrong:?}");
    }
    let ran = site.run(&["quarantine", "drop", "--sender=", "--reason", "x"]);
    let text = "'--sender <TEXT>': it is empty; write a value, or leave the option out";
    assert!(ran.err.contains(text), "{}", ran.err);
    assert_eq!(sink.deliveries().len(), 0);
    assert_eq!(files(&site.state()), 1, "held as before");
}

#[test]
fn accounts_are_listed_also_to_a_reader_that_is_gone() {
    let site = Site::new(1);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut list = site.command(&["reviewer", "list"]);
    let output = list.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn the_very_same_address_is_no_correction() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let id = hold(&site.quarantine(), at(-20_000_000)).to_string();
    for same in ["carl@army.ml", "Carl@ARMY.ml"] {
        let ran = site.run(&["quarantine", "correct", &id, same]);
        let expected = format!(
            "straymail: {same:?} is the address the message is held for, so that corrects nothing; write another one, or say that it is to be sent as it is\n"
        );
        assert_eq!((ran.status, ran.err), (Some(1), expected));
    }
    assert_eq!(sink.deliveries().len(), 0);
    // Somebody else at the same domain is another address, and the milter judges it.
    let ran = site.run(&["quarantine", "correct", &id, "carla@army.ml"]);
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn do_not_ask_about_this_domain_approves_no_public_suffix() {
    let site = Site::new(1);
    let quarantine = site.quarantine();
    let mut envelope = envelope(at(0));
    envelope.recipients = vec![recipient(b"<carl@co.uk>", "carl@co.uk")];
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    let id = quarantine.hold(draft, envelope, at(0)).unwrap().remove(0);
    let always = Decision {
        remember: Remember::Domain,
        ..Decision::SEND
    };
    quarantine
        .decide(&id, &always, "sender anna", at(1))
        .unwrap();
    let approvals = quarantine.approvals(false, at(2)).unwrap();
    let approved: Vec<&str> = approvals.iter().map(|a| a.recipient.as_str()).collect();
    assert_eq!(approved, ["carl@co.uk"]);
}

#[test]
fn what_a_sender_decided_is_left_alone_and_said() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let quarantine = site.quarantine();
    let id = hold(&quarantine, at(-20_000_000));
    let (send, sender) = (Decision::SEND, "sender anna@example.org, by reply");
    quarantine
        .decide(&id, &send, sender, at(-20_000_000))
        .unwrap();
    drop(quarantine);
    let shown = site.run(&["quarantine", "release", "--domain", "army.ml"]);
    let expected = format!(
        "straymail: 0 entries would be released, nothing was done; add --yes to do it\n\
         straymail: left alone, because their senders decided already: {id}\n"
    );
    assert_eq!((shown.status, shown.err), (Some(0), expected));
    let refused = format!(
        "straymail: entry {id} was decided already: send as addressed, by {sender}; about to be done\n"
    );
    for args in [
        &["release", id.as_str()][..],
        &["release", "--domain", "army.ml", "--yes"],
        &["drop", "--reason", "no", id.as_str()],
        &["correct", id.as_str(), "carl@army.mil"],
    ] {
        let ran = site.run(&[&["quarantine"], args].concat());
        assert_eq!(
            (ran.status, ran.err.as_str()),
            (Some(1), refused.as_str()),
            "{args:?}"
        );
    }
    assert_eq!(sink.deliveries().len(), 0);
}

#[test]
fn message_and_log_are_exported_and_no_file_is_overwritten() {
    let sink = Sink::start().unwrap();
    let site = Site::new(sink.port());
    let id = hold(&site.quarantine(), at(-20_000_000)).to_string();
    let whole = site
        .command(&["quarantine", "export", &id])
        .output()
        .unwrap();
    assert_eq!(whole.stdout, MESSAGE);
    let path = site.dir.path().join("held.eml");
    let args = ["quarantine", "export", &id, "-o", path.to_str().unwrap()];
    assert_eq!(site.run(&args).status, Some(0));
    assert_eq!(std::fs::read(&path).unwrap(), MESSAGE);
    let again = site.run(&args);
    assert_eq!(again.status, Some(1));
    assert!(again.err.contains("held.eml: File exists"), "{again:?}");
    let log = site.run(&["quarantine", "export", "--log"]);
    let row: serde_json::Value = serde_json::from_str(log.out.lines().next().unwrap()).unwrap();
    assert!(log.out.contains(&id) && row.is_object(), "{log:?}");
    let both = site.run(&["quarantine", "export", "--since", "1d", &id]);
    assert_eq!(both.status, Some(64), "{both:?}");
    let corrected = site.run(&["quarantine", "correct", &id, "carl@army.mil"]);
    assert!(
        corrected.out.starts_with(&format!(
            "{id} sent to carl@army.mil instead of carl@army.ml: 250"
        )),
        "{corrected:?}"
    );
    assert_eq!(sink.deliveries()[0].recipients[0].0, "carl@army.mil");
    let wrong = site.run(&["quarantine", "correct", &id, "carl"]);
    assert_eq!(wrong.status, Some(1));
}
