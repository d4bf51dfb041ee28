//! `straymail manual` and `straymail completions`: for whoever makes a package.
//!
//! Pages and completions come from the commands themselves and from the shipped configuration,
//! so a new command or key is in them by itself.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::config::{self, Key, KeyKind};
use crate::daemon;

use super::desk::printing;
use super::{Cli, EXIT_FINE, Failure};

/// Commands of an administrator and daemons (man-pages(7)).
const SECTION: &str = "8";
const CONFIG_PAGE: &str = "straymail.yaml.5";

/// Writes the manual pages into a directory
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Manual {
    /// Where to; made if it does not exist
    directory: PathBuf,
}

/// Prints the completions for a shell
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "bash looks for them in /usr/share/bash-completion/completions/straymail, \
                  zsh in _straymail of a directory of $fpath, \
                  fish in /usr/share/fish/vendor_completions.d/straymail.fish."
)]
pub(super) struct Completions {
    /// For this shell
    shell: clap_complete::Shell,
}

impl Manual {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        for (name, text) in pages()? {
            let path = self.directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(EXIT_FINE)
    }
}

impl Completions {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut printed = Vec::new();
        let mut command = without_hidden(&Cli::command());
        clap_complete::generate(self.shell, &mut command, "straymail", &mut printed);
        printing(|out| Ok(out.write_all(&printed)?))?;
        Ok(EXIT_FINE)
    }
}

/// Returns `command` without its hidden commands, which clap_complete would list.
fn without_hidden(command: &clap::Command) -> clap::Command {
    clap::Command::new("straymail")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(command.is_disable_help_subcommand_set())
        .args(command.get_arguments().cloned())
        .subcommands(shown(command).cloned())
}

/// Returns every page with the name of its file.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut root = Cli::command();
    root.build();
    let mut pages = Vec::new();
    let mut open = vec![root];
    while let Some(command) = open.pop() {
        let name = display_name(&command);
        let text = command_page(&command).context("cannot write a page")?;
        pages.push((format!("{name}.{SECTION}"), text));
        open.extend(shown(&command).cloned());
    }
    pages.push((CONFIG_PAGE.to_owned(), config_page()));
    // The name of the file itself leads there too.
    pages.push((
        "milter.yaml.5".to_owned(),
        format!(".so man5/{CONFIG_PAGE}\n"),
    ));
    pages.sort();
    Ok(pages)
}

fn display_name(command: &clap::Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or(command.get_name()).to_owned()
}

fn shown(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

fn command_page(command: &clap::Command) -> io::Result<String> {
    let name = display_name(command);
    let man = Man::new(command.clone());
    let mut page = Page::new(&name, SECTION);
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    page.heading("NAME");
    page.text(&format!("{name} - {about}"));
    page.heading("SYNOPSIS");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let is_word = |word: &&str| !word.starts_with(['[', '<']);
    let words: Vec<&str> = usage.split(' ').take_while(is_word).collect();
    let rest: Vec<&str> = usage.split(' ').skip(words.len()).collect();
    page.roff
        .text([bold(words.join(" ")), roman(format!(" {}", rest.join(" ")))]);
    page.heading("DESCRIPTION");
    let long = command.get_long_about().map(ToString::to_string);
    for paragraph in long.unwrap_or(about).split("\n\n") {
        page.paragraph();
        page.text(&sentence(paragraph, &[]));
    }
    if name == "straymail" {
        page.daemon_description();
    }
    if shown(command).next().is_some() {
        page.heading("COMMANDS");
        for sub in shown(command) {
            let about = sub.get_about().map(ToString::to_string);
            page.entry([bold(display_name(sub)), roman(format!("({SECTION})"))]);
            page.text(&sentence(&about.unwrap_or_default(), &[]));
        }
    }
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        page.append(|out| man.render_options_section(out))?;
    }
    let after = (command.get_after_long_help()).or(command.get_after_help());
    if let Some(after) = after {
        page.notes(&after.to_string());
    }
    if name == "straymail" {
        page.daemon_surroundings();
    }
    page.see_also(command);
    Ok(page.finish())
}

