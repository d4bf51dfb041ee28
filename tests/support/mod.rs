//! What the end-to-end tests share: a private Postfix or Sendmail, a sink that records deliveries, the
//! daemon under test, and clients that speak SMTP and the milter protocol by hand.
//!
//! Everything listens on loopback, lives in a directory of its own and is stopped by process id,
//! also when a test panics or is killed (see [`guard`]).

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub(crate) mod bench;
pub(crate) mod chromium;
pub(crate) mod daemon;
pub(crate) mod dialog;
pub(crate) mod guard;
pub(crate) mod milter_client;
pub(crate) mod milter_server;
pub(crate) mod mta;
pub(crate) mod pages;
pub(crate) mod pattern;
pub(crate) mod postfix;
pub(crate) mod recorder;
pub(crate) mod sendmail;
pub(crate) mod sink;
pub(crate) mod smtp_client;

/// How long anything that should happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `ready` until it answers, at most [`PATIENCE`].
///
/// # Errors
/// Names `what` when the time is over, or passes on the first error of `ready`.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns why a private Postfix cannot be started here, if so.
pub(crate) fn why_no_postfix() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root for a private Postfix".to_owned());
    }
    if !std::path::Path::new("/usr/sbin/postfix").exists() {
        return Some("postfix is not installed (.ci/setup installs it)".to_owned());
    }
    None
}
