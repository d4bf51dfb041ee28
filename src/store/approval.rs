//! Approvals: who may write to whom although it looks wrong, for how long, and who said so.

use std::fmt;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params, params_from_iter};
use serde::Serialize;

use super::entry::{optional_time, time};
use super::id::{ApprovalId, EntryId, IdPrefix};
use super::{Ledger, StoreError};

/// A domain name has at most 127 labels (RFC 1035, 2.3.4: 255 octets, each label at least two).
const MAX_LABELS: usize = 127;

/// Where an approval comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An admin added it.
    Admin,
    /// The release of this entry needs it.
    Release(EntryId),
}

/// An approval to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApproval {
    /// Address, domain (and below), `.suffix`, or `None` for every sender; lower case.
    pub sender: Option<String>,
    /// Address, domain (and below) or `.suffix`; lower case, domain in A-labels.
    pub recipient: String,
    /// From this moment on it does not count; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// An approval in force or expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// For which sender; `None` for every sender.
    pub sender: Option<String>,
    /// For which recipient.
    pub recipient: String,
    /// From this moment on it does not count.
    pub expires_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Admin => f.write_str("admin"),
            Origin::Release(id) => write!(f, "release {id}"),
        }
    }
}

const COLUMNS: &str =
    "id, sender, recipient, expires_at, created_at, owner, reason, entry FROM approval";

impl Ledger<'_> {
    /// Adds an approval and returns it with its id.
    pub fn put_approval(&self, new: &NewApproval, now: Timestamp) -> Result<Approval, StoreError> {
        let approval = Approval {
            id: ApprovalId::random()?,
            sender: new.sender.as_deref().map(str::to_lowercase),
            recipient: new.recipient.to_lowercase(),
            expires_at: new.expires_at,
            created_at: now,
            owner: new.owner.clone(),
            reason: new.reason.clone(),
            origin: new.origin.clone(),
        };
        let entry = match &approval.origin {
            Origin::Admin => None,
            Origin::Release(id) => Some(id),
        };
        self.connection
            .execute(
                "INSERT INTO approval (id, sender, recipient, expires_at, created_at, owner, reason, entry)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    approval.id,
                    approval.sender,
                    approval.recipient,
                    approval.expires_at.map(Timestamp::as_millisecond),
                    now.as_millisecond(),
                    approval.owner,
                    approval.reason,
                    entry,
                ],
            )
            .map_err(|error| self.error(error))?;
        Ok(approval)
    }

    /// Returns an approval in force at `now` for this sender and recipient (`local@domain`).
    ///
    /// Of several, the one for the most specific recipient, then the one that lasts longest.
    pub fn approval_for(
        &self,
        sender: &str,
        recipient: &str,
        now: Timestamp,
    ) -> Result<Option<Approval>, StoreError> {
        let recipients = patterns_that_fit(recipient);
        let senders = patterns_that_fit(sender);
        let marks = |count: usize| vec!["?"; count].join(", ");
        let sql = format!(
            "SELECT {COLUMNS} WHERE recipient IN ({}) AND (sender IS NULL OR sender IN ({}))
                 AND (expires_at IS NULL OR expires_at > ?)
             ORDER BY instr(recipient, '@') > 0 DESC, length(recipient) DESC, expires_at IS NULL DESC,
                 expires_at DESC, id LIMIT 1",
            marks(recipients.len()),
            marks(senders.len()),
        );
        let texts = recipients
            .into_iter()
            .chain(senders)
            .map(rusqlite::types::Value::from);
        let values = texts.chain([now.as_millisecond().into()]);
        self.connection
            .query_row(&sql, params_from_iter(values), read_approval)
            .optional()
            .map_err(|error| self.error(error))
    }

    /// Returns all approvals, those expired at `now` only when asked for; newest first.
    pub fn approvals(
        &self,
        with_expired: bool,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let error = |error| self.error(error);
        let sql = format!(
            "SELECT {COLUMNS} WHERE ?1 OR expires_at IS NULL OR expires_at > ?2 ORDER BY created_at DESC, id"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(error)?;
        let rows = statement
            .query_map(params![with_expired, now.as_millisecond()], read_approval)
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Returns at most `limit` approvals whose id begins with `prefix`.
    pub fn approvals_by_id(
        &self,
        prefix: &IdPrefix,
        limit: u32,
    ) -> Result<Vec<Approval>, StoreError> {
        let error = |error| self.error(error);
        let (from, to) = prefix.range();
        let sql = format!("SELECT {COLUMNS} WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3");
        let mut statement = self.connection.prepare_cached(&sql).map_err(error)?;
        let rows = statement
            .query_map(params![from, to, limit], read_approval)
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }

    /// Removes an approval; `false` when there is none of that id.
    pub fn remove_approval(&self, id: &ApprovalId) -> Result<bool, StoreError> {
        let removed = self
            .connection
            .execute("DELETE FROM approval WHERE id = ?1", [id])
            .map_err(|error| self.error(error))?;
        Ok(removed == 1)
    }
}

/// Returns every pattern text that covers `address`: itself, each domain at or above its own,
/// each suffix above.
fn patterns_that_fit(address: &str) -> Vec<String> {
    let address = address.to_lowercase();
    let mut patterns = vec![address.clone()];
    let mut rest = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    for _ in 0..MAX_LABELS {
        if rest.is_empty() {
            break;
        }
        patterns.push(rest.to_owned());
        let Some((_, above)) = rest.split_once('.') else {
            break;
        };
        patterns.push(format!(".{above}"));
        rest = above;
    }
    patterns
}

fn read_approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    Ok(Approval {
        id: row.get(0)?,
        sender: row.get(1)?,
        recipient: row.get(2)?,
        expires_at: optional_time(row, 3)?,
        created_at: time(row, 4)?,
        owner: row.get(5)?,
        reason: row.get(6)?,
        origin: row
            .get::<_, Option<EntryId>>(7)?
            .map_or(Origin::Admin, Origin::Release),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_covered_by_itself_its_domains_and_the_suffixes_above() {
        assert_eq!(
            patterns_that_fit("Carl@HQ.army.ml"),
            [
                "carl@hq.army.ml",
                "hq.army.ml",
                ".army.ml",
                "army.ml",
                ".ml",
                "ml"
            ]
        );
        assert_eq!(patterns_that_fit(""), [""]);
        assert_eq!(patterns_that_fit("postmaster"), ["postmaster"]);
        let deep = format!("a@{}", "x.".repeat(5000));
        assert!(patterns_that_fit(&deep).len() <= 2 * MAX_LABELS + 1);
    }
}
