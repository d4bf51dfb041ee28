//! One milter of a list of Postfix, as it is written: `inet:localhost:11332`, or in braces with
//! options of its own.

use std::path::{Path, PathBuf};

use super::place::{Hosts, Place, real};

/// One milter of a list such as `smtpd_milters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Milter {
    /// As it is written, for a list of our own.
    pub(super) spec: String,
    /// Where a service that is given it connects to.
    pub(super) place: Place,
    /// Those of `{ …, default_action=… }`.
    pub(super) options: Vec<(String, String)>,
}

impl Milter {
    /// Reads one word of a list.
    pub(super) fn read(spec: &str, queue: &Path, chroot: bool, hosts: &Hosts) -> Milter {
        let parts = parts(spec);
        let options = parts.iter().skip(1).filter_map(|part| option(part));
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let place = parts.first().map(String::as_str).unwrap_or_default();
        Milter {
            spec: spec.to_owned(),
            place: place_of(place, queue, chroot, hosts),
            options: options.collect(),
        }
    }

    /// Returns its address as it is written, `inet:localhost:8891`.
    pub(super) fn address(&self) -> String {
        parts(&self.spec).into_iter().next().unwrap_or_default()
    }

    /// Returns the value of one of its own options.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter();
        let found = options.find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the entry with other values of options that it has.
    pub(super) fn with(&self, changes: &[(&str, String)]) -> String {
        let parts = inside(&self.spec).map_or_else(Vec::new, words);
        let parts: Vec<String> = (parts.into_iter())
            .map(|part| {
                let own = option(&part).map(|(name, _)| name);
                let mut changes = changes.iter();
                match changes.find(|(name, _)| own == Some(name)) {
                    Some((name, value)) => format!("{name}={value}"),
                    None => part,
                }
            })
            .collect();
        format!("{{ {} }}", parts.join(", "))
    }
}

/// Returns the words of a list; what stands in braces is one word.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut depth = 0_u32;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == ',' || c.is_whitespace()) {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Returns a list with commas for the white space in it, in braces too.
pub(super) fn without_spaces(text: &str) -> String {
    let word = |word: String| match inside(&word) {
        // MILTER_README: only `{ name = value }` has space around the sign.
        Some(inner) => {
            let inner = without_spaces(inner);
            format!("{{{}}}", inner.replace(",=", "=").replace("=,", "="))
        }
        None => word,
    };
    let words: Vec<String> = words(text).into_iter().map(word).collect();
    words.join(",")
}

/// Returns what stands in the braces around `text`.
fn inside(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}').map(str::trim)
}

/// Reads `name=value` and `{ name = value }`.
fn option(part: &str) -> Option<(&str, &str)> {
    let (name, value) = inside(part).unwrap_or(part).split_once('=')?;
    Some((name.trim(), value.trim()))
}

/// Returns the address of a milter, and its own options as they are written.
fn parts(spec: &str) -> Vec<String> {
    inside(spec).map_or_else(|| vec![spec.to_owned()], words)
}

fn place_of(text: &str, queue: &Path, chroot: bool, hosts: &Hosts) -> Place {
    let (kind, rest) = text.split_once(':').unwrap_or(("", text));
    match kind {
        "unix" | "local" => {
            let inside = queue.join(rest.trim_start_matches('/'));
            let outside = match rest.starts_with('/') {
                true => PathBuf::from(rest),
                false => inside.clone(),
            };
            let (inside, outside) = (real(&inside), real(&outside));
            let (path, meant) = match chroot {
                true => (inside, outside),
                false => (outside, inside),
            };
            let meant = Some(meant).filter(|meant| *meant != path);
            Place::Unix { path, meant }
        }
        "inet" | "inet6" => hosts.inet(rest).unwrap_or(Place::Unknown),
        _ => Place::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_milter_are_read_and_kept() {
        for (spec, action, mended, compact) in [
            (
                "{ unix:s/m.sock command_timeout=60s default_action=accept }",
                Some("accept"),
                "{ unix:s/m.sock, command_timeout=60s, default_action=tempfail }",
                "{unix:s/m.sock,command_timeout=60s,default_action=accept}",
            ),
            (
                "{ unix:s/m.sock, { default_action = accept }, protocol=6 }",
                Some("accept"),
                "{ unix:s/m.sock, default_action=tempfail, protocol=6 }",
                "{unix:s/m.sock,{default_action=accept},protocol=6}",
            ),
            (
                "{ unix:s/m.sock }",
                None,
                "{ unix:s/m.sock }",
                "{unix:s/m.sock}",
            ),
        ] {
            let milter = Milter::read(spec, Path::new("/q"), false, &Hosts::default());
            assert_eq!(milter.option("default_action"), action, "{spec}");
            assert_eq!(
                milter.with(&[("default_action", "tempfail".to_owned())]),
                mended
            );
            assert_eq!(without_spaces(spec), compact);
        }
        assert_eq!(
            without_spaces("{ x, { a =b } { c= d } }"),
            "{x,{a=b},{c=d}}"
        );
        assert_eq!(without_spaces("inet:a:1, unix:b"), "inet:a:1,unix:b");
    }

    #[test]
    fn a_chroot_begins_at_the_queue_directory_whatever_the_path_looks_like() {
        let at = |text, chroot| place_of(text, Path::new("/nowhere/q"), chroot, &Hosts::default());
        let unix = |path: &str, meant: Option<&str>| Place::Unix {
            path: path.into(),
            meant: meant.map(PathBuf::from),
        };
        assert_eq!(at("unix:s/m", false), unix("/nowhere/q/s/m", None));
        assert_eq!(at("unix:s/m", true), unix("/nowhere/q/s/m", None));
        assert_eq!(at("unix:/s/m", false), unix("/s/m", Some("/nowhere/q/s/m")));
        assert_eq!(at("unix:/s/m", true), unix("/nowhere/q/s/m", Some("/s/m")));
    }

    #[test]
    fn braces_are_one_word_with_options() {
        let list = "unix:a.sock, { inet:localhost:11332, default_action=accept }\tinet:[::1]:8891";
        let read = words(list);
        assert_eq!(read.len(), 3, "{read:?}");
        let read_one = |spec: &str| Milter::read(spec, Path::new("/q"), false, &Hosts::default());
        let second = read_one(&read[1]);
        assert_eq!(second.option("default_action"), Some("accept"));
        let inet = |text| Hosts::default().inet(text).unwrap();
        assert_eq!(second.place, inet("localhost:11332"));
        assert_eq!(read_one(&read[2]).place, inet("[::1]:8891"));
        assert_eq!(words("{ never ends, unix:x"), ["{ never ends, unix:x"]);
    }
}
