//! The parsers and the scoring core of straymail by themselves, compiled from their sources:
//! straymail as a whole would bring SQLite and a web server, instrumented like the rest.

pub use sources::{address, domain, maillog, public_suffix, score, trusted, untrusted};

// A part of the sources calls none of some items.
#[allow(dead_code, unused_imports)]
#[path = "../../src"]
mod sources {
    pub mod address;
    pub mod domain;
    pub mod maillog;
    pub mod public_suffix;
    pub mod score;
    pub mod trusted;
    pub mod untrusted;
}
