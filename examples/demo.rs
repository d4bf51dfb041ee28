//! `make demo`: a private Postfix with straymail in front, a few mails, and what became of them.
//!
//! Everything printed is what happened: the replies are Postfix's, the reasons, the log and the
//! quarantine are straymail's own output. Nothing of this system's mail is touched.

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use support::daemon::{Daemon, Settings};
use support::postfix::{Options, Postfix};
use support::sink::Delivery;
use support::smtp_client::SmtpClient;

fn main() -> ExitCode {
    if let Some(why) = support::why_no_postfix() {
        eprintln!("demo: {why}");
        return ExitCode::FAILURE;
    }
    match Demo::start().and_then(Demo::tell) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    // Stopped before Postfix, so that nothing is caught half-way.
    daemon: Daemon,
    postfix: Postfix,
    /// Deliveries already told.
    seen: usize,
    /// How much of straymail's log was shown.
    logged: usize,
}

impl Demo {
    fn start() -> Result<Demo> {
        let postfix = Postfix::start(&Options::default())?;
        // The tests' configuration refuses more; this is the shipped policy.
        let shipped = json!({"policy": {"suspect": "hold", "certain": "reject"}});
        let settings = Settings::for_postfix(&postfix).with(shipped);
        let daemon = Daemon::start(&settings)?;
        let logged = daemon.log().lines().count();
        Ok(Demo {
            daemon,
            postfix,
            seen: 0,
            logged,
        })
    }

    fn tell(mut self) -> Result<()> {
        println!(
            "straymail demo

A Postfix of its own listens on 127.0.0.1:{} and asks straymail about every recipient.
This site trusts everything below .mil, and hospital.org. The policy is the shipped one:
what is doubtful is held, what is certainly wrong is refused, everything else just goes.",
            self.postfix.submission_port
        );

        title(
            1,
            "Alice writes to Bob and Carl, and forgets the i of .mil for Carl",
        );
        self.send(
            "alice@army.mil",
            "",
            &["bob@navy.mil", "carl@army.ml"],
            "Convoy on Friday",
        )?;
        self.outcome()?;
        say("Bob has his mail, Carl's copy waits. Why? Ask the way an admin would:");
        self.command(&["check", "--sender", "alice@army.mil", "carl@army.ml"])?;

        title(2, "A message to army.ml alone");
        self.send("alice@army.mil", "", &["dora@army.ml"], "Ration list")?;
        self.outcome()?;
        say("Nobody is left to deliver to; Postfix's own log says so:");
        for line in self.postfix.log().lines() {
            if let Some((_, event)) = line.split_once(" postfix/")
                && event.contains("milter-discard")
            {
                println!("    postfix/{event}");
            }
        }

        title(3, "A look-alike: hоspital.org with a Cyrillic о");
        let lookalike = "dr.house@h\u{43e}spital.org";
        self.send("alice@army.mil", " SMTPUTF8", &[lookalike], "Referral")?;
        self.outcome()?;
        say("The same name as mail programs without SMTPUTF8 write it:");
        self.send(
            "alice@army.mil",
            "",
            &["dr.house@xn--hspital-9ig.org"],
            "Referral",
        )?;
        self.outcome()?;

        title(4, "A nightly script sends its report there, by sendmail(1)");
        say("Postfix can refuse nobody there, so what would be refused is held.");
        self.sendmail(
            "backup@army.mil",
            "ops@xn--hspital-9ig.org",
            "Backup report",
        )?;
        self.outcome()?;

        title(
            5,
            "Real names pass: orange.ml is not a mistyped .mil, uscg.mil is below .mil",
        );
        self.send(
            "alice@army.mil",
            "",
            &["sales@orange.ml", "d.doe@mail.uscg.mil"],
            "Roaming",
        )?;
        self.outcome()?;

        title(6, "The admin looks at what is held");
        self.command(&["quarantine", "list"])?;
        let held = self.daemon.held()?;
        let find = |recipient: &str| {
            let entry = held.iter().find(|entry| entry.recipient == recipient);
            entry.with_context(|| format!("{recipient} should be held"))
        };
        let carl = find("carl@army.ml")?;
        self.command(&["quarantine", "show", &carl.id])?;

        title(
            7,
            "Carl's address was right after all: it is released. Dora's was not",
        );
        self.command(&["quarantine", "release", &carl.id])?;
        self.postfix.sink.wait(self.seen, 1, support::PATIENCE);
        self.outcome()?;
        say("A second release sends nothing:");
        self.command(&["quarantine", "release", &carl.id])?;
        let dora = find("dora@army.ml")?;
        self.command(&["quarantine", "drop", "--reason", "mistyped", &dora.id])?;
        self.outcome()?;
        self.command(&["quarantine", "list"])?;
        self.command(&["quarantine", "log"])?;

        if std::env::var("KEEP").is_ok_and(|keep| !matches!(keep.as_str(), "" | "0")) {
            return self.keep();
        }
        println!("\nThat was all. `make demo KEEP=1` leaves it running to play with.");
        self.daemon.stop()
    }

