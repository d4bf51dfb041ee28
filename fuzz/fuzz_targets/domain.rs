//! Whatever bytes come in: no panic, and a domain that keeps its promises.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use straymail_fuzz::domain::Domain;
use straymail_fuzz::public_suffix::PublicSuffixes;

static SUFFIXES: LazyLock<PublicSuffixes> = LazyLock::new(PublicSuffixes::built_in);

fuzz_target!(|bytes: &[u8]| {
    let Ok(domain) = Domain::parse(bytes, &SUFFIXES) else {
        return;
    };
    let ascii = domain.ascii();
    assert!(!ascii.is_empty() && ascii.len() <= 253);
    assert!(ascii.split('.').all(|label| !label.is_empty() && label.len() <= 63));
    assert!(ascii.ends_with(domain.public_suffix()));
    let again = Domain::parse(ascii.as_bytes(), &SUFFIXES);
    assert_eq!(again.as_ref(), Ok(&domain), "A-labels parse to themselves");
    let _shown = domain.to_string();
});
