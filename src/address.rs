//! Envelope addresses as MTAs pass them to a milter (RFC 5321, 4.1.2).
//!
//! The MTA routes by its own reading of an address, and what a client may write is wider than
//! `local@domain`: source routes, `bang!paths`, the percent hack, comments, quoted local parts,
//! address literals. A filter that only cuts at the last `@` is bypassed by `army.ml!bob`. So
//! an [`Address`] names *every* domain the mail might go to, and the caller judges all of them.
//!
//! Pure. Never panics; work is linear in the length, which is capped.

use crate::domain::{Domain, DomainError};
use crate::public_suffix::PublicSuffixes;
use crate::untrusted::Untrusted;

/// Longest address that is looked into, in octets.
///
/// RFC 5321, 4.5.3.1.3 allows a path of 256; the rest is room for source routes and comments,
/// which MTAs remove. A longer one is suspicious as a whole.
pub const MAX_LEN: usize = 1024;

/// Most domains one address is judged for. RFC 5321 knows one; more come from routes through
/// the local part, of which the MTAs follow two or three.
const MAX_READINGS: usize = 8;

/// One envelope address: a sender or a recipient.
#[derive(Clone, Debug)]
pub struct Address {
    path: Vec<u8>,
    local: Vec<u8>,
    host: Host,
    routes: Vec<Host>,
}

/// Where an address says its mail goes.
#[derive(Clone, Debug)]
pub enum Host {
    /// A domain name.
    Domain(Domain),
    /// An address literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321, 4.1.3).
    Literal(String),
    /// None: the MTA completes it with its own domain.
    Missing,
    /// Something that is no domain name.
    Invalid {
        /// The bytes after the `@`.
        received: Vec<u8>,
        /// What is wrong with them.
        error: DomainError,
    },
}

impl Address {
    /// Parses a MAIL or RCPT argument or the macro `{mail_addr}` or `{rcpt_addr}`, with or
    /// without angle brackets.
    ///
    /// Never fails: what cannot be understood becomes [`Host::Invalid`], which is suspicious.
    pub fn parse(path: &[u8], suffixes: &PublicSuffixes) -> Address {
        let (mailbox, outside) = mailbox(path.get(..MAX_LEN).unwrap_or(path));
        let (local, host) = match rfind_unquoted(&mailbox, b'@') {
            Some((local, host)) => (local.to_vec(), Host::parse(host, suffixes)),
            None => (mailbox, Host::Missing),
        };
        let local = unquoted(&local);
        let mut routes = routes(&local, suffixes);
        let (local, host) = match (host, routes.first()) {
            // `army.ml!bob` and `bob%army.ml` without a domain are routed there.
            (Host::Missing, Some(_)) => {
                let host = routes.swap_remove(0);
                (last_hop(&local).to_vec(), host)
            }
            (host, _) => (local, host),
        };
        let host = if path.len() > MAX_LEN {
            // The whole of it, so that two such addresses stay two.
            Host::Invalid {
                received: path.to_vec(),
                error: DomainError::TooLong { length: path.len() },
            }
        } else if outside == Outside::Address {
            Host::Invalid {
                received: path.to_vec(),
                error: DomainError::BadCharacter('<'),
            }
        } else {
            host
        };
        Address {
            path: path.to_vec(),
            local,
            host,
            routes,
        }
    }

    /// Returns the bytes as received, angle brackets included.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Returns whether this is the null sender `<>` (RFC 5321, 4.5.5).
    pub fn is_null(&self) -> bool {
        self.local.is_empty() && matches!(self.host, Host::Missing)
    }

