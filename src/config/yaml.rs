//! YAML as a tree that remembers where everything stands.
//!
//! Scalars stay text: what `no`, `0660` or `::1` mean is decided by the key they stand at, so
//! the traps of YAML 1.1 do not arise. Aliases, anchors and tags are refused, so a small file
//! cannot grow into a large tree.

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// A file above this size is refused; 10,000 policy rules need about 1 MiB.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Our own schema nests four deep.
const MAX_DEPTH: usize = 16;

/// A place in the file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    /// In characters.
    pub(super) column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other single value, as text.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written; a key may occur twice.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

/// Why a text is no YAML for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) message: String,
}

/// A collection that is not closed yet.
enum Open {
    List(Position, Vec<Node>),
    /// The key whose value is still to come.
    Map(Position, Vec<Entry>, Option<(String, Position)>),
}

/// Returns the tree of `text`; an empty text is [`Value::Null`].
///
/// # Errors
/// The first place that is not YAML, or that uses more of YAML than a configuration needs.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let start = Position { line: 1, column: 1 };
    let mut root = None;
    let mut documents = 0;
    let mut open: Vec<Open> = Vec::new();
    let options = granit_parser::options! {
        emit_comments: false,
        // An alias is refused below, defined or not.
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| SyntaxError {
            at: Position {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            },
            message: syntax_message(&error.info().to_string()),
        })?;
        let at = position(&span);
        let refuse = |message: &str| {
            Err(SyntaxError {
                at,
                message: message.to_owned(),
            })
        };
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return refuse("a second document begins here; write one only, without `---`");
                }
                continue;
            }
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return refuse("anchors (&) and tags (!) are not used; write the value itself");
                }
                let null = matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if style == ScalarStyle::Plain && null {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                Node { at, value }
            }
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                return refuse("anchors (&) and tags (!) are not used; write the value itself");
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(at, Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(at, Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(at, items)) => Node {
                    at,
                    value: Value::List(items),
                },
                Some(Open::Map(at, entries, _)) => Node {
                    at,
                    value: Value::Map(entries),
                },
                None => return refuse("not valid YAML: nothing is open here"),
            },
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return refuse(
                    "aliases (*) are not used; write the value itself, in quotes if it begins with *",
                );
            }
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, pending)) => match (pending.take(), node.value) {
                (Some((key, at_key)), value) => entries.push(Entry {
                    key,
                    at: at_key,
                    value: Node { at, value },
                }),
                (None, Value::Scalar(key)) => *pending = Some((key, at)),
                (None, _) => return refuse("a key must be a plain word"),
            },
        }
    }
    Ok(root.unwrap_or(Node {
        at: start,
        value: Value::Null,
    }))
}

/// Returns the parser's words, and what to do where they alone do not help.
fn syntax_message(said: &str) -> String {
    let hint = if said.contains("mapping values are not allowed") {
        "; check the indentation, and put a value that holds a colon in quotes"
    } else if said.contains("tabs") {
        "; indent with spaces"
    } else {
        ""
    };
    format!("not valid YAML: {said}{hint}")
}

fn position(span: &Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> SyntaxError {
        parse(text).expect_err("refused")
    }

    #[test]
    fn scalars_stay_text_and_remember_their_place() {
        let node = parse("a: no\nb: [0660, ::1, \"null\", ~]\n").unwrap();
        let Value::Map(entries) = node.value else {
            panic!("a map")
        };
        assert!(matches!(&entries[0].value.value, Value::Scalar(t) if t == "no"));
        assert_eq!(entries[0].value.at, Position { line: 1, column: 4 });
        let Value::List(items) = &entries[1].value.value else {
            panic!("a list")
        };
        let texts: Vec<_> = (items.iter())
            .map(|item| match &item.value {
                Value::Scalar(text) => text.as_str(),
                Value::Null => "(null)",
                _ => "(other)",
            })
            .collect();
        assert_eq!(texts, ["0660", "::1", "null", "(null)"]);
        assert_eq!(
            items[1].at,
            Position {
                line: 2,
                column: 11
            }
        );
    }

    #[test]
    fn a_small_file_cannot_grow_large() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\n";
        assert_eq!(refused(bomb).at.line, 1);
        assert!(refused("a: *b\n").message.contains("lias"));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        let error = refused(&deep);
        assert_eq!(error.at.line, 1);
        assert_eq!(error.message, "not valid YAML: recursion limit exceeded");
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let error = refused("policy:\n  mode: [observe\nlog:\n");
        assert!(error.message.starts_with("not valid YAML: "), "{error:?}");
        assert!((2..=4).contains(&error.at.line), "{error:?}");
    }

    #[test]
    fn an_empty_file_is_null() {
        assert!(matches!(
            parse("# only a comment\n").unwrap().value,
            Value::Null
        ));
    }

    #[test]
    fn two_documents_are_refused() {
        assert_eq!(refused("a: 1\n---\nb: 2\n").at.line, 2);
    }
}