/// The page of `milter.yaml`.
fn config_page() -> String {
    let mut page = Page::new("straymail.yaml", "5");
    page.heading("NAME");
    page.text("straymail.yaml, milter.yaml - configuration of straymail");
    page.heading("SYNOPSIS");
    page.roff.text([bold(config::DEFAULT_PATH)]);
    page.heading("DESCRIPTION");
    page.text(
        "One YAML file configures all of straymail. A key left out, or left empty, has the default \
         shown here; so an empty file is a working configuration that trusts nothing yet. \
         Unknown keys are mistakes. `straymail check-config` tells every mistake at once.",
    );
    page.paragraph();
    page.text(&format!(
        "`systemctl reload straymail` takes a corrected file; one with mistakes changes nothing. \
         Read only at the start are {}.",
        list(daemon::AT_START)
    ));
    page.heading("VALUES");
    for (what, how) in VALUES {
        page.entry([italic(*what)]);
        page.text(how);
    }
    let keys = config::keys();
    for key in keys.iter().filter(|key| !key.path.contains('.')) {
        page.heading(&key.path.to_uppercase());
        page.text(&sentence(&key.about, &[]));
        if key.kind == KeyKind::Setting {
            page.key(key);
        }
        let below = format!("{}.", key.path);
        let item = format!("{}[].", key.path);
        for key in (keys.iter())
            .filter(|other| other.path.starts_with(&below) || other.path.starts_with(&item))
        {
            page.key(key);
        }
    }
    page.heading("EXAMPLE");
    page.text("A relay that watches for a week before it stops anything:");
    page.verbatim(EXAMPLE);
    page.heading("FILES");
    page.entry([italic("/usr/share/doc/straymail/examples/milter.yaml")]);
    page.text("The shipped file: every key at its default, with comments.");
    page.entry([italic("/usr/share/doc/straymail/examples/notice/")]);
    page.text(
        "The built-in texts of notices, to begin your own with: copied into the directory of \
         notice.templates without the language in their names, `notice.en.txt` as `notice.txt`. \
         There notice.txt and notice.html are required. The variables are in \
         /usr/share/doc/straymail/docs/quarantine.md.",
    );
    page.heading("SEE ALSO");
    page.references(&[
        "straymail(8)",
        "straymail-check-config(8)",
        "straymail-check(8)",
    ]);
    page.finish()
}

const EXAMPLE: &str = "\
listeners:
  - socket: unix:/var/spool/postfix/straymail/milter.sock
    group: postfix
trusted:
  own: [example.org]
  domains: [partner.example]
  suffixes: [.mil]
