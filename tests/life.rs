//! The life of a held message with a real Postfix: the notice arrives, the sender's reply
//! passes the milter and decides, and what was decided is delivered.

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use mail_parser::MessageParser;
use serde_json::json;
use straymail::metrics::Figures;
use straymail::service::account::{AccountRole, Accounts};
use support::daemon::{Daemon, Settings};
use support::pages::{Browser, PASSWORD};
use support::postfix::{Options, Postfix};
use support::sink::Delivery;
use support::smtp_client::{SmtpClient, Transaction};
use support::{PATIENCE, wait_for, why_no_postfix};

const NOTICES: &str = "straymail@site.example";

/// A Postfix with a daemon that asks senders.
struct Site {
    postfix: Postfix,
    daemon: Daemon,
}

impl Site {
    fn start() -> Result<Site> {
        Site::start_with(json!({}))
    }

    fn start_with(changes: serde_json::Value) -> Result<Site> {
        let postfix = Postfix::start(&Options::default())?;
        let settings = Settings::for_postfix(&postfix).with(json!({
            "trusted": {"own": ["site.example"]},
            "policy": {"suspect": "hold", "certain": "hold"},
            "quarantine": {"grace": "0s"},
            "notice": {"from": NOTICES},
        }));
        let settings = settings.with(changes);
        let daemon = Daemon::start(&settings)?;
        Ok(Site { postfix, daemon })
    }

    /// Sends a message with a login.
    fn send(&self, login: &str, from: &str, to: &[&str], data: &str) -> Result<Transaction> {
        let mut client = SmtpClient::open(self.postfix.submission_port)?;
        client.become_client("192.0.2.7", Some(login))?;
        client.message(from, to, data)
    }

    /// Anna writes to `to`; returns once Postfix has taken the message.
    fn anna_writes(&self, to: &[&str], subject: &str) -> Result<()> {
        let data = format!("Message-ID: <{subject}@site.example>\nSubject: {subject}\n\nHello\n");
        let sent = self.send("anna", "anna@site.example", to, &data)?;
        ensure!(sent.accepted(), "{}", sent.last());
        Ok(())
    }

    /// Waits for the next message to `recipient` after the first `seen` deliveries.
    fn delivered_to(&self, recipient: &str, seen: usize) -> Result<Delivery> {
        wait_for(&format!("mail to {recipient}"), || {
            let deliveries = self.postfix.sink.deliveries();
            let mut new = deliveries.into_iter().skip(seen);
            Ok(new.find(|delivery| delivery.recipients.iter().any(|(to, _)| to == recipient)))
        })
        .with_context(|| self.daemon.log())
    }

    fn seen(&self) -> usize {
        self.postfix.sink.deliveries().len()
    }

    /// Anna holds up a message to carl@army.ml and gets this notice.
    fn held(&self, subject: &str) -> Result<Delivery> {
        let seen = self.seen();
        self.anna_writes(&["carl@army.ml"], subject)?;
        self.delivered_to("anna@site.example", seen)
    }

    /// Replies to `notice` as a mail program would.
    fn reply(&self, login: &str, notice: &Delivery, text: &str) -> Result<Transaction> {
        let id = notice
            .text()
            .lines()
            .find_map(|line| Some(line.strip_prefix("Message-ID: ")?.to_owned()))
            .context("the notice has no Message-ID")?;
        let data = format!(
            "Subject: Re: Not sent yet\nIn-Reply-To: {id}\nReferences: {id}\n\n{text}\n> You wrote to\n"
        );
        self.send(login, &format!("{login}@site.example"), &[NOTICES], &data)
    }

    /// Checks that nothing but `expected` recipients was delivered after `seen` messages.
    fn only(&self, seen: usize, expected: &[&str]) -> Result<()> {
        self.postfix.settle(&[])?;
        let new = self.postfix.sink.wait(seen, expected.len(), PATIENCE);
        let got: Vec<&str> = (new.iter())
            .flat_map(|delivery| delivery.recipients.iter().map(|(to, _)| to.as_str()))
            .collect();
        ensure!(got == expected, "delivered {got:?}, expected {expected:?}");
        Ok(())
    }
}

macro_rules! site_or_skip {
    () => {
        match why_no_postfix() {
            Some(why) => {
                println!("skipped: {why}");
                return Ok(());
            }
            None => Site::start()?,
        }
    };
}

