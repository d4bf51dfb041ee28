//! straymail stops mail before it goes to the wrong domain.
//!
//! Layers, lowest first; a module imports only from the layers below its own and
//! `tests/layering.rs` enforces it:
//!
//! 0. vocabulary: [`domain`], [`address`], [`octets`], [`public_suffix`], [`untrusted`]
//! 1. core, pure: [`trusted`], [`score`], [`policy`], [`session`], [`reply`]
//! 2. ports: [`store`], [`spool`], [`smtp`], [`notice`], [`logging`],
//!    [`maillog`], [`addressfile`], [`metrics`]
//! 3. service: [`service`]
//! 4. edges: [`milter`], [`review`], [`cli`]
//! 5. wiring: [`config`], [`daemon`]

pub mod address;
pub mod addressfile;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod fault;
mod hexadecimal;
pub mod logging;
pub mod maillog;
pub mod metrics;
pub mod milter;
pub mod notice;
pub mod octets;
mod owner;
pub mod policy;
pub mod public_suffix;
pub mod reply;
pub mod review;
pub mod score;
pub mod service;
pub mod session;
pub mod smtp;
mod socketfile;
pub mod spool;
pub mod store;
pub mod trusted;
pub mod untrusted;
