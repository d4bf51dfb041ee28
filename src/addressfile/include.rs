//! Files that an alias or a forward includes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Returns what `:include:/path` names, in upper or lower case: Sendmail and Postfix take both.
/// `":include:/a path"` may hold spaces.
pub(super) fn paths(text: &[u8]) -> impl Iterator<Item = &Path> {
    const MARK: &[u8] = b":include:";
    memchr::memchr_iter(b':', text).filter_map(|at| {
        let (before, rest) = text.split_at_checked(at)?;
        let (mark, rest) = rest.split_at_checked(MARK.len())?;
        if !mark.eq_ignore_ascii_case(MARK) {
            return None;
        }
        let quoted = before.ends_with(b"\"");
        let rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| match byte {
            b'"' => true,
            byte => !quoted && (*byte == b',' || byte.is_ascii_whitespace()),
        });
        let path = rest.get(..end.unwrap_or(rest.len()))?;
        (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))
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