    /// Returns where the mail goes by the ordinary reading.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns every place the mail may go to: the ordinary reading first, then those that the
    /// local part names by a bang path or the percent hack. At most eight.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.host).chain(&self.routes)
    }

    /// Returns the address in its comparable form: local part in lower case, domain in A-labels.
    ///
    /// Foreign bytes are escaped, so the form is safe to store, log and compare. RFC 5321, 2.4
    /// lets hosts treat local parts case-sensitively; practically none does.
    pub fn canonical(&self) -> String {
        let local = Untrusted(&self.local).whole().to_lowercase();
        match &self.host {
            Host::Domain(domain) => format!("{local}@{}", domain.ascii()),
            Host::Literal(literal) => format!("{local}@{literal}"),
            Host::Missing => local,
            Host::Invalid { received, .. } => format!("{local}@{}", Untrusted(received).whole()),
        }
    }

    /// Returns the address in comparable form as it stands in an envelope or a header, so that it
    /// can be written to: the local part in quotation marks where it needs them (RFC 5321, 4.1.2).
    /// `None` without a domain, and for what no mailbox is called: controls, no UTF-8.
    pub fn mailbox(&self) -> Option<String> {
        let Host::Domain(domain) = &self.host else {
            return None;
        };
        let local = std::str::from_utf8(&self.local).ok()?.to_lowercase();
        if local.chars().any(char::is_control) {
            return None;
        }
        let local = match is_dot_string(&local) {
            true => local,
            false => format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        Some(format!("{local}@{}", domain.ascii()))
    }
}

/// Returns whether a local part may stand without quotation marks (RFC 5321, 4.1.2: Dot-string;
/// RFC 6531, 3.3).
fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| {
        !atom.is_empty()
            && atom.chars().all(|c| {
                c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
            })
    })
}

/// Returns local part and domain of an address that, but for its case, is in comparable form as it
/// stands ([`Address::canonical`]): nearly all are, and logs hold millions.
pub fn plain(address: &[u8]) -> Option<(&str, &str)> {
    let mut at = None;
    for (place, octet) in address.iter().enumerate() {
        if PLAIN.get(usize::from(*octet)) != Some(&true) {
            return None;
        }
        if *octet == b'@' && at.replace(place).is_some() {
            return None;
        }
    }
    let ends = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    if !ends(address.first()) || !ends(address.last()) {
        return None;
    }
    let (local, domain) = std::str::from_utf8(address).ok()?.split_at_checked(at?)?;
    Some((local, domain.get(1..)?))
}

/// The parts of an address that cannot be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What stands before the `@`.
    pub local: &'a [u8],
    /// Whether that is in comparable form as it stands ([`Address::canonical`]).
    pub local_is_canonical: bool,
    /// What stands behind the `@`, any octets.
    pub domain: &'a [u8],
}

/// Splits an address; `None` when it can be read in two ways, is too long or has no `@`.
pub fn split(address: &[u8]) -> Option<Parts<'_>> {
    if address.len() > MAX_LEN {
        return None;
    }
    let at = memchr::memrchr(b'@', address)?;
    let (local, domain) = address.split_at_checked(at)?;
    let mut class = 0;
    for octet in local {
        class |= CLASSES.get(usize::from(*octet)).unwrap_or(&AMBIGUOUS);
    }
    (class & AMBIGUOUS == 0).then_some(Parts {
        local,
        local_is_canonical: class == 0 && local.first().is_some_and(u8::is_ascii_alphanumeric),
        domain: domain.get(1..)?,
    })
}

/// The octet may begin another way to read an address.
const AMBIGUOUS: u8 = 1;
/// The octet is none of those of a local part in comparable form.
const NOT_CANONICAL: u8 = 2;

/// What an octet says about the local part it stands in.
const CLASSES: [u8; 256] = {
    let mut classes = [NOT_CANONICAL; 256];
    let mut octet = 0;
    while octet < 256 {
        if matches!(
            octet as u8,
            b'!' | b'%' | b'@' | b'"' | b'\\' | b'(' | b'<' | b':'
        ) {
            classes[octet] |= AMBIGUOUS;
        } else if PLAIN[octet] && !(octet as u8).is_ascii_uppercase() {
            classes[octet] = 0;
        }
        octet += 1;
    }
    classes
};

/// The octets of a plain address.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut octet = 0u8;
    while octet < 128 {
        plain[octet as usize] = octet.is_ascii_alphanumeric()
            || matches!(octet, b'.' | b'-' | b'_' | b'+' | b'=' | b'@');
        octet += 1;
    }
    plain
};

