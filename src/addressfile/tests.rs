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
            "virtual:2 carl@army.ml",
            "virtual:3 @new.example.com",
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
        one(
            ".forward",
            "\\anna, anna@gmai.com\n\"|vacation anna\"\n# a@b.example\n #c@d.example\n"
        ),
        [".forward:1 anna@gmai.com", ".forward:4 #c@d.example"]
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
fn conditions_of_expressions_are_no_addresses_and_negated_ones_have_a_result() {
    assert_eq!(
        one(
            "rewrite.regexp",
            "if !/carl@army.ml/\n!/a b@army\\.ml/ x@y.example\n/^(.+)@old$/ ${1}@army.ml\nendif\n"
        ),
        [
            "rewrite.regexp:2 x@y.example",
            "rewrite.regexp:3 ${1}@army.ml"
        ]
    );
    assert_eq!(
        one(
            "transport.pcre",
            "if /@army\\.ml/\n/^a@/ smtp:[mx.army.mil]\nif /b@army.ml/\n/^b@/ smtp:b.example\nendif\nendif\n"
        ),
        ["transport.pcre:2 mx.army.mil", "transport.pcre:4 b.example"]
    );
}

#[test]
fn every_address_of_a_text_counts_also_behind_a_number_sign() {
    assert_eq!(
        one(
            "book.txt",
            "\u{feff}#1 anna@army.ml\r# bob@army.ml\rcarl@army.ml"
        ),
        [
            "book.txt:1 anna@army.ml",
            "book.txt:2 bob@army.ml",
            "book.txt:3 carl@army.ml"
        ]
    );
    assert_eq!(
        one(
            "virtual-team",
            "# carl@army.ml\ncarl@army.ml\nDora <dora@army.ml>\n"
        ),
        [
            "virtual-team:1 carl@army.ml",
            "virtual-team:2 carl@army.ml",
            "virtual-team:3 dora@army.ml"
        ]
    );
}

#[test]
fn vcards_of_every_version_are_read_whole() {
    let text = "\u{feff}BEGIN:VCARD\r\nEMAIL;ENCODING=QUOTED-PRINTABLE:ber=\r\ntha=40army.=\r\n ml\r\nKIND:group\r\nMEMBER:mailto:f@army\r\n .ml\r\nNOTE;QUOTED-PRINTABLE:x=\r\nx@y.example=\r\n\r\nEND:VCARD\r\n";
    assert_eq!(
        one("contacts", text),
        ["contacts:2 bertha@army.ml", "contacts:6 f@army.ml"]
    );
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(
        one("contacts", utf16),
        ["contacts:2 bertha@army.ml", "contacts:6 f@army.ml"]
    );
}

#[test]
fn comments_and_binary_values_of_ldif_are_not_searched() {
    assert_eq!(
        one(
            "dump",
            "# extended LDIF\n#\n# filter: (mail=q@\n army.ml)\n\ndn: uid=a,dc=army,dc=ml\n# old: r@army.ml\nphoto:: /2FAYi5leGFtcGxl\nmail: anna@army.ml\n"
        ),
        ["dump:9 anna@army.ml"]
    );
}

#[test]
fn includes_deeper_than_the_limit_are_told() {
    let mut files: Vec<(String, String)> = (0..12)
        .map(|depth| {
            (
                format!("m{depth}"),
                format!("u{depth}@b.example\n\":INCLUDE:DIR/m{}\"\n", depth + 1),
            )
        })
        .collect();
    files.push(("aliases".to_owned(), "a: :Include:DIR/m1\n".to_owned()));
    let files: Vec<(&str, &[u8])> = (files.iter())
        .map(|(name, text)| (name.as_str(), text.as_bytes()))
        .collect();
    let (found, tally) = stored(&files, &["aliases"]);
    assert_eq!(found.len(), 10);
    assert_eq!(found.last().unwrap(), "m10:1 u10@b.example");
    let (path, why) = &tally.failed[0];
    assert!(path.ends_with("m11"), "{path:?}");
    assert_eq!(why, "is included more than 10 deep; name it");
    // However deep the directory lies in which the file is.
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("1/2/3/4/5/6/7/8/9/10/11/12");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("aliases"), "a: :include:members\n").unwrap();
    std::fs::write(deep.join("members"), "a@b.example\n").unwrap();
    let mut found = 0;
    let tally = read(&[dir.path().to_owned()], None, |_| found += 1);
    assert_eq!((found, tally.failed), (1, vec![]));
}

