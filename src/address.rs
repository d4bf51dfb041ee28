//! Envelope addresses as MTAs pass them to a milter (RFC 5321, 4.1.2).
