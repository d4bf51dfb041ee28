//! LDIF (RFC 2849), unfolded.

use std::borrow::Cow;

use base64ct::{Base64, Encoding as _};

use super::column;

/// Returns whether a file begins like LDIF: with `version: 1`, an entry, or what ldapsearch(1)
/// writes first.
pub(super) fn begins(beginning: &[u8]) -> bool {
    if beginning.starts_with(b"# extended LDIF") {
        return true;
    }
    let mut lines = (beginning.split(|byte| matches!(byte, b'\n' | b'\r')))
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let Some((name, value)) = lines.next().and_then(column::split_name) else {
        return false;
    };
    let value = value.trim_ascii();
    // A `dn` has attributes, or is in base64; an alias may have these names as well.
    (name.eq_ignore_ascii_case(b"version") && value == b"1")
        || (name.eq_ignore_ascii_case(b"dn") && (value.contains(&b'=') || value.starts_with(b":")))
}

/// Returns the value of `mail: a@b` or `mail:: YUBi`; nothing of comments and of what is no text.
/// Names of entries are left out: they repeat what attributes say.
pub(super) fn value(line: &[u8]) -> Cow<'_, [u8]> {
    let Some((name, value)) = column::split_name(line) else {
        return Cow::default();
    };
    let options = || name.split(|byte| *byte == b';');
    let is =
        |part: Option<&[u8]>, word: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(word));
    if name.starts_with(b"#")
        || is(options().next(), b"dn")
        || options().skip(1).any(|option| is(Some(option), b"binary"))
    {
        return Cow::default();
    }
    match value {
        [b':', packed @ ..] => {
            let packed = std::str::from_utf8(packed.trim_ascii()).unwrap_or_default();
            let text = Base64::decode_vec(packed).unwrap_or_default();
            match is_text(&text) {
                true => Cow::Owned(text),
                false => Cow::default(),
            }
        }
        // The URL of a file that holds the value.
        [b'<', ..] => Cow::default(),
        _ => Cow::Borrowed(value),
    }
}

/// Returns whether a value is text, and no picture or certificate.
fn is_text(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| {
        !text
            .chars()
            .any(|c| c.is_control() && !c.is_ascii_whitespace())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_what_is_no_text_left_out() {
        let packed = |value: &[u8]| format!("mail:: {}", Base64::encode_string(value));
        for (line, expected) in [
            ("mail: a@b.example".to_owned(), " a@b.example"),
            ("MAIL;lang-de:a@b.example".to_owned(), "a@b.example"),
            (
                packed("jürg@b.example\r\n".as_bytes()),
                "jürg@b.example\r\n",
            ),
            (packed(b"\0a@b.example"), ""),
            (packed(b"\xffa@b.example"), ""),
            (
                format!("cert;binary:: {}", Base64::encode_string(b"a@b.example")),
                "",
            ),
            ("jpegPhoto:< file:///a@b.example".to_owned(), ""),
            ("# mail: a@b.example".to_owned(), ""),
            ("dn: mail=a@b.example".to_owned(), ""),
            ("-".to_owned(), ""),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&value(line.as_bytes())),
                expected,
                "{line}"
            );
        }
    }
}
