//! Cleans up after a test that was killed and could not clean up itself.
//!
//! A small shell waits on a pipe that only the test process holds open. However the test ends,
//! the pipe closes and the shell runs its commands. Nothing is left behind by a timeout, a
//! Ctrl-C or a kill -9.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Runs a shell command when this process ends without dropping it.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Arms the guard with a command for `/bin/sh`.
    pub(crate) fn new(command: &str) -> Result<Guard> {
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("read -r _; {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: what ends the test's group must not end the guard.
            .process_group(0)
            .spawn()
            .context("cannot start a guard")?;
        Ok(Guard(child))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The owner has cleaned up itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
