//! straymail at a real Postfix: every dialog of `tests/dialogs`.

mod support;

use anyhow::{Result, ensure};
use support::postfix::{Options, Postfix};
use support::smtp_client::SmtpClient;

/// The harness itself: what goes in without a milter comes out at the sink, byte for byte.
#[test]
fn private_postfix_delivers_to_the_sink() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    let mut client = SmtpClient::open(postfix.plain_port)?;
    let transaction = client.message(
        "alice@army.mil",
        &["bob@navy.mil", "carl@army.ml"],
        "Subject: harness\n\n.a dot first\n",
    )?;
    ensure!(transaction.accepted(), "{transaction:?}");
    let id = transaction.end.as_ref().and_then(|end| end.queue_id());
    postfix.settle(&[id.unwrap_or_default().to_owned()])?;
    let deliveries = postfix.sink.deliveries();
    let mut recipients: Vec<&str> = deliveries
        .iter()
        .flat_map(|d| d.recipients.iter().map(|r| r.0.as_str()))
        .collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["bob@navy.mil", "carl@army.ml"]);
    assert!(deliveries[0].text().ends_with("\n\n.a dot first\n"));
    Ok(())
}