    /// Sends a message and shows the conversation.
    fn send(&mut self, sender: &str, args: &str, recipients: &[&str], subject: &str) -> Result<()> {
        let mut client = SmtpClient::open(self.postfix.submission_port)?;
        let mut talk = |line: &str| -> Result<u16> {
            let reply = client.command(line)?;
            println!("    {line}\n        {}", reply.flat());
            Ok(reply.code)
        };
        println!();
        talk(&format!("MAIL FROM:<{sender}>{args}"))?;
        let mut accepted = 0;
        for recipient in recipients {
            accepted += usize::from(talk(&format!("RCPT TO:<{recipient}>"))? == 250);
        }
        if accepted > 0 {
            talk("DATA")?;
            let reply = client.command(&format!(
                "From: {sender}\r\nSubject: {subject}\r\nMessage-ID: <{}@demo.test>\r\n\r\nSee subject.\r\n.",
                subject.replace(' ', ".")
            ))?;
            println!("    (the message) .\n        {}", reply.flat());
            ensure!(reply.code == 250, "the message should be accepted");
        }
        client.command("QUIT")?;
        Ok(())
    }

    fn sendmail(&mut self, sender: &str, recipient: &str, subject: &str) -> Result<()> {
        println!("\n    $ sendmail -f {sender} {recipient} < message");
        let message = format!("From: {sender}\nSubject: {subject}\n\nSee subject.\n");
        let arguments = ["-f", sender, recipient].map(str::to_owned);
        self.postfix.sendmail(&arguments, message.as_bytes())
    }

    /// Shows straymail's new log lines and what was delivered.
    fn outcome(&mut self) -> Result<()> {
        self.postfix.settle(&[])?;
        let log = self.daemon.log();
        let new: Vec<&str> = log.lines().skip(self.logged).collect();
        self.logged += new.len();
        if !new.is_empty() {
            say("straymail's log:");
            for line in new {
                println!("    {line}");
            }
        }
        let deliveries = self.postfix.sink.deliveries();
        let new = deliveries.get(self.seen..).unwrap_or_default();
        say(&delivered(new));
        self.seen = deliveries.len();
        Ok(())
    }

    /// Runs a command and shows it like a terminal would.
    fn command(&self, arguments: &[&str]) -> Result<()> {
        println!("\n    $ straymail {}", arguments.join(" "));
        for line in self.daemon.command(arguments)?.text.lines() {
            println!("    {line}");
        }
        Ok(())
    }

    fn keep(mut self) -> Result<()> {
        let settings = self.daemon.settings();
        println!(
            "
Left running. Talk to it:
    nc -C 127.0.0.1 {port}
    swaks --server 127.0.0.1:{port} --from alice@army.mil --to bob@navy.mil,carl@army.ml
    sendmail -C {etc} -f backup@army.mil carl@army.ml < some-file
Look and act (the configuration is in the same place; kill -HUP {pid} reads it again):
    {program} --config {config} quarantine list
    {program} --config {config} check carl@army.ml
    tail -f {log} {maillog}
Stop with Ctrl-C or kill {own}. Deliveries appear here:",
            port = self.postfix.submission_port,
            etc = self.postfix.directory().join("etc").display(),
            pid = self.daemon.pid(),
            program = settings.program.display(),
            config = settings.config_path().display(),
            log = settings.directory.join("log").display(),
            maillog = self.postfix.directory().join("maillog").display(),
            own = std::process::id(),
        );
        while self.daemon.is_running() {
            let new = self.postfix.sink.wait(self.seen, 1, Duration::from_secs(1));
            if !new.is_empty() {
                self.seen += new.len();
                say(&delivered(&new));
            }
        }
        Ok(())
    }
}

fn delivered(deliveries: &[Delivery]) -> String {
    if deliveries.is_empty() {
        return "Delivered to: nobody.".to_owned();
    }
    let recipients: Vec<&str> = (deliveries.iter())
        .flat_map(|delivery| delivery.recipients.iter())
        .map(|(recipient, _)| recipient.as_str())
        .collect();
    format!("Delivered to: {}.", recipients.join(", "))
}

fn title(number: usize, text: &str) {
    println!("\n{number}. {text}");
}

fn say(text: &str) {
    println!("\n    {text}");
}