impl Host {
    fn parse(received: &[u8], suffixes: &PublicSuffixes) -> Host {
        let invalid = |error| Host::Invalid {
            received: received.to_vec(),
            error,
        };
        match Domain::parse(received, suffixes) {
            Ok(domain) => Host::Domain(domain),
            Err(DomainError::AddressLiteral) => match named(received) {
                Some(name) => Domain::parse(name, suffixes).map_or_else(invalid, Host::Domain),
                None => Host::Literal(Untrusted(received).whole()),
            },
            Err(error) => invalid(error),
        }
    }
}

/// Returns the name in `[army.ml]`, which Sendmail delivers to without asking for its MX.
fn named(literal: &[u8]) -> Option<&[u8]> {
    let inner = literal.strip_prefix(b"[")?;
    let inner = inner.strip_suffix(b"]").unwrap_or(inner);
    // `IPv6:…` and other tagged literals (RFC 5321, 4.1.3) have a colon.
    let is_name = inner.iter().any(u8::is_ascii_alphabetic) && !inner.contains(&b':');
    is_name.then_some(inner)
}

/// What stands around the innermost angle brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outside {
    /// Nothing, a display name or comments.
    Name,
    /// Something that may be part of the address, as in `carl<b>@army.ml`.
    Address,
}

/// Returns the mailbox inside `path`: without angle brackets, display name, source route,
/// comments and the white space around them.
fn mailbox(path: &[u8]) -> (Vec<u8>, Outside) {
    let mut inner = path.trim_ascii();
    let mut outside = Outside::Name;
    // `<Bob <bob@navy.mil>>`: Sendmail takes the innermost brackets.
    while let Some((before, rest)) = rfind_unquoted(inner, b'<') {
        let end = find_unquoted(rest, b'>').unwrap_or(rest.len());
        let after = without_comments(rest.get(end..).unwrap_or_default());
        if rfind_unquoted(before, b'@').is_some() || after.iter().any(|octet| *octet != b'>') {
            outside = Outside::Address;
        }
        inner = rest.get(..end).unwrap_or(rest).trim_ascii();
    }
    let inner = match inner {
        // RFC 5321, appendix C: `@relay,@relay2:` is to be ignored.
        [b'@', ..] => match find_unquoted(inner, b':') {
            Some(colon) => inner.get(colon + 1..).unwrap_or_default(),
            None => inner,
        },
        _ => inner,
    };
    (without_comments(inner), outside)
}

/// What one byte of an address is, read from the left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lexical {
    Plain,
    /// Inside a quoted string, or made literal by a backslash.
    Quoted,
    /// A quotation mark or backslash itself.
    Mark,
    Comment,
}

/// Walks over the bytes with what each of them is (RFC 5322, 3.2.1 to 3.2.4).
fn lexical(bytes: &[u8]) -> impl Iterator<Item = (u8, Lexical)> {
    let (mut quoted, mut depth, mut escaped) = (false, 0_u32, false);
    bytes.iter().map(move |&byte| {
        let class = if escaped {
            escaped = false;
            match depth {
                0 => Lexical::Quoted,
                _ => Lexical::Comment,
            }
        } else if byte == b'\\' {
            escaped = true;
            match depth {
                0 => Lexical::Mark,
                _ => Lexical::Comment,
            }
        } else if depth > 0 {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            Lexical::Comment
        } else if byte == b'"' {
            quoted = !quoted;
            Lexical::Mark
        } else if quoted {
            Lexical::Quoted
        } else if byte == b'(' {
            depth = 1;
            Lexical::Comment
        } else {
            Lexical::Plain
        };
        (byte, class)
    })
}

fn find_unquoted(bytes: &[u8], wanted: u8) -> Option<usize> {
    lexical(bytes).position(|(byte, class)| byte == wanted && class == Lexical::Plain)
}

