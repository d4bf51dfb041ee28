//! Crash points for the `kill -9` tests.
//!
//! With the feature `fault-injection` a process dies (or hangs) at the point that the variable
//! `STRAYMAIL_FAULT` names; without it [`point`] is nothing. The feature refuses to compile
//! in a release build, so no shipped daemon can be told to die by its environment.

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!(
    "the feature `fault-injection` is for tests; build without it, or with debug assertions"
);

/// Kills this process when `STRAYMAIL_FAULT` is `name`, hangs it when it is `name:hang`, panics
/// when it is `name:panic`.
///
/// The death is a SIGKILL to ourselves: no destructor runs, no buffer is flushed.
#[cfg(feature = "fault-injection")]
pub fn point(name: &str) {
    let Ok(wanted) = std::env::var("STRAYMAIL_FAULT") else {
        return;
    };
    if wanted == name {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
    if wanted.strip_suffix(":hang") == Some(name) {
        loop {
            std::thread::park();
        }
    }
    #[expect(clippy::panic, reason = "that is the fault asked for")]
    if wanted.strip_suffix(":panic") == Some(name) {
        panic!("\u{1b}[2Jasked for");
    }
}

/// Does nothing: this build has no crash points.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_name: &str) {}
