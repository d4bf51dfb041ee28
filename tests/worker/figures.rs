//! What the worker and reviewers ended, as report and metrics tell it.

use std::collections::BTreeMap;

use straymail::service::figures::Sources;
use straymail::store::Endings;

use super::*;

/// The samples of the page at second `second` whose name begins with `name`.
fn shown(site: &Site, name: &str, second: i64) -> BTreeMap<String, f64> {
    let sources = Sources::new(Arc::clone(&site.quarantine), Duration::from_secs(1000));
    let page = sources.page(at(second));
    (page.lines())
        .filter(|line| line.starts_with(name))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[test]
fn report_and_metrics_agree_about_what_nobody_decided_and_what_reviewers_did() {
    let site = ending(AtEnd::Release);
    let [left, confirmed, released, redirected] = [0, 1, 2, 3].map(|number| {
        let message = format!("Message-ID: <{number}@example.org>\r\n\r\n{number}");
        site.hold(message.as_bytes())
    });
    site.tick(60);
    let sender = "sender anna@example.org (login anna), by reply";
    (site.quarantine)
        .decide(&confirmed, &Decision::SEND, sender, at(70))
        .unwrap();
    (site.quarantine)
        .release(&released, "cli ed (uid 0)", at(80))
        .unwrap();
    (site.quarantine)
        .correct(&redirected, "carl@army.mil", "web ed (::1)", at(90))
        .unwrap();
    for second in [100, 1001, 1002] {
        site.tick(second);
    }
    assert_eq!(
        state(&site.quarantine, &left, at(1003)),
        EntryState::Released
    );

    let report = site.quarantine.report(at(0), at(2000)).unwrap();
    let endings = Endings {
        confirmed: 1,
        released: 1,
        redirected: 1,
        expired: 1,
        ..Endings::default()
    };
    assert_eq!(report.endings, endings);
    // A reviewer's correction is no word of the sender.
    assert_eq!(report.confirm_rate, Some(100));
    let slowest: Vec<_> = report.slowest.iter().map(|slow| slow.ending).collect();
    assert_eq!(slowest, ["redirected", "released", "confirmed"]);

    let told = shown(&site, "straymail_decisions_total", 2000);
    for (ending, count) in endings.each() {
        let sample = format!(
            "straymail_decisions_total{{decision=\"{}\"}}",
            ending.name()
        );
        assert_eq!(told.get(&sample), Some(&(count as f64)), "{sample}");
    }
    let rate = shown(&site, "straymail_confirm_rate", 2000);
    assert_eq!(rate.into_values().collect::<Vec<_>>(), [1.0]);
}
