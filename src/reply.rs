//! SMTP replies to the person who mistyped.
