//! A small SMTP client that re-injects a held message through the MTA, byte for byte.
