//! Where Postfix's own maps lead: what it rewrites after straymail has judged, no milter sees.

use std::collections::BTreeSet;

use crate::domain::Domain;
use crate::public_suffix::PublicSuffixes;
use crate::score::{Context, Finding as ScoreFinding, Scorer};
use crate::untrusted::Untrusted;

use super::ask::ask;
use super::finding::{Finding, Report, Severity, quoted};
use super::milter::words;
use super::postfix::Postfix;

/// The parameters with maps that turn one recipient into others.
const MAPS: &[&str] = &[
    "virtual_alias_maps",
    "alias_maps",
    "canonical_maps",
    "recipient_canonical_maps",
];
/// Types that are files, so that all of it can be read without asking a server.
const FILES: &[&str] = &["hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash"];
/// Most entries of one map that are looked at; `straymail scan-addresses` looks at all.
const ENTRIES: usize = 200_000;
/// Doubtful addresses that are named one by one.
const NAMED: usize = 20;

/// One address that a map leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) parameter: &'static str,
    /// `hash:/etc/postfix/virtual`
    pub(super) map: String,
    pub(super) key: String,
    pub(super) address: String,
}

/// Reads the maps that are files; the others are named in `skipped`.
pub(super) fn gather(postfix: &Postfix, skipped: &mut Vec<String>) -> Vec<Lead> {
    let dir = postfix
        .config
        .as_ref()
        .map(|dir| dir.to_string_lossy().into_owned());
    let place: Vec<&str> = dir.iter().flat_map(|dir| ["-c", dir.as_str()]).collect();
    let mut leads = Vec::new();
    for parameter in MAPS {
        for map in words(postfix.parameter(parameter)) {
            let bare = map.strip_prefix("proxy:").unwrap_or(&map);
            let kind = bare.split(':').next().unwrap_or_default();
            if !FILES.contains(&kind) {
                skipped.push(format!(
                    "{parameter}: {map} is not a file that can be read whole"
                ));
                continue;
            }
            let program = if *parameter == "alias_maps" {
                "postalias"
            } else {
                "postmap"
            };
            match ask(program, &[&place[..], &["-s", bare]].concat()) {
                Ok(text) => leads.extend(entries(parameter, bare, &text)),
                Err(error) => skipped.push(format!("{parameter}: {error}")),
            }
        }
    }
    leads
}

/// Reads `key<TAB>address, address` lines.
fn entries(parameter: &'static str, map: &str, text: &str) -> Vec<Lead> {
    let mut leads = Vec::new();
    for line in text.lines().take(ENTRIES) {
        let Some((key, value)) = line.split_once('\t') else {
            continue;
        };
        for address in value.split([',', ' ', '\t']).map(str::trim) {
            // `:include:`, commands, files and names on this host have no domain.
            if address.contains('@') && !address.starts_with(['|', '/', ':', '"']) {
                leads.push(Lead {
                    parameter,
                    map: map.to_owned(),
                    key: key.to_owned(),
                    address: address.to_owned(),
                });
            }
        }
    }
    leads
}

/// What is known of domains.
pub(super) struct Names<'a> {
    pub(super) scorer: &'a Scorer,
    pub(super) suffixes: &'a PublicSuffixes,
    /// The site's own domains, and those Postfix takes mail for.
    pub(super) inside: BTreeSet<String>,
    /// From this score on a recipient would have been held.
    pub(super) hold_at: u8,
}

