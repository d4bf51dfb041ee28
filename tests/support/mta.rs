//! What the dialogs and the crash cells need of a mail server, whichever it is.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::sink::Sink;
use super::smtp_client::SmtpClient;

/// One message in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// The queue id.
    pub(crate) id: String,
    /// `hold`, `active`, `deferred`, …
    pub(crate) queue: String,
    /// Addresses still to be delivered.
    pub(crate) recipients: Vec<String>,
}

/// A place where the mail server expects a milter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MilterPlace {
    /// Path of the UNIX socket.
    pub(crate) socket: PathBuf,
    /// The role straymail has there.
    pub(crate) role: &'static str,
}

/// A private mail server of the tests.
pub(crate) trait Mta {
    /// The name that stands in brackets in a dialog.
    fn name(&self) -> &'static str;

    /// The directory all of it lives in; searchable by everybody.
    fn directory(&self) -> &Path;

    /// Where it expects milters.
    fn milters(&self) -> Vec<MilterPlace>;

    /// The networks that are its own, where straymail's default does not fit the tests.
    fn networks(&self) -> Option<&'static str>;

    /// The port called `submission`, `relay` or `plain`.
    fn port(&self, name: &str) -> Option<u16>;

    /// The next hop of all mail.
    fn sink(&self) -> &Sink;

    /// Everything it has logged.
    fn log(&self) -> String;

    /// Waits until everything accepted so far is delivered, discarded, rejected or on hold.
    ///
    /// `expected` names queue ids that clients were told.
    fn settle(&self, expected: &[String]) -> Result<()>;

    /// What is in the queue now.
    fn queue(&self) -> Result<Vec<Queued>>;

    /// Lets everything out of the hold queue.
    fn let_out(&self) -> Result<()>;

    /// What its own command says about messages on hold.
    fn held_listing(&self) -> Result<String>;

    /// Deletes everything in the queue.
    fn empty_queue(&self) -> Result<()>;

    /// Hands a message to sendmail(1); returns once the server has it.
    fn sendmail(&self, arguments: &[String], message: &[u8]) -> Result<()>;

    /// Connects to `port` as a client at `address`, logged in as `login` if given, and says EHLO.
    fn connect_as(&self, port: u16, address: &str, login: Option<&str>) -> Result<SmtpClient>;
}
