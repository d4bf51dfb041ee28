//! The local SQLite file: quarantine index, approvals, audit record.
