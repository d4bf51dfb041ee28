//! Which part of a line of aliases, maps and transports mail goes to.

/// `name: value`; the name may be quoted and hold a colon. A line that is written otherwise is a
/// value as a whole, so that no address is lost.
pub(super) fn behind_name(line: &[u8]) -> &[u8] {
    match split_name(line) {
        Some((_, value)) if is_alias(line) => value,
        _ => line,
    }
}

/// Splits at the first colon that is not quoted.
pub(super) fn split_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = position_unquoted(line, |byte| byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name, value.get(1..)?))
}

fn position_unquoted(line: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut quoted = false;
    line.iter().position(|byte| {
        quoted ^= *byte == b'"';
        !quoted && wanted(*byte)
    })
}

/// Returns whether a line is one of aliases(5).
pub(super) fn is_alias(line: &[u8]) -> bool {
    split_name(line).is_some_and(|(name, _)| {
        let name = name.trim_ascii();
        let outside = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b';');
        !name.is_empty() && position_unquoted(name, outside).is_none()
    })
}

/// `key value`, `/expression/flags value`, `!/expression/ value`. A line that is written otherwise
/// is a value as a whole, so that no address is lost; a condition has none.
pub(super) fn behind_key(line: &[u8]) -> &[u8] {
    if is_condition(line) {
        return b"";
    }
    match split_key(line) {
        Some((_, value)) if is_mapping(line) => value,
        _ => line,
    }
}

/// Returns whether a line begins or ends a condition (pcre_table(5)).
pub(super) fn is_condition(line: &[u8]) -> bool {
    let condition = (line.get(..2))
        .filter(|word| word.eq_ignore_ascii_case(b"if"))
        .and_then(|_| line.get(2..))
        .filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
        .map(<[u8]>::trim_ascii_start);
    condition.is_some_and(|pattern| expression(pattern).is_some())
        || line.trim_ascii_end().eq_ignore_ascii_case(b"endif")
}

/// Returns what stands between the slashes of an expression, and what behind them.
fn expression(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // The `!` negates; white space may follow it.
    let line = match line.strip_prefix(b"!") {
        Some(negated) => negated.trim_ascii_start(),
        None => line,
    };
    let expression = line.strip_prefix(b"/")?;
    let mut escaped = false;
    let end = expression.iter().position(|byte| {
        let ends = *byte == b'/' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    let (inner, rest) = expression.split_at_checked(end)?;
    Some((inner, rest.get(1..)?))
}

fn split_key(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = expression(line).map_or(line, |(_, rest)| rest);
    let end = position_unquoted(rest, |byte| byte.is_ascii_whitespace())?;
    let (key, value) = rest.split_at_checked(end)?;
    Some((key, value.trim_ascii()))
}

/// Returns whether a line is one of a map, and not one of a list of names and addresses.
pub(super) fn is_mapping(line: &[u8]) -> bool {
    split_key(line).is_some_and(|(key, value)| {
        let listed = key.ends_with(b",") || key.ends_with(b";") || value.ends_with(b">");
        !value.is_empty() && (expression(line).is_some() || !listed)
    })
}

/// Returns whether a line is one of a transport map or a mailertable.
pub(super) fn is_transport(line: &[u8]) -> bool {
    split_key(line).is_some_and(|(_, value)| {
        let mut words = value.split(u8::is_ascii_whitespace);
        words
            .next()
            .is_some_and(|transport| transport.contains(&b':'))
    })
}

/// Returns what a map's value says of a domain alone: with `@army.ml` the user stays and the
/// domain becomes that one (virtual(5), canonical(5)).
pub(super) fn rewritten_domains(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b'<' | b'>'))
        .map(|word| word.strip_suffix(b".").unwrap_or(word))
        .filter(|word| word.starts_with(b"@") && word.contains(&b'.'))
        .filter(|word| word.iter().filter(|byte| **byte == b'@').count() == 1)
}

/// Returns the domains that a transport map's line names: of `army.mil smtp:[mx.army.mil]:25`
/// all but the name of the transport.
pub(super) fn transport_domains(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b'[' | b']' | b','))
        .map(|word| word.strip_prefix(b".").unwrap_or(word))
        .filter(|word| word.contains(&b'.') && !word.contains(&b'@'))
        .filter(|word| word.iter().any(u8::is_ascii_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> &str {
        std::str::from_utf8(behind_key(line.as_bytes())).unwrap()
    }

    #[test]
    fn the_value_of_a_map_stands_behind_its_key() {
        for (line, expected) in [
            ("a@b.example  c@d.example", "c@d.example"),
            ("\"a b\"@c.example\td@e.example", "d@e.example"),
            ("/a b\\/@c/i d@e.example", "d@e.example"),
            ("!/a b@c/ d@e.example", "d@e.example"),
            ("! /a b@c/ d@e.example", "d@e.example"),
            // No value: nothing is lost.
            ("c@d.example", "c@d.example"),
            ("c@d.example, e@f.example", "c@d.example, e@f.example"),
            ("c@d.example ", "c@d.example "),
            ("if /a@army.ml/", ""),
            ("IF !/a@army.ml/i", ""),
            ("if ! /a@army.ml/", ""),
            ("endif", ""),
            ("EndIf ", ""),
            ("if@b.example c@d.example", "c@d.example"),
            ("if c@d.example", "c@d.example"),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn the_value_of_an_alias_stands_behind_its_name() {
        for (line, expected) in [
            ("boss: a@b.example", " a@b.example"),
            ("\"x: y\" : a@b.example", " a@b.example"),
            ("owner-x@army.ml:a@b.example", "a@b.example"),
            ("a@b.example, note: x", "a@b.example, note: x"),
            ("a@b.example", "a@b.example"),
        ] {
            assert_eq!(behind_name(line.as_bytes()), expected.as_bytes(), "{line}");
        }
    }

    #[test]
    fn a_domain_alone_on_the_right_side_of_a_map_is_found() {
        let found = |value: &str| -> Vec<String> {
            rewritten_domains(value.as_bytes())
                .map(|word| String::from_utf8(word.to_vec()).unwrap())
                .collect()
        };
        assert_eq!(
            found("@army.ml, @navy.mil. a@b.example %1@c.example @localhost"),
            ["@army.ml", "@navy.mil"]
        );
    }
}
