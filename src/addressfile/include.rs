//! Files that an alias or a forward includes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Returns what `:include:/path` names, in upper or lower case: Sendmail and Postfix take both.
/// `":include:/a path"` may hold spaces.
pub(super) fn paths(text: &[u8]) -> impl Iterator<Item = &Path> {
    const MARK: &[u8] = b":include:";
    let mut left = text;
    std::iter::from_fn(move || {
        loop {
            let (before, rest) = left.split_at_checked(memchr::memchr(b':', left)?)?;
            left = rest.get(1..)?;
            let (mark, rest) = rest.split_at_checked(MARK.len())?;
            if !mark.eq_ignore_ascii_case(MARK) {
                continue;
            }
            let quoted = before.ends_with(b"\"");
            let rest = rest.trim_ascii_start();
            let end = rest.iter().position(|byte| match byte {
                b'"' => true,
                byte => !quoted && (*byte == b',' || byte.is_ascii_whitespace()),
            });
            let path;
            (path, left) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
            if !path.is_empty() {
                return Some(Path::new(OsStr::from_bytes(path)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_ends_at_a_comma_or_the_quotation_mark() {
        let found: Vec<&Path> = paths(
            b"a@b.example, :include:/one,:Include:/two \":INCLUDE:/three and four, five\" :includes:/x",
        )
        .collect();
        let expected = ["/one", "/two", "/three and four, five"].map(Path::new);
        assert_eq!(found, expected);
    }
}
