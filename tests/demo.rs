//! `make demo` tells the story that its text promises.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

#[test]
fn demo_tells_its_story_to_the_end() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let program = Path::new(env!("CARGO_BIN_EXE_straymail"));
    let demo = program.with_file_name("examples/demo");
    let output = Command::new(&demo)
        .env_remove("KEEP")
        .stdin(Stdio::null())
        .output()
        .with_context(|| demo.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut rest: &str = &text;
    for part in [
        "Delivered to: bob@navy.mil.",
        "looks like army.mil",
        "milter-discard",
        "550 5.7.1 <dr.house@xn--hspital-9ig.org> not sent: did you mean hospital.org?",
        "$ sendmail",
        "recipients held",
        "quarantine list",
        "quarantine show",
        "released to carl@army.ml",
        "Delivered to: carl@army.ml.",
        "A second release sends nothing",
        "dropped",
    ] {
        let found = rest.split_once(part);
        rest = found
            .with_context(|| format!("{part:?} is not where it belongs in:\n{text}"))?
            .1;
    }
    Ok(())
}
