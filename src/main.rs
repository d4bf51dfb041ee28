//! The `straymail` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    straymail::cli::main()
}