/// Splits around the last `wanted` that is neither quoted nor in a comment.
fn rfind_unquoted(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let at = (lexical(bytes).enumerate())
        .filter(|(_, (byte, class))| *byte == wanted && *class == Lexical::Plain)
        .map(|(at, _)| at)
        .last()?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Removes comments and unquoted white space, which RFC 5322, 3.4.1 allows around the tokens.
fn without_comments(bytes: &[u8]) -> Vec<u8> {
    lexical(bytes)
        .filter(|(byte, class)| match class {
            Lexical::Comment => false,
            Lexical::Plain => !byte.is_ascii_whitespace(),
            Lexical::Quoted | Lexical::Mark => true,
        })
        .map(|(byte, _)| byte)
        .collect()
}

/// Removes the quotation marks and backslashes of a local part.
///
/// Postfix resolves `"bob%army.ml"@host` by the text inside (`resolve_dequoted_address`).
fn unquoted(local: &[u8]) -> Vec<u8> {
    lexical(local)
        .filter(|(_, class)| *class != Lexical::Mark)
        .map(|(byte, _)| byte)
        .collect()
}

/// Returns the hosts that a local part routes to: `host!user`, `user%host`, `user@host`.
///
/// Only names with a dot count: `100%sure@navy.mil` routes nowhere.
fn routes(local: &[u8], suffixes: &PublicSuffixes) -> Vec<Host> {
    let mut names: Vec<&[u8]> = local.split(|byte| *byte == b'!').collect();
    let user = names.pop().unwrap_or_default();
    names.extend(user.split(|byte| matches!(byte, b'%' | b'@')).skip(1));
    names.retain(|name| name.contains(&b'.'));
    let too_many = names.len() >= MAX_READINGS;
    if too_many {
        names.truncate(MAX_READINGS - 2);
    }
    let mut hosts: Vec<Host> = (names.into_iter())
        .map(|name| Host::parse(name, suffixes))
        .collect();
    if too_many {
        // The MTA may follow those not looked at.
        hosts.push(Host::Invalid {
            received: local.to_vec(),
            error: DomainError::TooLong {
                length: local.len(),
            },
        });
    }
    hosts
}

/// Returns the user at the end of a route: `bob` of `army.ml!bob` and of `bob%army.ml`.
fn last_hop(local: &[u8]) -> &[u8] {
    let user = local.rsplit(|byte| *byte == b'!').next().unwrap_or(local);
    user.split(|byte| *byte == b'%').next().unwrap_or(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &[u8]) -> Address {
        Address::parse(path, &PublicSuffixes::built_in())
    }

    /// Every place `path` may go to, in the order it is judged.
    fn hosts(path: &str) -> Vec<String> {
        (parse(path.as_bytes()).hosts())
            .map(|host| match host {
                Host::Domain(domain) => domain.ascii().to_owned(),
                Host::Literal(literal) => literal.clone(),
                Host::Missing => "-".into(),
                Host::Invalid { .. } => "?".into(),
            })
            .collect()
    }

    #[test]
    fn a_plain_address_is_compared_as_every_other() {
        let suffixes = PublicSuffixes::built_in();
        for address in [
            "Anna@Example.ORG",
            "carl@army.ml",
            "a.b+c_d=e@x-y.example",
            "1@2.example",
        ] {
            assert_eq!(plain(address.as_bytes()), address.split_once('@'));
            let canonical = Address::parse(address.as_bytes(), &suffixes).canonical();
            assert_eq!(address.to_ascii_lowercase(), canonical);
            let parts = split(canonical.as_bytes()).unwrap();
            let (local, domain) = canonical.split_once('@').unwrap();
            let expected = (local.as_bytes(), domain.as_bytes());
            assert_eq!((parts.local, parts.domain), expected);
            assert!(parts.local_is_canonical, "{canonical}");
        }
        for address in [
            "Anna@x.example",
            "@x.example",
            "\u{430}@x.example",
            "a b@x.example",
            ".a@x.example",
            "a'b@x.example",
        ] {
            let parts = split(address.as_bytes()).unwrap();
            assert_eq!(parts.domain, b"x.example");
            assert!(!parts.local_is_canonical, "{address}");
        }
        for address in [
            "a@b@x.example",
            "a%b@x.example",
            "b!a@x.example",
            "@b:a@x.example",
            "\"a\"@x.example",
            "a(b)@x.example",
            "a\\b@x.example",
            "<a@x.example",
            "a",
            "",
        ] {
            assert_eq!(split(address.as_bytes()), None, "{address}");
        }
        assert_eq!(split(&[b'a'; MAX_LEN + 1]), None);
        for address in [
            "carl@army.ml.",
            "a@b@c.example",
            "carl%army.ml@x.example",
            "\u{430}@x.example",
            "\u{e9}@c.example",
            "@x.example",
            "carl@",
            "carl",
            "",
        ] {
            assert_eq!(plain(address.as_bytes()), None, "{address}");
        }
    }

    #[test]
    fn every_form_an_mta_accepts_names_its_domain() {
        // The forms of the recipient tables measured against Postfix and Sendmail.
        for (path, expected) in [
            ("<bob@navy.mil>", "navy.mil"),
            ("bob@navy.mil", "navy.mil"),
            ("<b@ARMY.MIL.>", "army.mil"),
            ("<@relay.test:bob@navy.mil>", "navy.mil"),
            ("<@a.test,@b.test:bob@navy.mil>", "navy.mil"),
            ("<\"quoted @ local\"@navy.mil>", "navy.mil"),
            ("<x\\@y@navy.mil>", "navy.mil"),
            ("<bob@army.ml (x)>", "army.ml"),
            ("<bob (at) @ army.ml>", "army.ml"),
            ("<Bob <bob@navy.mil>>", "navy.mil"),
            ("<army.ml!bob>", "army.ml"),
            ("<bob%army.ml>", "army.ml"),
            ("<bob@[192.0.2.1]>", "[192.0.2.1]"),
            ("<bob>", "-"),
            ("<>", "-"),
            ("<100%sure@navy.mil>", "navy.mil"),
        ] {
            assert_eq!(hosts(path), [expected], "{path}");
        }
    }

    #[test]
    fn routes_through_a_local_part_are_judged_too() {
        assert_eq!(hosts("<bob%army.ml@navy.mil>"), ["navy.mil", "army.ml"]);
        assert_eq!(hosts("<\"bob%army.ml\"@navy.mil>"), ["navy.mil", "army.ml"]);
        assert_eq!(hosts("<army.ml!bob@navy.mil>"), ["navy.mil", "army.ml"]);
        assert_eq!(hosts("<bob@army.ml@navy.mil>"), ["navy.mil", "army.ml"]);
    }

    #[test]
    fn an_address_around_angle_brackets_is_suspicious() {
        for path in [
            "<x<b>@boing.com>",
            "x<b>@boing.com",
            "x<>@boing.com",
            "x@<i>.mil",
            "x@<army.ml>",
            "<x@<army.ml>>",
            "x@<army",
            "x@ar<b>my.ml",
            "x@ar<my.ml>",
            "<carl@army.ml>@navy.mil",
            "carl@army.ml <bob@navy.mil>",
            "<bob@navy.mil>carl",
        ] {
            assert_eq!(hosts(path), ["?"], "{path}");
        }
        for path in [
            "Bob <bob@navy.mil>",
            "\"bob@army.ml\" <bob@navy.mil>",
            "(bob@army.ml) <bob@navy.mil> (x)",
            "<<bob@navy.mil>>",
            "<bob@navy.mil",
        ] {
            assert_eq!(hosts(path), ["navy.mil"], "{path}");
        }
    }

    #[test]
    fn name_in_brackets_is_judged_as_a_name() {
        assert_eq!(hosts("<bob@[army.ml]>"), ["army.ml"]);
        assert_eq!(hosts("<bob@[army.ml>"), ["army.ml"]);
        assert_eq!(hosts("<bob@[army..ml]>"), ["?"]);
        assert_eq!(hosts("<bob@[[army.ml]]>"), ["?"]);
        assert_eq!(hosts("<bob@[IPv6:2001:db8::1]>"), ["[IPv6:2001:db8::1]"]);
        assert_eq!(hosts("<bob@192.0.2.1>"), ["192.0.2.1"]);
    }

    #[test]
    fn more_routes_than_are_judged_are_suspicious() {
        let path = |count: usize| format!("<x{}%army.ml>", "%a.com".repeat(count));
        assert!(!hosts(&path(6)).contains(&"?".to_owned()));
        assert!(hosts(&path(6)).contains(&"army.ml".to_owned()));
        assert!(hosts(&path(7)).contains(&"?".to_owned()));
    }

    #[test]
    fn only_the_empty_path_is_the_null_sender() {
        assert!(parse(b"<>").is_null());
        assert!(parse(b"").is_null());
        assert!(!parse(b"<bob>").is_null());
        assert!(!parse(b"<@>").is_null());
    }

    #[test]
    fn canonical_form_ignores_case_quotes_and_routes() {
        let canonical = |path: &str| parse(path.as_bytes()).canonical();
        assert_eq!(canonical("<\"Bob\"@ARMY.ML.>"), "bob@army.ml");
        assert_eq!(canonical("<@relay.test:Bob@army.ml>"), "bob@army.ml");
        assert_eq!(canonical("<army.ml!Bob>"), "bob@army.ml");
    }

    #[test]
    fn a_mailbox_can_be_written_to() {
        let mailbox = |path: &str| parse(path.as_bytes()).mailbox();
        for (path, expected) in [
            ("<Bob@ARMY.MIL>", "bob@army.mil"),
            ("<\"bob\"@army.mil>", "bob@army.mil"),
            ("<\"Anna Smith\"@army.mil>", "\"anna smith\"@army.mil"),
            ("<\"a\\\"b\\\\\"@army.mil>", "\"a\\\"b\\\\\"@army.mil"),
            ("<\"a..b\"@army.mil>", "\"a..b\"@army.mil"),
            ("<jürgen@army.mil>", "jürgen@army.mil"),
        ] {
            assert_eq!(mailbox(path).as_deref(), Some(expected), "{path}");
            assert_eq!(mailbox(expected).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(mailbox("<\"a\tb\"@army.mil>"), None);
        assert_eq!(parse(b"<b\xff@army.mil>").mailbox(), None);
        assert_eq!(mailbox("<root>"), None);
    }

    #[test]
    fn canonical_form_tells_long_and_undecodable_addresses_apart() {
        let canonical = |local: &[u8]| parse(&[local, b"@army.ml"].concat()).canonical();
        let long = |last: u8| [b"x".repeat(300).as_slice(), &[last]].concat();
        assert_ne!(canonical(&long(b'a')), canonical(&long(b'b')));
        let longer = |last: u8| [b"x".repeat(3000).as_slice(), &[last]].concat();
        assert_ne!(canonical(&longer(b'a')), canonical(&longer(b'b')));
        assert_ne!(canonical(b"b\xfe"), canonical(b"b\xff"));
        assert_eq!(canonical(b"B\xff"), "b\\xff@army.ml");
    }

    #[test]
    fn absurd_input_is_suspicious_and_cheap() {
        let long = [b"<x@".as_slice(), &b"a".repeat(1 << 20), b".ml>"].concat();
        assert!(matches!(parse(&long).host(), Host::Invalid { .. }));
        let routes = format!("<{}bob@navy.mil>", "a.ml!".repeat(100));
        assert_eq!(parse(routes.as_bytes()).hosts().count(), MAX_READINGS);
        for path in [
            "<", ">", "<<<", "\"", "(((", "\\", "@", "@:", "<@a:>", "!", "%",
        ] {
            parse(path.as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(path in proptest::collection::vec(0_u8.., 0..64)) {
            parse(&path).canonical();
        }

        #[test]
        fn plain_addresses_keep_their_domain(
            local in "[a-zA-Z0-9.+_-]{1,20}", domain in "[a-z]{1,10}\\.(mil|ml|com)",
        ) {
            proptest::prop_assert_eq!(hosts(&format!("<{local}@{domain}>")), [domain]);
        }
    }
}
