//! Every format with what is special about it.

use super::*;

/// Writes files into a directory and returns `name:line address` for what is read.
fn stored(files: &[(&str, &[u8])], named: &[&str]) -> (Vec<String>, Tally) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let text = String::from_utf8(text.to_vec()).map(|text| {
            text.replace("DIR", &dir.path().display().to_string())
                .into_bytes()
        });
        std::fs::write(
            dir.path().join(name),
            text.unwrap_or_else(|error| error.into_bytes()),
        )
        .unwrap();
    }
    let paths: Vec<PathBuf> = named.iter().map(|name| dir.path().join(name)).collect();
    let mut found = Vec::new();
    let tally = read(&paths, None, |stored| {
        let name = stored
            .path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let address = String::from_utf8_lossy(&stored.address).into_owned();
        found.push(format!("{name}:{} {address}", stored.line));
    });
    (found, tally)
}

fn one(name: &str, text: impl AsRef<[u8]>) -> Vec<String> {
    stored(&[(name, text.as_ref())], &[name]).0
}

#[test]
fn aliases_have_continuations_comments_commands_and_includes() {
    let aliases = b"# a@comment.example\nboss: anna@example.org,\n\tbob@gmai.com\nlist: :include:DIR/members\n\"odd: name\": \"|/bin/send x@y.example\", \\root\nroot: /dev/null\n";
    let members = b"# b@comment.example\nCarl <carl@army.ml>\n\ndora@navy.mil, emil@navy.ml\n";
    let (found, tally) = stored(&[("aliases", aliases), ("members", members)], &["aliases"]);
    assert_eq!(
        found,
        [
            "aliases:2 anna@example.org",
            "aliases:3 bob@gmai.com",
            "aliases:5 x@y.example",
            "members:2 carl@army.ml",
            "members:4 dora@navy.mil",
            "members:4 emil@navy.ml",
        ]
    );
    assert_eq!((tally.files, tally.failed), (2, vec![]));
}

#[test]
fn includes_in_a_circle_come_to_an_end_and_missing_ones_are_told() {
    let (found, tally) = stored(
        &[
            ("aliases", b"a: :include:DIR/one, :include:DIR/none\n"),
            ("one", b":include:DIR/one\nx@y.example\n"),
        ],
        &["aliases"],
    );
    assert_eq!(found, ["one:2 x@y.example"]);
    assert_eq!(tally.failed.len(), 1);
}

#[test]
fn maps_tell_their_second_column_and_transports_their_domains() {
    assert_eq!(
        one(
            "virtual",
            "info@example.org  anna@gmai.com, bob@example.org\n  carl@army.ml\n@old.example.org @new.example.com\n"
        ),
        [
            "virtual:1 anna@gmai.com",
            "virtual:1 bob@example.org",
            "virtual:2 carl@army.ml"
        ]
    );
    assert_eq!(
        one("canonical.pcre", "/^(.*)@a\\/b$/i ${1}@army.ml\n"),
        ["canonical.pcre:1 ${1}@army.ml"]
    );
    assert_eq!(
        one(
            "transport",
            "# x\narmy.ml  smtp:[mx.army.mil]:25\n.navy.mil relay:[192.0.2.1]\n"
        ),
        [
            "transport:2 army.ml",
            "transport:2 mx.army.mil",
            "transport:3 navy.mil"
        ]
    );
}

#[test]
fn forwards_and_lists_have_addresses_in_every_line() {
    assert_eq!(
        one(".forward", "\\anna, anna@gmai.com\n\"|vacation anna\"\n"),
        [".forward:1 anna@gmai.com"]
    );
    assert_eq!(
        one("members", "a@b.example\r\nB <\"b c\"@d.example>\r\n"),
        ["members:1 a@b.example", "members:2 \"b c\"@d.example"]
    );
}

#[test]
fn address_books_are_unfolded_and_decoded() {
    assert_eq!(
        one(
            "book.vcf",
            "BEGIN:VCARD\r\nNOTE:x@note.example\r\nitem1.EMAIL;TYPE=work:anna@gma\r\n i.com\r\nEND:VCARD\r\n"
        ),
        ["book.vcf:3 anna@gmai.com"]
    );
    assert_eq!(
        one(
            "book.ldif",
            "dn: mail=a@dn.example\nmail: anna@army\n .ml\nmail:: Ym9iQGdtYWkuY29t\n"
        ),
        ["book.ldif:2 anna@army.ml", "book.ldif:4 bob@gmai.com"]
    );
    assert_eq!(
        one(
            "book.csv",
            "Name;E-mail\n\"Anna\";\"anna@gmai.com\"\nBob;mailto:bob@army.ml;x\n"
        ),
        ["book.csv:2 anna@gmai.com", "book.csv:3 bob@army.ml"]
    );
    let utf16: Vec<u8> = "\u{feff}Name\tMail\r\n\u{1f600}\tanna@gmai.com\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(one("export.csv", utf16), ["export.csv:2 anna@gmai.com"]);
}

#[test]
fn a_binary_map_is_told_not_searched() {
    let (found, tally) = stored(
        &[("aliases.db", b"\x00\x05\x16\x00a@b.example")],
        &["aliases.db"],
    );
    assert_eq!(found, Vec::<String>::new());
    assert!(tally.failed[0].1.starts_with("is binary"), "{tally:?}");
}

#[test]
fn a_directory_is_read_with_all_that_lies_in_it() {
    let (found, _) = stored(
        &[("b.csv", b"b@b.example"), ("a.csv", b"a@a.example")],
        &["."],
    );
    assert_eq!(found, ["a.csv:1 a@a.example", "b.csv:1 b@b.example"]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), kind in 0..7_usize) {
        let kinds = [Kind::Aliases, Kind::Map, Kind::Transport, Kind::Forward, Kind::Vcard, Kind::Ldif, Kind::Text];
        let value = kinds[kind].value(&bytes).into_owned();
        token::addresses(&value).for_each(drop);
        kinds[kind].domains(&value).for_each(drop);
    }
}
