//! The milter edge: bytes of the MTA in, session events out. The only file that names indymilter.
