//! Whatever an MTA passes as an envelope address: no panic, and the path is kept byte for byte.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use straymail_fuzz::address::Address;
use straymail_fuzz::public_suffix::PublicSuffixes;

static SUFFIXES: LazyLock<PublicSuffixes> = LazyLock::new(PublicSuffixes::built_in);

fuzz_target!(|bytes: &[u8]| {
    let address = Address::parse(bytes, &SUFFIXES);
    let _canonical = address.canonical();
    let _hosts = address.hosts().count();
    assert_eq!(address.path(), bytes);
    assert!(address.hosts().count() <= 9);
});
