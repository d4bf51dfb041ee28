//! Every way of writing a recipient, at a real Postfix and a real Sendmail: what the MTA tells a
//! milter, which spelling removes the recipient, and that straymail leaves no copy behind.
//!
//! The printed tables are those of docs/quirks.md.

mod support;

use anyhow::{Context, Result, ensure};
use support::daemon::{Daemon, Settings};
use support::milter_server::{MilterServer, Removal};
use support::mta::Mta;
use support::postfix::Postfix;
use support::sendmail::Sendmail;
use support::smtp_client::SmtpClient;

const GOOD: &str = "bob@navy.mil";

/// What stands behind `RCPT TO:`. All of them mean somebody at `army.ml`, or might.
const FORMS: [&[u8]; 64] = [
    b"<carl@army.ml>",
    b"carl@army.ml",
    b"<Carl@army.ml>",
    b"<carl@ARMY.ML>",
    b"<CARL@ARMY.ML.>",
    b"<carl@army.ml.>",
    b"< carl@army.ml >",
    b"<carl @ army.ml>",
    b"<@relay.test:carl@army.ml>",
    b"<@army.mil,@navy.mil:carl@army.ml>",
    b"<\"carl smith\"@army.ml>",
    b"<\"carl\"@army.ml>",
    b"<\"carl@navy.mil\"@army.ml>",
    b"<carl\\@navy.mil@army.ml>",
    b"<carl (comment)@army.ml>",
    b"<carl@army.ml (comment)>",
    b"<carl@army.ml> (comment)",
    b"<Carl <carl@army.ml>>",
    b"Carl <carl@army.ml>",
    b"<carl@army.ml>@navy.mil",
    b"<carl<b>@army.ml>",
    b"carl<b>@army.ml",
    b"<carl<>@army.ml>",
    b"carl<>@army.ml",
    b"<<carl>@army.ml>",
    b"<carl@<army.ml>>",
    b"carl@<army.ml>",
    b"carl@<army>.ml",
    b"<carl@<army>.ml>",
    b"<carl@<b>army.ml>",
    b"<<b>carl@army.ml>",
    b"@relay.test:carl%army.ml@mx.test",
    b"<@relay.test:carl%army.ml@mx.test>",
    b"<,carl%army.ml@mx.test>",
    b",carl%army.ml@mx.test",
    b"<;carl%army.ml@mx.test>",
    b"<army.ml!carl,>",
    b"<army.ml!carl (>",
    b"<army.ml!carl>>",
    b"<>army.ml!carl>",
    b"<carl@navy.mil@army.ml>",
    b"<carl@army.ml@navy.mil>",
    b"<carl%army.ml@mx.test>",
    b"<carl%army.ml@navy.mil>",
    b"<carl%army.ml>",
    b"<\"carl@army.ml\"@mx.test>",
    b"<\"carl%army.ml\"@mx.test>",
    b"<army.ml!carl>",
    b"<army.ml!carl@mx.test>",
    b"<navy.mil!army.ml!carl>",
    b"<army.ml!carl@navy.mil>",
    b"<mx.test!army.ml!carl>",
    b"<army.ml::carl>",
    b"<carl@[army.ml]>",
    b"<carl@army.ml.UUCP>",
    b"<carl@army.ml,>",
    b"<carl@army.ml,dave@army.ml>",
    b"<group: carl@army.ml;>",
    b"<carl+tag@army.ml>",
    b"<carl$m@army.ml>",
    b"<c\xf6rl@army.ml>",
    b"<list@valias.test>",
    b"<gary@old.test>",
    b"<mixed@valias.test>",
];

/// Forms too long to write down: a local part beyond RFC 5321, 4.5.3.1.1, and a long route.
fn long_forms() -> [Vec<u8>; 2] {
    let routes: Vec<String> = (0..10).map(|n| format!("@r{n}.navy.mil")).collect();
    [
        format!("<{}@army.ml>", "x".repeat(200)).into_bytes(),
        format!("<{}:carl@army.ml>", routes.join(",")).into_bytes(),
    ]
}

/// Names of our own: straymail cannot see what a list expands to, nor, in Postfix, what an alias
/// stands for. And to Postfix `army.ml::carl` is a local user.
const OURS: [(&str, &[&[u8]]); 2] = [
    (
        "postfix",
        &[
            b"<list@valias.test>",
            b"<gary@old.test>",
            b"<mixed@valias.test>",
            b"<army.ml::carl>",
        ],
    ),
    ("sendmail", &[b"<mixed@valias.test>"]),
];

/// One line of the table.
struct Row {
    form: Vec<u8>,
    rewritten: String,
    refused: Option<String>,
    /// Copies left when removed by the argument, by the macro, and with straymail.
    left: [usize; 3],
    /// What straymail did about it.
    done: Done,
}

/// What straymail does about a recipient.
#[derive(Clone, Copy, PartialEq)]
enum Done {
    Passed,
    Held,
    /// Not held, because the MTA might not remove it.
    Rejected,
}

