//! Other programs are asked for what they know; each has a deadline.

use std::process::{Command, Stdio};

/// Longest time a program may take, as timeout(1) reads it: `postconf` and `id` answer at once,
/// unless a directory service hangs, and then the doctor must not hang with it.
const PATIENCE: &str = "20";

/// Most bytes of an answer that are looked at.
const LONGEST: usize = 16 << 20;

/// Why a program did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// It is not there.
    #[error("{program} is not installed")]
    NotInstalled { program: String },
    /// It took too long.
    #[error("{program} gave no answer in {PATIENCE} s")]
    NoAnswer { program: String },
    /// It said why not.
    #[error("{program}: {said}")]
    Failed { program: String, said: String },
}

/// Returns what a program prints, or why it did not.
pub(super) fn ask(program: &str, arguments: &[&str]) -> Result<String, AskError> {
    let failed = |program: &str, said: &str| AskError::Failed {
        program: program.to_owned(),
        said: said.to_owned(),
    };
    let output = Command::new("timeout")
        .arg(PATIENCE)
        .arg(program)
        .args(arguments)
        // Postfix's programs are in sbin, which is not in everybody's PATH.
        .env("PATH", path())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("timeout", &error.to_string()))?;
    let program = program.to_owned();
    let text = |bytes: &[u8]| {
        let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
        String::from_utf8_lossy(bytes).into_owned()
    };
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(124) => Err(AskError::NoAnswer { program }),
        Some(126 | 127) => Err(AskError::NotInstalled { program }),
        _ => {
            let said = text(&output.stderr);
            // Warnings come before what it died of.
            let mut lines = said.lines();
            let said = (lines.clone().find(|line| line.contains("fatal:")))
                .or_else(|| lines.next())
                .unwrap_or("it failed without a word");
            // Most say who they are themselves.
            let said = said.strip_prefix(&program).unwrap_or(said);
            Err(failed(&program, said.trim_start_matches([':', ' '])))
        }
    }
}

fn path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/bin:/bin");
    path
}