gate:
  networks: [127.0.0.0/8, \"::1\", 192.0.2.0/24]
policy:
  mode: observe
log:
  format: journal";

const VALUES: &[(&str, &str)] = &[
    (
        "duration",
        "A number with s, m, h or d, and any sum of them: 30s, 1h30m, 14d.",
    ),
    (
        "size",
        "A number with B, kB, MB, GB (thousands) or KiB, MiB, GiB, TiB (1024s): 512MiB.",
    ),
    ("list", "[a, b, c], or one item a line, each behind a dash."),
    (
        "socket",
        "unix:/path, inet:127.0.0.1:8891, or systemd:1 for the first socket that systemd passes on. \
         Sendmail's local:/path and inet:8891@127.0.0.1 are read too.",
    ),
    (
        "network",
        "An address or a network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32. Quote \"::1\".",
    ),
    (
        "action",
        "accept: let it pass. tag: let it pass with a header field that says so. hold: this recipient \
         waits in the quarantine, all others get the mail. hold-message: the whole message waits in \
         the queue of the MTA. reject: the sender reads the suggestion at once.",
    ),
];

/// A page being written.
struct Page {
    roff: Roff,
    /// What is finished, without the preamble.
    done: String,
}

impl Page {
    fn new(name: &str, section: &str) -> Page {
        let version = env!("CARGO_PKG_VERSION");
        // Without a date, so that the same source gives the same page.
        let title = format!(".TH \"{name}\" \"{section}\" \"\" \"straymail {version}\"\n");
        Page {
            roff: Roff::new(),
            done: title,
        }
    }

    /// Moves what was written so far into the finished text.
    fn settle(&mut self) {
        let part = std::mem::take(&mut self.roff).to_roff();
        self.done.push_str(&part);
    }

    /// Appends what `write` writes, without its preamble.
    fn append(
        &mut self,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        self.settle();
        let mut written = Vec::new();
        write(&mut written)?;
        let text = String::from_utf8_lossy(&written);
        let preamble = Roff::new().render();
        self.done
            .push_str(text.strip_prefix(&preamble).unwrap_or(&text));
        Ok(())
    }

    fn finish(mut self) -> String {
        self.settle();
        // The preamble defines how an apostrophe is written.
        let mut page = Roff::new().render();
        for line in self.done.lines() {
            page.push_str(&with_bold_code(line));
            page.push('\n');
        }
        page
    }

    fn heading(&mut self, text: &str) {
        self.roff.control("SH", [text]);
    }

    fn paragraph(&mut self) {
        self.roff.control("PP", []);
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.roff.text([roman(text)]);
        }
    }

    fn entry(&mut self, head: impl Into<Vec<Inline>>) {
        self.roff.control("TP", []);
        self.roff.text(head);
    }

    fn verbatim(&mut self, text: &str) {
        self.roff.control("PP", []);
        self.roff.control("nf", []);
        self.roff.control("RS", ["4"]);
        for line in text.lines() {
            self.roff.text([roman(line)]);
        }
        self.roff.control("RE", []);
        self.roff.control("fi", []);
    }

    fn key(&mut self, key: &Key) {
        let mut head = vec![bold(&key.path)];
        match (key.kind, key.value.as_str()) {
            (KeyKind::Setting, "") => head.push(roman(" (default: nothing)")),
            (KeyKind::Example | KeyKind::Section, "") => {}
            (KeyKind::Example, value) => head.push(roman(format!(" (example: {value})"))),
            (KeyKind::Setting | KeyKind::Section, value) => {
                head.push(roman(format!(" (default: {value})")));
            }
        }
        self.entry(head);
        let allowed = key.allowed.as_deref().unwrap_or_default();
        let words: Vec<&str> = allowed.split([' ', ',']).collect();
        // A section of the top has its paragraph above its keys.
        if key.path.contains('.') {
            self.text(&sentence(&key.about, &words));
        }
        if key.reason != allowed {
            self.text(&sentence(&key.reason, &words));
        }
        if !allowed.is_empty() {
            self.text(&format!("Takes {allowed}."));
        }
    }

    /// The text behind the help of a command: exit status, examples, the rest.
    fn notes(&mut self, text: &str) {
        for paragraph in text.split("\n\n") {
            let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
            let heading = match first.split_once(':') {
                Some((name @ ("Exit status" | "Example" | "Examples"), rest)) => {
                    Some((name.to_uppercase(), rest.trim()))
                }
                _ => None,
            };
            let first = match heading {
                Some((name, first)) => {
                    self.heading(&name);
                    first
                }
                None => {
                    self.heading("NOTES");
                    first
                }
            };
            let indented = |line: &str| line.starts_with("  ");
            match rest.lines().any(indented) || indented(first) {
                true => {
                    self.text(first);
                    self.verbatim(rest);
                }
                false => self.text(&paragraph_text(first, rest)),
            }
        }
    }

    fn daemon_description(&mut self) {
        self.paragraph();
        self.text(
            "straymail is a milter for Postfix and Sendmail. For every recipient of outgoing mail it asks \
             whether the domain looks like one this site trusts, without being it. If so, the sender is \
             told at once, or just that recipient is held while everybody else gets the mail.",
        );
        self.paragraph();
        self.text(
            "`straymail milter` is the daemon that mail depends on; `straymail worker` asks senders about \
             held mail and carries out what they decide; `straymail run` is both in one process. All other \
             commands are an admin's.",
        );
    }

    fn daemon_surroundings(&mut self) {
        self.heading("SIGNALS");
        self.entry([bold("SIGHUP")]);
        self.text("Reads the configuration again. A file with mistakes changes nothing and is logged as a whole.");
        self.entry([bold("SIGTERM"), roman(", "), bold("SIGINT")]);
        self.text(
            "Stops: no new connections, and the open ones may finish. A second one cuts them off.",
        );
        self.heading("ENVIRONMENT");
        self.entry([bold("STRAYMAIL_SANDBOX")]);
        self.text(
            "off: the daemons do not shut themselves in with Landlock. Otherwise, where the kernel has it, they \
             read /etc, /usr and the directories of what the configuration names at the start, write below \
             quarantine.directory, keep their sockets, and connect to quarantine.release_to.",
        );
        self.heading("FILES");
        for (path, what) in [
            (
                config::DEFAULT_PATH,
                "The configuration, straymail.yaml(5).",
            ),
            (
                "/var/lib/straymail",
                "The quarantine: the index and the held messages.",
            ),
            (
                "/run/straymail/milter.sock",
                "Where the MTA reaches straymail, by default.",
            ),
            (
                "/var/spool/postfix/straymail/milter.sock",
                "The same for an smtpd in a chroot, as on Debian.",
            ),
        ] {
            self.entry([italic(path)]);
            self.text(what);
        }
    }

    fn see_also(&mut self, command: &clap::Command) {
        self.heading("SEE ALSO");
        let name = display_name(command);
        let mut pages: Vec<String> = Vec::new();
        if let Some((above, _)) = name.rsplit_once('-')
            && above != "straymail"
            && command.get_name() != above
        {
            let above = name.strip_suffix(&format!("-{}", command.get_name()));
            pages.extend(
                above
                    .filter(|a| *a != "straymail")
                    .map(|a| format!("{a}({SECTION})")),
            );
        }
        if name != "straymail" {
            pages.push(format!("straymail({SECTION})"));
        }
        pages.push("straymail.yaml(5)".to_owned());
        if name == "straymail" {
            pages.extend(["postconf(5)".to_owned(), "systemctl(1)".to_owned()]);
        }
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        self.references(&pages);
    }

    fn references(&mut self, pages: &[&str]) {
        let mut line = Vec::new();
        for (i, page) in pages.iter().enumerate() {
            if i > 0 {
                line.push(roman(", "));
            }
            let (name, section) = page.split_once('(').unwrap_or((page, ""));
            line.push(bold(name));
            line.push(roman(format!("({section}")));
        }
        self.roff.text(line);
    }
}

fn paragraph_text(first: &str, rest: &str) -> String {
    match rest {
        "" => first.to_owned(),
        rest => format!("{first}\n{rest}"),
    }
}

/// Returns `text` with a capital in front and a full stop behind. One of `words`, which can be
/// typed, keeps its spelling.
fn sentence(text: &str, words: &[&str]) -> String {
    let word: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    let typed = words.contains(&word.as_str()) || text.starts_with("none:");
    let url = text.starts_with("http");
    let mut chars = text.chars();
    let mut sentence: String = match chars.next() {
        Some(first) if !typed && !url => first.to_uppercase().chain(chars).collect(),
        _ => text.to_owned(),
    };
    if !sentence.is_empty() && !sentence.ends_with(['.', '?', '!', ':']) {
        sentence.push('.');
    }
    sentence
}

/// Returns a line of roff with `code` in bold.
fn with_bold_code(line: &str) -> String {
    if !line.matches('`').count().is_multiple_of(2) {
        return line.to_owned();
    }
    let mut bold = false;
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if c != '`' {
            shown.push(c);
            continue;
        }
        shown.push_str(if bold { r"\fR" } else { r"\fB" });
        bold = !bold;
    }
    shown
}

fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}