/// Says which addresses are doubtful, and that some lead outside.
pub(super) fn check(postfix: &Postfix, leads: &[Lead], names: &Names<'_>) -> Report {
    let mut report = Report::default();
    let mut outside: Vec<&Lead> = Vec::new();
    let mut doubtful = 0;
    for lead in leads {
        let domain = lead
            .address
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain);
        let Ok(domain) = Domain::parse(domain.as_bytes(), names.suffixes) else {
            continue;
        };
        if names.inside.iter().any(|own| domain.is_within(own)) {
            continue;
        }
        outside.push(lead);
        let assessment = names.scorer.assess(&domain, &Context::default());
        if !matches!(assessment.finding, ScoreFinding::Resembles { .. })
            || assessment.score < names.hold_at
        {
            continue;
        }
        doubtful += 1;
        if doubtful <= NAMED {
            let meant = assessment
                .best()
                .map(|best| best.trusted.clone())
                .unwrap_or_default();
            report.find(doubtful_lead(postfix, lead, &meant));
        }
    }
    if let Some(first) = outside.first() {
        report.find(
            Finding::new(
                "alias-expansion",
                Severity::Note,
                format!(
                    "{} of the addresses in Postfix's maps are outside, such as {} by {} of {}",
                    outside.len(),
                    Untrusted::text(&first.address),
                    Untrusted::text(&first.key),
                    first.parameter
                ),
                "Postfix expands them after straymail has judged, so a mistyped one is never seen.",
            )
            .edit("let such mail pass a second smtpd that asks straymail (docs/quirks.md); `straymail scan-addresses` looks through maps and lists of any kind"),
        );
    }
    report
}

fn doubtful_lead(postfix: &Postfix, lead: &Lead, meant: &str) -> Finding {
    let (kind, file) = lead.map.split_once(':').unwrap_or(("", &lead.map));
    let finding = Finding::new(
        "alias-doubtful",
        Severity::Error,
        format!(
            "{}: {} leads to {}, which looks like {meant}",
            lead.parameter,
            Untrusted::text(&lead.key),
            Untrusted::text(&lead.address)
        ),
        "A wrong address in a map leaks every mail to it, and no milter ever sees it.",
    )
    .edit(format!("correct it in {}", Untrusted::text(file)));
    match (kind, lead.parameter) {
        ("texthash", _) => finding.run(postfix.reload()),
        (_, "alias_maps") => finding.run(postfix.command("postalias", &quoted(&lead.map))),
        _ => finding.run(postfix.command("postmap", &quoted(&lead.map))),
    }
}

/// Returns the domains that Postfix takes mail for, without the maps among them.
pub(super) fn inside(postfix: &Postfix) -> BTreeSet<String> {
    [
        "mydestination",
        "virtual_alias_domains",
        "virtual_mailbox_domains",
    ]
    .into_iter()
    .flat_map(|name| words(postfix.parameter(name)))
    .filter(|word| !word.contains([':', '/']))
    .map(|word| word.to_ascii_lowercase())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::ScoreSettings;
    use crate::trusted::TrustedList;

    #[test]
    fn doubtful_addresses_are_named_and_outside_ones_counted() {
        let suffixes = PublicSuffixes::built_in();
        let mut list = TrustedList::new();
        assert_eq!(
            list.add_text(".mil\narmy.mil\n", "/t".as_ref(), &suffixes),
            []
        );
        let scorer = Scorer::new(list, ScoreSettings::default());
        let names = Names {
            scorer: &scorer,
            suffixes: &suffixes,
            inside: ["example.org".to_owned()].into(),
            hold_at: 50,
        };
        let text = "list@example.org\tanna@example.org, carl@army.ml\n\
                    all@example.org\tbob@army.mil\n\
                    cron\troot, |/bin/true, :include:/l@st, \"|x@army.ml\"\nbroken line\n";
        let leads = entries("virtual_alias_maps", "hash:/etc/postfix/virtual", text);
        assert_eq!(leads.len(), 3, "{leads:?}");
        let report = check(&Postfix::default(), &leads, &names);
        let found: Vec<&str> = report.findings.iter().map(|f| &*f.found).collect();
        assert_eq!(
            found,
            [
                "virtual_alias_maps: list@example.org leads to carl@army.ml, which looks like army.mil",
                "2 of the addresses in Postfix's maps are outside, such as carl@army.ml by list@example.org of virtual_alias_maps",
            ]
        );
    }
}
