//! One event, one line, greppable for ten years.
