//! What straymail does: judge, hold, release, drop, approve. Milter, CLI and web call it.

pub mod quarantine;
