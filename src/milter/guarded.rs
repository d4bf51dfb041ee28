//! A conversation that a panic ends alone: what both adapters keep for a connection.

use std::ffi::CStr;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::logging::event;
use crate::policy::Role;
use crate::service::Service;
use crate::service::conversation::Conversation;
use crate::session::Client;

/// The conversation of one connection.
#[derive(Default)]
pub(super) enum Guarded {
    /// No CONNECT or MAIL so far.
    #[default]
    New,
    Open(Box<Conversation>),
    /// A callback panicked: everything else is tempfailed.
    Broken,
}

/// The service and role of a listener, and what its callbacks have in common.
#[derive(Clone)]
pub(super) struct Edge {
    pub(super) service: Arc<Service>,
    pub(super) role: Role,
}

impl Edge {
    pub(super) fn conversation(&self) -> Box<Conversation> {
        Box::new(Conversation::new(Arc::clone(&self.service), self.role))
    }

    /// Takes the conversation out; until it is put back, by [`Guarded::Open`], the connection
    /// is broken. `None` when it is.
    pub(super) fn take(&self, guarded: &mut Guarded) -> Option<Box<Conversation>> {
        match std::mem::replace(guarded, Guarded::Broken) {
            Guarded::New => Some(self.conversation()),
            Guarded::Open(conversation) => Some(conversation),
            Guarded::Broken => None,
        }
    }

    /// Calls `f` on the conversation. `None` when it panicked, now or earlier.
    pub(super) fn with<R>(
        &self,
        guarded: &mut Guarded,
        f: impl FnOnce(&mut Conversation) -> R,
    ) -> Option<R> {
        let mut conversation = self.take(guarded)?;
        match catch_unwind(AssertUnwindSafe(|| f(&mut conversation))) {
            Ok(result) => {
                *guarded = Guarded::Open(conversation);
                Some(result)
            }
            Err(_) => {
                event::panicked(self.service.log(), conversation.id());
                None
            }
        }
    }
}

/// Returns the client of a CONNECT. Without an address it is a UNIX client, a program on this
/// host; its port says nothing.
pub(super) fn client(name: &CStr, address: Option<SocketAddr>) -> Client {
    Client {
        name: name.to_bytes().to_vec(),
        ip: address.map(|address| address.ip()),
        port: address.map_or(u16::MAX, |address| address.port()),
    }
}

/// Returns the arguments of MAIL or RCPT: the path, and the ESMTP parameters.
pub(super) fn path_and_args<'a>(
    args: impl IntoIterator<Item = &'a CStr>,
) -> (&'a [u8], Vec<&'a [u8]>) {
    let mut args = args.into_iter().map(CStr::to_bytes);
    (args.next().unwrap_or_default(), args.collect())
}