#[test]
fn what_is_no_file_is_told_and_never_waited_for() {
    // A shell may have named all of them: `/home/*/.forward`.
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let fifo = |name: &str| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path(name),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
    };
    fifo("fifo");
    std::os::unix::fs::symlink("fifo", path("link")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    std::fs::create_dir(path("etc")).unwrap();
    fifo("etc/planted");
    let aliases = format!(
        "a: :include:{0}/planted, :include:/dev/zero, :include:{0}\n",
        path("etc").display()
    );
    std::fs::write(path("etc/aliases"), aliases).unwrap();
    let told = |named: &[PathBuf]| -> Vec<String> {
        let tally = read(named, None, |_| {});
        (tally.failed.iter())
            .map(|(path, why)| format!("{} {why}", path.file_name().unwrap().display()))
            .collect()
    };
    assert_eq!(
        told(&[path("etc/aliases")]),
        [
            "planted is a FIFO, not a file",
            "zero is a device, not a file",
            "etc is a directory, not a file"
        ]
    );
    assert_eq!(
        told(&["fifo", "link", "zero", "socket"].map(path)),
        [
            "fifo is a FIFO, not a file",
            "zero is a device, not a file",
            "socket is a socket, not a file",
        ]
    );
    assert_eq!(
        told(&[dir.path().to_owned()]),
        [
            "fifo is a FIFO, not a file",
            "socket is a socket, not a file",
            "zero is a device, not a file",
            "planted is a FIFO, not a file",
        ]
    );
}

#[test]
fn a_pipe_that_the_shell_has_opened_is_read() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"a@b.example\n").unwrap();
    drop(writer);
    let path = PathBuf::from(format!(
        "/dev/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&reader)
    ));
    let mut found = 0;
    let tally = read(&[path], None, |_| found += 1);
    assert_eq!((found, tally.failed), (1, vec![]));
}

#[test]
fn links_to_files_are_followed_once_and_those_to_directories_told() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap()
    };
    std::fs::write(outside.path().join("list"), "a@b.example\n").unwrap();
    link(&outside.path().join("list"), "list");
    link(&outside.path().join("list"), "again");
    link(Path::new("loop"), "loop");
    link(Path::new("."), "self");
    link(outside.path(), "outside");
    let mut found = Vec::new();
    let tally = read(&[dir.path().to_owned()], None, |stored| {
        found.push(stored.path.clone())
    });
    assert_eq!(found, [dir.path().join("again")]);
    let told: Vec<_> = tally.failed.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(told, [dir.path().join("loop"), dir.path().join("outside")]);
    assert_eq!(
        tally.failed[1].1,
        "is a link to a directory, which is not followed; name it"
    );
}

#[test]
fn more_files_than_are_read_are_told_once() {
    let includes: String = (0..MAX_FILES + 5)
        .map(|n| format!(":include:DIR/{n},"))
        .collect();
    let (_, tally) = stored(&[(".forward", includes.as_bytes())], &[".forward"]);
    assert_eq!(tally.failed.len(), MAX_FILES);
    let full: Vec<_> = (tally.failed.iter())
        .filter(|(_, why)| why.starts_with("more than"))
        .collect();
    assert_eq!(full.len(), 1);
}

#[test]
fn a_line_too_long_is_told() {
    let text = format!("{}a@b.example\nc@d.example\n", " ".repeat(5 << 20));
    let (found, tally) = stored(&[("list", text.as_bytes())], &["list"]);
    assert_eq!(found, ["list:2 c@d.example"]);
    assert_eq!(
        tally.failed[0].1,
        "line 1 is longer than 4 MiB and was passed over"
    );
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
        drop(kinds[kind].domains(&value));
        include::paths(&value).for_each(drop);
    }
}
