//! Start, reload and stop of the daemon.
