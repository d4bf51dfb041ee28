//! Whatever name is asked: no panic, the same answer as the scan, a score that is its sum.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use straymail_fuzz::domain::Domain;
use straymail_fuzz::public_suffix::PublicSuffixes;
use straymail_fuzz::score::{Assessment, Context, Finding, ScoreSettings, Scorer};
use straymail_fuzz::trusted::{Preset, TrustedList};

static SUFFIXES: LazyLock<PublicSuffixes> = LazyLock::new(PublicSuffixes::built_in);
static SCORER: LazyLock<Scorer> = LazyLock::new(|| {
    let mut list = TrustedList::new();
    let text = ".mil\n.gov.in\nboeing.com\nchn.dell.com\nexample.co.uk\nm\u{fc}nchen.de\nrn-vv.net\n";
    assert_eq!(list.add_text(text, Path::new("fuzz"), &SUFFIXES), []);
    list.add_preset(Preset::Webmail, &SUFFIXES);
    list.add_well_known(&SUFFIXES);
    Scorer::new(list, ScoreSettings::default())
});

fuzz_target!(|bytes: &[u8]| {
    let assessment = match Domain::parse(bytes, &SUFFIXES) {
        Ok(domain) => {
            let assessment = SCORER.assess(&domain, &Context::default());
            // The scan takes a hundred times as long, so one name in 16 is enough; which one
            // follows from the name, so that a finding can be repeated.
            let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
            if sum % 16 == 0 {
                assert_eq!(assessment, SCORER.assess_by_scan(&domain, &Context::default()));
            }
            assessment
        }
        Err(error) => Assessment::undecodable(bytes, &error),
    };
    assert!(assessment.score <= 100);
    if let Finding::Resembles { candidates } = &assessment.finding {
        for candidate in candidates {
            let sum: i32 = candidate.evidence.iter().map(|term| term.points).sum();
            assert_eq!(sum, i32::from(candidate.score));
        }
    }
    assert!(assessment.sentence_ascii().bytes().all(|b| (b' '..=b'~').contains(&b)));
});
