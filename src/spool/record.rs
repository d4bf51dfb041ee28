//! What a spool file says beside the message: the record, its key, and how both are laid out.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Envelope, SpoolError};
use crate::hexadecimal;
use crate::octets::Octets;

/// The last line of a spool file: name, version, two lengths, checksum, each of fixed width.
pub(super) const FOOTER_LENGTH: u64 = 16 + 2 + 21 + 11 + 65;

/// An envelope larger than this is damage: 1,000 recipients (the MTA's usual limit is 1,000)
/// with an explanation of 4 kB each stay below.
pub(super) const MAX_ENVELOPE: u64 = 16 * 1024 * 1024;

/// Names a held message: SHA-256 of sender, held recipients, Message-ID, subject and body.
///
/// The same for a client's second try of the same message, so that the retry updates the
/// entries instead of adding to them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey([u8; 32]);

impl MessageKey {
    /// Returns the 32 octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<MessageKey> {
        hexadecimal::decode(text).map(MessageKey)
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexadecimal::encode(&self.0))
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a spool file says about its message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Who sent what to whom.
    pub envelope: Envelope,
    /// The `Message-ID:` field, if there is one.
    #[serde(default)]
    pub message_id: Option<Octets>,
    /// The `Subject:` field as received, not decoded.
    #[serde(default)]
    pub subject: Option<Octets>,
    /// SHA-256 of everything after the header block, hexadecimal.
    pub body_sha256: String,
    /// SHA-256 of the header block, hexadecimal. Stands in for a missing Message-ID in the key.
    pub head_sha256: String,
}

impl Record {
    /// Returns the key of the message.
    pub fn key(&self) -> MessageKey {
        let mut paths: Vec<&[u8]> = self
            .envelope
            .recipients
            .iter()
            .map(|one| one.path.as_bytes())
            .collect();
        paths.sort_unstable();
        paths.dedup();
        // Without a Message-ID the header block keeps two short mails ("ok") apart.
        let identity = (self.message_id.as_ref().map(Octets::as_bytes))
            .filter(|id| !id.trim_ascii().is_empty())
            .unwrap_or(self.head_sha256.as_bytes());
        let mut hash = Sha256::new();
        let mut part = |octets: &[u8]| {
            hash.update((octets.len() as u64).to_be_bytes());
            hash.update(octets);
        };
        // Version 1 was without the subject.
        part(b"straymail message key 2");
        part(self.envelope.sender.as_bytes());
        part(&(paths.len() as u64).to_be_bytes());
        paths.iter().for_each(|path| part(path));
        part(identity);
        // Devices and scripts give all their mail the same one. Other fields may differ at each try:
        // Postfix adds a missing Date, with the time of that try.
        part(self.subject.as_ref().map_or(b"", Octets::as_bytes));
        part(self.body_sha256.as_bytes());
        MessageKey(hash.finalize().into())
    }
}

/// A spool file as it stands: what it says, and how large the message in it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The name of the file.
    pub key: MessageKey,
    /// What the file says.
    pub record: Record,
    /// Octets of the message.
    pub size: u64,
    /// SHA-256 of message and envelope, hexadecimal: differs for each time it was held.
    pub digest: String,
}

/// Reads footer and envelope; the envelope's JSON is returned for the checksum.
pub(super) fn read_trailer(
    file: &mut File,
    path: &Path,
    key: &MessageKey,
) -> Result<(Held, Vec<u8>), SpoolError> {
    let io = |error| SpoolError::io("read", path, error);
    let length = file.metadata().map_err(io)?.len();
    let Some(footer_at) = length.checked_sub(FOOTER_LENGTH) else {
        return Err(SpoolError::altered(path, "it is too short"));
    };
    file.seek(SeekFrom::Start(footer_at)).map_err(io)?;
    let mut footer = String::new();
    file.read_to_string(&mut footer)
        .map_err(|_| SpoolError::altered(path, "its last line is not text"))?;
    let Some((size, json_length, digest)) = parse_footer(&footer) else {
        return Err(SpoolError::altered(
            path,
            "its last line is not that of a spool file",
        ));
    };
    // Message, newline, envelope, newline, footer.
    if json_length > MAX_ENVELOPE
        || size
            .checked_add(json_length)
            .and_then(|sum| sum.checked_add(2))
            != Some(footer_at)
    {
        return Err(SpoolError::altered(
            path,
            "its length does not fit its last line",
        ));
    }
    file.seek(SeekFrom::Start(size + 1)).map_err(io)?;
    let mut json = Vec::new();
    file.take(json_length).read_to_end(&mut json).map_err(io)?;
    let record: Record = serde_json::from_slice(&json).map_err(|error| {
        SpoolError::altered(path, format!("its envelope does not read: {error}"))
    })?;
    if record.key() != *key {
        return Err(SpoolError::altered(
            path,
            "its envelope belongs to another message",
        ));
    }
    Ok((
        Held {
            key: *key,
            record,
            size,
            digest: digest.to_owned(),
        },
        json,
    ))
}

fn parse_footer(footer: &str) -> Option<(u64, u64, &str)> {
    let mut words = footer.strip_suffix('\n')?.split(' ');
    if (words.next(), words.next()) != (Some("straymail-spool"), Some("1")) {
        return None;
    }
    let size = words.next()?.parse().ok()?;
    let json_length = words.next()?.parse().ok()?;
    let digest = words.next()?;
    (words.next().is_none() && hexadecimal::decode::<32>(digest).is_some()).then_some((
        size,
        json_length,
        digest,
    ))
}
