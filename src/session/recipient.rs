//! A recipient as the MTA gives it: in two spellings, each of which may be the one that counts.

use super::{Change, to_owned};
use crate::address::{Address, Host};
use crate::domain::Domain;
use crate::policy::{Role, Verdict};
use crate::public_suffix::PublicSuffixes;
use crate::score::Assessment;

/// A RCPT command with the macros that belong to it. Every macro may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rcpt<'a> {
    /// The path as received.
    pub path: &'a [u8],
    /// ESMTP parameters, `NOTIFY=NEVER`.
    pub args: &'a [&'a [u8]],
    /// `{rcpt_addr}`: the address as the MTA understood it.
    pub rewritten: Option<&'a [u8]>,
    /// `i`: queue id.
    pub queue_id: Option<&'a [u8]>,
}

/// A recipient to be judged, in both spellings that the MTA gives.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// ESMTP parameters of the RCPT command.
    pub args: Vec<Vec<u8>>,
    /// The RCPT argument.
    pub address: Address,
    /// `{rcpt_addr}` where it holds an address.
    pub rewritten: Option<Address>,
}

/// A recipient with what was found and decided.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Whom it is about.
    pub recipient: Recipient,
    /// What the worst of its readings resembles.
    pub assessment: Assessment,
    /// What is done about it.
    pub verdict: Verdict,
}

impl Recipient {
    /// Returns the recipient of a RCPT command.
    pub fn parse(rcpt: Rcpt<'_>, suffixes: &PublicSuffixes) -> Recipient {
        Recipient {
            args: to_owned(rcpt.args),
            address: Address::parse(rcpt.path, suffixes),
            // For a recipient that the MTA refuses, `{rcpt_addr}` holds error text: take it
            // only when it is an address. `{rcpt_mailer}` cannot tell, Postfix says `error`
            // for valid virtual aliases as well.
            rewritten: (rcpt.rewritten)
                .map(|address| Address::parse(address, suffixes))
                .filter(|a| matches!(a.host(), Host::Domain(_) | Host::Literal(_))),
        }
    }

    /// Returns every place the mail may go to, by either spelling.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        (self.address.hosts()).chain(self.rewritten.iter().flat_map(Address::hosts))
    }

    /// Returns the address the MTA delivers to, in comparable form.
    pub fn canonical(&self) -> String {
        self.rewritten.as_ref().unwrap_or(&self.address).canonical()
    }

    /// Returns the domain the MTA delivers to, if it is one.
    pub fn domain(&self) -> Option<&Domain> {
        match self.rewritten.as_ref().unwrap_or(&self.address).host() {
            Host::Domain(domain) => Some(domain),
            Host::Literal(_) | Host::Missing | Host::Invalid { .. } => None,
        }
    }

    /// Returns the changes that remove this recipient, one for each of its spellings.
    ///
    /// Both are needed: Postfix matches the RCPT argument for upper-case letters, trailing
    /// dots, percent hacks and bang paths, but `{rcpt_addr}` for source routes; and it gives no
    /// error when nothing matched.
    pub fn removals(&self) -> impl Iterator<Item = Change> {
        let raw = self.address.path();
        let rewritten = self.rewritten.as_ref().map(Address::path);
        (std::iter::once(raw).chain(rewritten.filter(|path| *path != raw)))
            .map(|path| Change::DeleteRecipient(path.to_vec()))
    }

    /// Returns whether it is certainly not sent when a session of this role holds it: mail from
    /// sendmail(1) is taken over whole ([`super::Message::must_split`]), of other mail the MTA
    /// removes it.
    pub fn can_be_held(&self, role: Role) -> bool {
        role == Role::Local || self.is_removable()
    }

    /// Returns whether the removals certainly match at both MTAs.
    ///
    /// Where the argument holds more than an address, they may keep a third spelling to
    /// themselves: Postfix of `<@relay.test:carl%army.ml@our.host>` and `<,carl%army.ml@our.host>`,
    /// Sendmail of `,carl%army.ml@our.host`.
    fn is_removable(&self) -> bool {
        let path = self.address.path();
        let inside = (path.strip_prefix(b"<")).and_then(|inside| inside.strip_suffix(b">"));
        let inside = inside.unwrap_or(path);
        let is_plain = |part: &[u8]| part.iter().all(|octet| is_plain(*octet));
        match inside.iter().rposition(|octet| *octet == b'@') {
            Some(at) => {
                let (local, domain) = inside.split_at(at);
                let domain = domain.strip_prefix(b"@").unwrap_or(domain);
                let literal = (domain.strip_prefix(b"[")).and_then(|name| name.strip_suffix(b"]"));
                is_plain(literal.unwrap_or(domain)) && (is_plain(local) || is_quoted(local))
            }
            None => is_plain(inside),
        }
    }
}

/// Returns whether an octet stands in an address for itself: those of an atom (RFC 5322, 3.2.3), `.`,
/// `@`, and all beyond ASCII.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@".contains(&octet) || !octet.is_ascii()
}

/// Returns whether a local part is one quoted string without escapes.
fn is_quoted(local: &[u8]) -> bool {
    let inner = (local.strip_prefix(b"\"")).and_then(|inner| inner.strip_suffix(b"\""));
    inner.is_some_and(|inner| {
        (inner.iter()).all(|octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_removable(path: &[u8]) -> bool {
        let rcpt = Rcpt {
            path,
            ..Rcpt::default()
        };
        Recipient::parse(rcpt, &PublicSuffixes::built_in()).is_removable()
    }

    #[test]
    fn only_what_is_an_address_and_no_more_is_removed_for_sure() {
        for path in [
            "<carl@army.ml>",
            "carl@ARMY.ML.",
            "<carl+x=y'z$m@army.ml>",
            "<carl%army.ml@mx.test>",
            "<army.ml!carl>",
            "<carl@navy.mil@army.ml>",
            "<\"carl smith, (sales): <x>\"@army.ml>",
            "<carl@[army.ml]>",
            "<c\u{f6}rl@\u{e4}rmy.ml>",
        ] {
            assert!(is_removable(path.as_bytes()), "{path}");
        }
        for path in [
            "@relay.test:carl@army.ml",
            "<,carl%army.ml@mx.test>",
            "<;carl@army.ml>",
            "<army.ml!carl (>",
            "<army.ml!carl>>",
            "<carl@<army.ml>>",
            "< carl@army.ml>",
            "<carl\\@navy.mil@army.ml>",
            "<\"carl\"smith\"@army.ml>",
            "<\"ca\\\"rl\"@army.ml>",
            "<a\"b\"@army.ml>",
            "<carl@[army.ml>",
            "<ca\u{1}rl@army.ml>",
            "<carl@army.ml\t>",
        ] {
            assert!(!is_removable(path.as_bytes()), "{path}");
        }
    }
}
