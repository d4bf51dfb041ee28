//! Held messages on disk: the truth the index is rebuilt from.
