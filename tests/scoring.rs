//! The incident corpus: what must be stopped, with which evidence, and what must not.
//!
//! A new case is a line in `tests/scoring/*.tsv` with its source.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;

use straymail::domain::Domain;
use straymail::public_suffix::PublicSuffixes;
use straymail::score::{Assessment, Context, Finding, ScoreSettings, Scorer};
use straymail::trusted::TrustedList;

fn assess(trusted: &str, typed: &str) -> Assessment {
    let suffixes = PublicSuffixes::built_in();
    let mut list = TrustedList::new();
    let lines = trusted.replace(' ', "\n");
    assert_eq!(list.add_text(&lines, Path::new("corpus"), &suffixes), []);
    list.add_well_known(&suffixes);
    let domain = Domain::parse(typed.as_bytes(), &suffixes).unwrap();
    let scorer = Scorer::new(list, ScoreSettings::default());
    let assessment = scorer.assess(&domain, &Context::default());
    let by_scan = scorer.assess_by_scan(&domain, &Context::default());
    assert_eq!(assessment, by_scan, "{typed}");
    assessment
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

/// The name of a reason in JSON, which is the stable one.
fn name(reason: &straymail::score::Reason) -> String {
    serde_json::to_value(reason)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn every_published_mistake_is_stopped_with_its_evidence() {
    let mut wrong = Vec::new();
    for row in rows(include_str!("scoring/incidents.tsv")) {
        let [trusted, typed, meant, at_least, evidence, _source] = row.as_slice() else {
            panic!("{row:?}");
        };
        let assessment = assess(trusted, typed);
        let best = assessment.best();
        let found = best.map(|best| name(&best.evidence[0].reason));
        let points = at_least.parse::<u8>().unwrap();
        if assessment.score < points
            || best.is_none_or(|best| best.trusted != *meant)
            || found.as_deref() != Some(evidence)
        {
            wrong.push(format!("{typed}: {assessment:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn valid_names_that_others_correct_are_left_alone() {
    let mut wrong = Vec::new();
    for row in rows(include_str!("scoring/valid.tsv")) {
        let [trusted, typed, at_most, _source] = row.as_slice() else {
            panic!("{row:?}");
        };
        let assessment = assess(trusted, typed);
        if assessment.score > at_most.parse::<u8>().unwrap() {
            wrong.push(format!("{typed}: {assessment:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn hosts_that_were_typed_stay_in_front_of_the_name_that_was_meant() {
    for (trusted, typed, meant, marked) in [
        ("af.mil", "us.af.ml", "us.af.mil", "af.m[i]l"),
        ("af.mil", "a.af.ml", "a.af.mil", "af.m[i]l"),
        (
            "us.army.mil",
            "mail.us.army.ml",
            "mail.us.army.mil",
            "us.army.m[i]l",
        ),
        (".mil", "us.army.ml", "us.army.mil", "army.m[i]l"),
        (
            "barclays.co.uk",
            "mx1.barclays.co.k",
            "mx1.barclays.co.uk",
            "barclays.co.[u]k",
        ),
        (
            "cba.com.au",
            "mail.cba.com",
            "mail.cba.com.au",
            "cba.com[.au]",
        ),
        (
            "hsbc.com.br",
            "x.hsbc.com.bp",
            "x.hsbc.com.br",
            "hsbc.com.b{p}[r]",
        ),
        (
            "siemens.com",
            "x.wwwsiemens.com",
            "x.siemens.com",
            "{www}siemens.com",
        ),
        (
            "us.army.mil",
            "x.usarmy.mil",
            "x.us.army.mil",
            "us[.]army.mil",
        ),
        (
            "army.mil",
            "x.army.mil.evil.com",
            "x.army.mil",
            "{x.}army.mil{.evil.com}",
        ),
        // Both as people read them.
        (
            "m\u{fc}ller-bau.de",
            "x.m\u{fc}llr-bau.de",
            "x.xn--mller-bau-q9a.de",
            "m\u{fc}ll[e]r-bau.de",
        ),
        (
            "m\u{fc}ller-bau.de",
            "mullr-bau.de",
            "xn--mller-bau-q9a.de",
            "m{u}[\u{fc}]ll[e]r-bau.de",
        ),
    ] {
        let assessment = assess(trusted, typed);
        let best = assessment.best().unwrap();
        let found = (best.name(), best.edit.marked.as_str());
        assert_eq!(found, (meant.to_owned(), marked), "{typed}");
    }
}

#[test]
fn both_trusted_neighbours_of_a_name_are_listed() {
    let Finding::Resembles { candidates } = assess("army.mil army.nl", "army.ml").finding else {
        panic!()
    };
    let names: Vec<_> = candidates.iter().map(|c| c.trusted.as_str()).collect();
    assert_eq!(names, ["army.mil", "army.nl"]);
}

#[test]
fn hostile_names_are_bounded_and_never_clean() {
    let suffixes = PublicSuffixes::built_in();
    for bytes in [
        &b"a".repeat(10_000)[..],
        &b"a.".repeat(126)[..],
        b"army\0.mil",
        b"xn--\xff.mil",
        b"xn--zzzzzzzzzzzzzzzz99999.mil",
        "army\u{202e}lim.".as_bytes(),
        b"[192.0.2.1]",
        b"..",
        b"",
    ] {
        match Domain::parse(bytes, &suffixes) {
            Ok(domain) => assert!(domain.ascii().len() <= 253),
            Err(error) => {
                let assessment = Assessment::undecodable(bytes, &error);
                assert!(assessment.score >= 50);
                assert!(
                    assessment
                        .sentence_ascii()
                        .bytes()
                        .all(|b| (32..127).contains(&b))
                );
            }
        }
    }
}
