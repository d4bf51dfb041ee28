//! `straymail scan-addresses` as a program.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Output;

const CONFIG: &str = "trusted:\n  domains: [army.mil, gmail.com]\n  suffixes: [.mil]\n";

/// Runs it in a directory that has a configuration.
fn run(dir: &Path, arguments: &[&str], input: &[u8]) -> anyhow::Result<Output> {
    fs::write(dir.join("milter.yaml"), CONFIG)?;
    let output = assert_cmd::Command::cargo_bin("straymail")?
        .current_dir(dir)
        .args(["scan-addresses", "--config", "milter.yaml"])
        .args(arguments)
        .write_stdin(input)
        // What waits for ever fails.
        .timeout(std::time::Duration::from_secs(60))
        .output()?;
    Ok(output)
}

/// Returns the lines of `--json`, each as `file:line address` or `file error`.
fn found(output: &Output) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in str::from_utf8(&output.stdout)?.lines() {
        let found: serde_json::Value = serde_json::from_str(line)?;
        let text = |key: &str| found.get(key).and_then(|text| text.as_str()).unwrap_or("-");
        lines.push(match found.get("error") {
            Some(_) => format!("{} {}", text("file"), text("error")),
            None => format!("{}:{} {}", text("file"), found["line"], text("address")),
        });
    }
    Ok(lines)
}

#[test]
fn every_stored_wrong_address_is_named_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("aliases", "boss: anna@gmail.com,\n  carl@army.ml\n");
    write("virtual", "@old.example @army.ml\n@army.ml @army.mil\n");
    write("transport", "army.mli smtp:[mx.army.mil]\n");
    write(
        "book.csv",
        "Anna,anna@gmai.com\nBob,bob@unrelated.example\nCarl,„carl@army.mil“\n",
    );
    let output = run(
        dir.path(),
        &["aliases", "virtual", "transport", "book.csv"],
        b"",
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\
WHERE        ADDRESS        LOOKS LIKE  SCORE  WHY
aliases:2    carl@army.ml   army.mil       84  the ending is .ml instead of .mil
virtual:1    @army.ml       army.mil       84  the ending is .ml instead of .mil
transport:1  army.mli       army.mil       96  the ending .mli does not exist; .mil does
book.csv:1   anna@gmai.com  gmail.com      84  the letter \"l\" is missing
4 of 9 addresses in 4 files look wrong
"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(dir.path(), &["--json", "--kind", "text", "book.csv"], b"").unwrap();
    assert_eq!(found(&output).unwrap(), ["book.csv:1 anna@gmai.com"]);
    let output = run(dir.path(), &["milter.yaml"], b"").unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn letters_that_look_like_others_are_found_whole_between_quotation_marks() {
    let dir = tempfile::tempdir().unwrap();
    let text = "„jürgen@gmаil.com“, anna@army.mіl—nein\n";
    let output = run(dir.path(), &["--json", "-"], text.as_bytes()).unwrap();
    assert_eq!(
        found(&output).unwrap(),
        ["-:1 jürgen@xn--gmil-63d.com", "-:1 anna@army.xn--ml-hoc"]
    );
}

#[test]
fn standard_input_and_files_are_unpacked_and_damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut packed = Vec::new();
    {
        let mut gzip = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        gzip.write_all(b"Anna,anna@gmai.com\n").unwrap();
        gzip.write_all("Bob,bob@gmail.com\n".repeat(5000).as_bytes())
            .unwrap();
    }
    let output = run(dir.path(), &["--json", "-"], &packed).unwrap();
    assert_eq!(found(&output).unwrap(), ["-:1 anna@gmai.com"]);
    let (cut, _) = packed.split_at(packed.len() - 20);
    fs::write(dir.path().join("book.csv.gz"), cut).unwrap();
    let output = run(dir.path(), &["--json", "book.csv.gz"], b"").unwrap();
    let found = found(&output).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], "book.csv.gz:1 anna@gmai.com");
    assert!(found[1].starts_with("book.csv.gz "), "{found:?}");
}

#[test]
fn what_is_not_read_is_told_in_json_and_by_the_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(
        home.join("book.xls"),
        b"\xd0\xcf\x11\xe0\0\0\0\0a@b.example",
    )
    .unwrap();
    fs::write(home.join("list"), " ".repeat(5 << 20)).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, home.join("planted"), fifo, mode, 0).unwrap();
    let output = run(dir.path(), &["--json", "home"], b"").unwrap();
    assert_eq!(
        found(&output).unwrap(),
        [
            "home/book.xls is binary; only text is searched (`postmap -s` prints a .db, a \
             spreadsheet can be saved as CSV)",
            "home/list line 1 is longer than 4 MiB and was passed over",
            "home/planted is a FIFO, not a file",
        ]
    );
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 3, "{told}");
}
