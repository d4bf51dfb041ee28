//! One SMTP session as the milter sees it: a pure state machine.
