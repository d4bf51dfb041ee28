//! vCard 2.1, 3.0 and 4.0 (RFC 6350), unfolded.

use std::borrow::Cow;

use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::column;

/// Properties whose value is an address, or a URI with one.
const PROPERTIES: &[&str] = &[
    "EMAIL",
    "IMPP",
    "CALADRURI",
    "MEMBER",
    "RELATED",
    "ORGANIZER",
];

/// Returns whether a file begins like vCards.
pub(super) fn begins(beginning: &[u8]) -> bool {
    let text = beginning.trim_ascii_start();
    (text.get(..11)).is_some_and(|text| text.eq_ignore_ascii_case(b"BEGIN:VCARD"))
}

/// Returns the value of a property that mail goes to, decoded; nothing of others: notes quote
/// what they like.
pub(super) fn value(line: &[u8]) -> Cow<'_, [u8]> {
    let Some((property, value)) = split(line) else {
        return Cow::default();
    };
    // `item1.EMAIL;TYPE=work`
    let name = property.split(|byte| *byte == b';').next();
    let name = name.and_then(|name| name.rsplit(|byte| *byte == b'.').next());
    let name = String::from_utf8_lossy(name.unwrap_or_default()).to_ascii_uppercase();
    // `X-EMAIL`, `X-MS-EMAIL2`
    let extended = name.starts_with("X-") && name.contains("MAIL");
    if !extended && !PROPERTIES.contains(&name.as_str()) {
        return Cow::default();
    }
    let value = match is_quoted_printable(line) {
        true => quoted_printable_decode(value).map_or(value.into(), Cow::Owned),
        false => value.into(),
    };
    // RFC 6350, 3.4; some write `\@` and `\:` too.
    match value.contains(&b'\\') {
        true => (value.iter().copied().filter(|byte| *byte != b'\\')).collect(),
        false => value,
    }
}

/// Returns whether the value is quoted-printable, which vCard 2.1 also folds in its own way.
pub(super) fn is_quoted_printable(line: &[u8]) -> bool {
    split(line).is_some_and(|(property, _)| {
        (property.split(|byte| *byte == b';').skip(1)).any(|parameter| {
            let name = parameter.rsplit(|byte| *byte == b'=').next();
            name.is_some_and(|name| name.eq_ignore_ascii_case(b"QUOTED-PRINTABLE"))
        })
    })
}

/// Splits a property with its parameters from its value. A quoted parameter may hold a colon.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    column::split_name(line).or_else(|| {
        // A quotation mark that is not closed.
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (property, value) = line.split_at_checked(colon)?;
        Some((property, value.get(1..)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_with_addresses_are_decoded_and_others_left_out() {
        for (line, expected) in [
            ("EMAIL:a@b.example", "a@b.example"),
            ("item1.email;type=work:a@b.example", "a@b.example"),
            ("EMAIL;X-LABEL=\"a:b;c\":a@b.example", "a@b.example"),
            ("EMAIL;X-LABEL=\"a:a@b.example", "a@b.example"),
            ("EMAIL:a\\@b.example", "a@b.example"),
            ("X-EMAIL:a@b.example", "a@b.example"),
            ("MEMBER:mailto:a@b.example", "mailto:a@b.example"),
            (
                "RELATED;TYPE=friend:mailto:a@b.example",
                "mailto:a@b.example",
            ),
            (
                "EMAIL;INTERNET;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:a=40b=2eexample",
                "a@b.example",
            ),
            ("EMAIL;QUOTED-PRINTABLE:a=40b.example", "a@b.example"),
            // What is damaged is searched as it is.
            ("EMAIL;QUOTED-PRINTABLE:a@b.example=4", "a@b.example=4"),
            ("EMAIL:e=40@b.example", "e=40@b.example"),
            ("NOTE:a@b.example", ""),
            ("PHOTO;ENCODING=b:aaaa", ""),
            ("END", ""),
        ] {
            let value = value(line.as_bytes());
            let value = String::from_utf8_lossy(&value);
            if line.ends_with("=4") {
                assert!(value.starts_with("a@b.example"), "{line}: {value}");
            } else {
                assert_eq!(value, expected, "{line}");
            }
        }
    }
}
