//! A recipient as the MTA gives it: in two spellings, each of which may be the one that counts.

use super::{Change, to_owned};
use crate::address::{Address, Host};
use crate::domain::Domain;
use crate::policy::Verdict;
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
    /// All are needed: Postfix matches the RCPT argument for upper-case letters, trailing
    /// dots, percent hacks and bang paths, but `{rcpt_addr}` for source routes, and neither for
    /// `<carl@<army.ml>>`, but `carl@<army.ml>`; and it gives no error when nothing matched.
    pub fn removals(&self) -> impl Iterator<Item = Change> {
        let raw = self.address.path();
        let rewritten = self.rewritten.as_ref().map(Address::path);
        let inside = (raw.strip_prefix(b"<"))
            .and_then(|inside| inside.strip_suffix(b">"))
            .filter(|inside| inside.contains(&b'<'));
        (std::iter::once(raw).chain(rewritten.filter(|path| *path != raw)))
            .chain(inside)
            .map(|path| Change::DeleteRecipient(path.to_vec()))
    }
}
