//! Addresses within text, whatever stands around them.

/// Returns every `local@domain` of a line.
pub(super) fn addresses(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'@', text).filter_map(|at| around(text, at))
}

/// Returns the address around the `@` at `at`.
fn around(text: &[u8], at: usize) -> Option<&[u8]> {
    let before = text.get(..at)?;
    let after = text.get(at + 1..)?;
    let local = match before.strip_suffix(b"\"") {
        // A quoted local part; in CSV a quotation mark here would be inside of a field.
        Some(inner) => inner.iter().rposition(|byte| *byte == b'"')?,
        None => before
            .iter()
            .rposition(|byte| !is_local(*byte))
            .map_or(0, |stop| stop + 1),
    };
    let domain = after
        .iter()
        .position(|byte| !is_domain(*byte))
        .unwrap_or(after.len());
    let name = after.get(..domain)?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let address = text.get(local..at + 1 + name.len())?;
    (local < at && name.contains(&b'.')).then_some(address)
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+-?^_`{}~".contains(&byte) || !byte.is_ascii()
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii()
}