#[test]
fn reply_send_delivers_and_send_always_is_not_asked_again() -> Result<()> {
    let site = site_or_skip!();
    let notice = site.held("first")?;
    ensure!(notice.sender.is_empty(), "a notice has the null sender");
    let seen = site.seen();
    let taken = site.reply("anna", &notice, "send always")?;
    ensure!(taken.accepted(), "{}", taken.last());
    let sent = site.delivered_to("carl@army.ml", seen)?;
    ensure!(sent.sender == "anna@site.example" && sent.text().contains("Subject: first"));
    // The reply itself went to nobody, and the next message goes at once.
    site.anna_writes(&["carl@army.ml"], "second")?;
    site.only(seen, &["carl@army.ml", "carl@army.ml"])
}

#[test]
fn reply_cancel_ends_it_and_correct_sends_to_the_right_address() -> Result<()> {
    let site = site_or_skip!();
    let notice = site.held("first")?;
    let seen = site.seen();
    ensure!(site.reply("anna", &notice, "cancel")?.accepted());
    let notice = site.held("second")?;
    ensure!(site.reply("anna", &notice, "correct")?.accepted());
    let corrected = site.delivered_to("carl@army.mil", seen)?;
    let text = corrected.text();
    ensure!(
        text.contains("X-Straymail-Corrected: addressed to carl@army.ml"),
        "{text}"
    );
    ensure!(text.contains("Subject: second"), "{text}");
    site.only(seen, &["anna@site.example", "carl@army.mil"])
}

#[test]
fn only_the_sender_decides_and_everybody_else_hears_why_not() -> Result<()> {
    let site = site_or_skip!();
    let notice = site.held("first")?;
    let seen = site.seen();
    for (login, text, why) in [
        (
            "eve",
            "send",
            "only the sender of the held message can decide about it",
        ),
        (
            "anna",
            "hm",
            "the first line must be send, send always, cancel, correct or correct name@example.org, and nothing else",
        ),
    ] {
        let refused = site.reply(login, &notice, text)?;
        let last = refused.last();
        ensure!(
            last.contains(&format!("550 5.7.1 your answer was not taken: {why}")),
            "{last}"
        );
    }
    ensure!(site.reply("anna", &notice, "cancel")?.accepted());
    let late = site.reply("anna", &notice, "send")?;
    ensure!(
        late.last().contains("was already decided: dropped at"),
        "{}",
        late.last()
    );
    site.only(seen, &[])
}

/// `DOMAIN\name` is how many sites write their logins.
#[test]
fn sender_whose_login_has_a_backslash_can_answer() -> Result<()> {
    let site = site_or_skip!();
    let seen = site.seen();
    let login = r"SITE\anna";
    let sent = site.send(
        login,
        "anna@site.example",
        &["carl@army.ml"],
        "Subject: x\n\ny\n",
    )?;
    ensure!(sent.accepted(), "{}", sent.last());
    let notice = site.delivered_to("anna@site.example", seen)?;
    let text = notice.text();
    let id = (text
        .lines()
        .find_map(|line| line.strip_prefix("Message-ID: ")))
    .context("no id")?;
    let answer = format!("In-Reply-To: {id}\n\nsend\n");
    let taken = site.send(login, "anna@site.example", &[NOTICES], &answer)?;
    ensure!(taken.accepted(), "{}", taken.last());
    site.delivered_to("carl@army.ml", seen)?;
    Ok(())
}

#[test]
fn other_recipients_neither_wait_nor_learn_of_the_held_one() -> Result<()> {
    let site = site_or_skip!();
    let seen = site.seen();
    site.anna_writes(&["bob@navy.mil", "carl@army.ml"], "both")?;
    let bob = site.delivered_to("bob@navy.mil", seen)?;
    ensure!(!bob.text().contains("army.ml"), "{}", bob.text());
    site.delivered_to("anna@site.example", seen)?;
    let entry = site.daemon.held()?.pop().context("nothing is held")?;
    let released = site.daemon.command(&["quarantine", "release", &entry.id])?;
    ensure!(released.code == 0, "{released:?}");
    site.delivered_to("carl@army.ml", seen)?;
    site.only(seen, &["bob@navy.mil", "anna@site.example", "carl@army.ml"])?;
    // Its way out through Postfix and the milter was no new mail.
    let store = site.daemon.settings().directory.join("store");
    let figures = wait_for("the figures of the release", || {
        Ok(Figures::read(&store)?.filter(|figures| figures.released == 1))
    })?;
    let doubtful = figures.recipients.iter().filter(|r| r.verdict != "clean");
    let doubtful: u64 = doubtful.map(|recipients| recipients.count).sum();
    assert_eq!((figures.judged, doubtful), (1, 1));
    Ok(())
}

