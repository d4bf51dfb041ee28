//! `straymail scan-addresses` as a program.

use std::fs;

#[test]
fn every_stored_wrong_address_is_named_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "milter.yaml",
        "trusted:\n  domains: [army.mil, gmail.com]\n  suffixes: [.mil]\n",
    );
    write("aliases", "boss: anna@gmail.com,\n  carl@army.ml\n");
    write("transport", "army.mli smtp:[mx.army.mil]\n");
    write(
        "book.csv",
        "Anna,anna@gmai.com\nBob,bob@unrelated.example\n",
    );
    let run = |arguments: &[&str]| {
        assert_cmd::Command::cargo_bin("straymail")
            .unwrap()
            .current_dir(dir.path())
            .args(["scan-addresses", "--config", "milter.yaml"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = run(&["aliases", "transport", "book.csv"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\
WHERE        ADDRESS        LOOKS LIKE  SCORE  WHY
aliases:2    carl@army.ml   army.mil       84  the ending is .ml instead of .mil
transport:1  army.mli       army.mil       96  the ending .mli does not exist; .mil does
book.csv:1   anna@gmai.com  gmail.com      84  the letter \"l\" is missing
3 of 6 addresses in 3 files look wrong
"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(&["--json", "--kind", "text", "book.csv"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["address"], "anna@gmai.com");
    assert_eq!(found["line"], 1);
    assert_eq!(run(&["milter.yaml"]).status.code(), Some(0));
}