#[test]
fn no_form_leaks_at_postfix() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    measure(&Postfix::start(&support::postfix::Options::default())?)
}

#[test]
fn no_form_leaks_at_sendmail() -> Result<()> {
    if let Some(why) = support::sendmail::why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    measure(&Sendmail::start(&support::sendmail::Options::default())?)
}

fn measure(mta: &dyn Mta) -> Result<()> {
    let milters = mta.milters();
    let socket = &milters.first().context("no milter")?.socket;
    let filter = MilterServer::start(socket, GOOD)?;
    let mut rows = Vec::new();
    let forms = FORMS.iter().map(|form| form.to_vec()).chain(long_forms());
    for form in forms {
        let mut row = Row {
            form: form.clone(),
            rewritten: String::new(),
            refused: None,
            left: [0; 3],
            done: Done::Passed,
        };
        for (at, removal) in [Removal::Argument, Removal::Macro].into_iter().enumerate() {
            filter.remove_by(removal);
            match send(mta, &form)? {
                Err(reply) => row.refused = Some(reply),
                Ok(left) => {
                    row.left[at] = left;
                    let told = filter.told().pop().unwrap_or_default();
                    row.rewritten = printable(&told.rewritten);
                }
            }
        }
        rows.push(row);
    }
    std::fs::remove_file(socket)?;
    let settings = Settings::for_mta(mta)
        .with(serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}}));
    let daemon = Daemon::start(&settings)?;
    let mut before = 0;
    for row in &mut rows {
        match send(mta, &row.form)? {
            Ok(left) => row.left[2] = left,
            Err(reply) if reply.contains("not sent: ") => row.done = Done::Rejected,
            Err(_) => {}
        }
        let entries = daemon.entries()?.len();
        if entries > before {
            row.done = Done::Held;
        }
        before = entries;
    }
    print_table(mta.name(), &rows);
    daemon.stop()?;
    let ours = OURS.iter().find(|(name, _)| *name == mta.name());
    let mut leaks = Vec::new();
    for row in rows.iter().filter(|row| row.refused.is_none()) {
        if !ours.is_some_and(|(_, forms)| forms.contains(&row.form.as_slice())) {
            let form = printable(&row.form);
            ensure!(row.done != Done::Passed, "{form}: not kept back");
            leaks.extend((row.left[2] > 0).then(|| printable(&row.form)));
        }
    }
    assert_eq!(leaks, [""; 0], "{}", mta.name());
    Ok(())
}

/// Sends a message to the good recipient and to `form`. Returns how many copies others got, or
/// the refusal of the form.
fn send(mta: &dyn Mta, form: &[u8]) -> Result<Result<usize, String>> {
    let seen = mta.sink().deliveries().len();
    let mut client = SmtpClient::open(mta.port("submission").context("no port")?)?;
    client.command("MAIL FROM:<alice@army.mil>")?;
    let good = client.command(&format!("RCPT TO:<{GOOD}>"))?;
    ensure!(good.code == 250, "{}", good.flat());
    client.send(&[b"RCPT TO:", form, b"\r\n"].concat())?;
    let reply = client.reply()?;
    if reply.code != 250 {
        return Ok(Err(reply.flat()));
    }
    client.command("DATA")?;
    client.send(b"Subject: forms\r\n\r\ntext\r\n.\r\n")?;
    let end = client.reply()?;
    ensure!(end.code == 250, "{}: {}", printable(form), end.flat());
    let ids: Vec<String> = end.queue_id().map(str::to_owned).into_iter().collect();
    mta.settle(&ids)?;
    let deliveries = mta.sink().deliveries();
    let recipients = (deliveries.iter().skip(seen)).flat_map(|d| d.recipients.iter());
    let names: Vec<&str> = recipients.map(|recipient| recipient.0.as_str()).collect();
    ensure!(
        names.contains(&GOOD),
        "{}: {GOOD} lost: {names:?}",
        printable(form)
    );
    Ok(Ok(names.len() - 1))
}

fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"")
}

/// Long forms would break the table.
fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(48).collect();
    match chars.next() {
        Some(_) => start + "…",
        None => start,
    }
}

fn print_table(mta: &str, rows: &[Row]) {
    println!(
        "\n| {mta}: RCPT TO: | `{{rcpt_addr}}` | left when removed by the argument | by the macro | with straymail | which |"
    );
    println!("|---|---|---|---|---|---|");
    for row in rows {
        let form = cut(&printable(&row.form).replace('|', "\\|"));
        match &row.refused {
            Some(reply) => println!("| `{form}` | refused: {reply} | | | | |"),
            None => println!(
                "| `{form}` | `{}` | {} | {} | {} | {} |",
                cut(&row.rewritten),
                row.left[0],
                row.left[1],
                row.left[2],
                match row.done {
                    Done::Passed => "passed",
                    Done::Held => "held",
                    Done::Rejected => "rejected",
                }
            ),
        }
    }
}
