//! The `straymail` program.

fn main() {}