#[test]
fn mail_to_the_notice_address_that_is_no_answer_passes() -> Result<()> {
    let site = site_or_skip!();
    let seen = site.seen();
    let data = "Subject: Who are you?\n\nsend help\n";
    let sent = site.send("anna", "anna@site.example", &[NOTICES], data)?;
    ensure!(sent.accepted(), "{}", sent.last());
    site.delivered_to(NOTICES, seen)?;
    Ok(())
}

#[test]
fn beyond_a_cap_the_client_is_asked_to_come_again_and_the_log_names_the_cap() -> Result<()> {
    if let Some(why) = why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let caps = json!({"quarantine": {"max_per_sender": "1B"}});
    let site = Site::start_with(caps)?;
    let data = "Subject: too much\n\nHello\n";
    let to = ["bob@navy.mil", "carl@army.ml"];
    let sent = site.send("anna", "anna@site.example", &to, data)?;
    ensure!(sent.last().starts_with("451 "), "{}", sent.last());
    site.only(0, &[])?;
    ensure!(site.daemon.held()?.is_empty());
    let log = site.daemon.log();
    let named = (log.lines()).filter(|line| line.contains("quarantine.max_per_sender allows (1)"));
    ensure!(named.count() == 1, "{log}");
    Ok(())
}

#[test]
fn reply_to_a_digest_decides_about_the_message_it_names() -> Result<()> {
    if let Some(why) = why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let site = Site::start_with(json!({"notice": {"per_hour": 1}}))?;
    site.held("first")?;
    let digest = site.held("second")?;
    ensure!(
        digest
            .text()
            .contains("Subject: Not sent yet: 1 of your mails"),
        "{}",
        digest.text()
    );
    let seen = site.seen();
    let unclear = site.reply("anna", &digest, "send")?;
    ensure!(
        unclear.last().contains("begin with a line for each"),
        "{}",
        unclear.last()
    );
    ensure!(site.reply("anna", &digest, "send all")?.accepted());
    let sent = site.delivered_to("carl@army.ml", seen)?;
    ensure!(sent.text().contains("Subject: second"), "{}", sent.text());
    ensure!(site.daemon.held()?.len() == 1);
    site.only(seen, &["carl@army.ml"])
}

#[test]
fn link_in_the_notice_and_the_review_page_deliver_and_a_look_at_them_does_not() -> Result<()> {
    if let Some(why) = why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    // Free a moment ago; nobody else on this host asks for it by number.
    let address: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let public_url = format!("http://{address}");
    let site = Site::start_with(json!({
        "review": {"listen": format!("inet:{address}"), "public_url": public_url},
    }))?;
    let store = site.daemon.settings().directory.join("store");
    Accounts::new(&store).add("rudi", AccountRole::Reviewer, Some(PASSWORD))?;

    let notice = site.held("by-link")?;
    let mail = (MessageParser::default().parse(&notice.data)).context("no notice")?;
    let text = mail.body_text(0).context("no text")?;
    let link = (text.split_whitespace())
        .find_map(|word| word.strip_prefix(public_url.as_str()))
        .context("the notice has no link")?;
    let seen = site.seen();
    let mut anna = Browser::new(address);
    ensure!(anna.head(link)?.status == 200 && anna.get(link)?.status == 200);
    site.only(seen, &[])?;
    let answered = anna.post(link, &[("choice", "typed"), ("remember", "not")])?;
    ensure!(
        answered.status == 200,
        "{} {}",
        answered.status,
        answered.body
    );
    site.delivered_to("carl@army.ml", seen)?;

    site.anna_writes(&["dora@army.ml"], "by-page")?;
    let entry = wait_for("the held entry", || Ok(site.daemon.held()?.pop()))?;
    let mut rudi = Browser::new(address);
    rudi.log_in("rudi")?;
    let page = rudi.get(&format!("/entry/{}", entry.id))?;
    let seal = page.seal();
    let fields = [
        ("seal", seal.as_str()),
        ("id", &entry.id),
        ("action", "release"),
        ("reason", ""),
    ];
    let done = rudi.post("/decide", &fields)?;
    ensure!(
        done.body.contains("1 released"),
        "{} {}",
        done.status,
        done.body
    );
    site.delivered_to("dora@army.ml", seen)?;
    Ok(())
}
