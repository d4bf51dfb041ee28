//! The text of an HTML reply, line by line as a reader sees it.
//!
//! mail-parser ends a line at `<br>` and `</p>` only, so a signature in the next `<div>` became
//! part of an address. Here every block ends a line, an empty one is an empty line, and what
//! stands in a `<blockquote>` begins with `>`, like a quote in plain text.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

/// Elements that begin and end a line.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "menu",
    "nav",
    "ol",
    "option",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
];

/// Elements whose text nobody sees, or that its writer struck out.
const UNSEEN: &[&str] = &[
    "del", "noscript", "s", "script", "strike", "style", "template", "title",
];

/// Elements without an end.
const VOID: &[&str] = &["br", "hr", "img", "input", "link", "meta", "wbr"];

/// Returns the lines of an HTML page; those of a quote begin with `>`.
pub(super) fn to_text(html: &str) -> String {
    let mut emitter = DefaultEmitter::default();
    // Else the text of a style sheet would be read as if it were shown.
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) => page.open(&String::from_utf8_lossy(&tag.name), is_hidden(&tag)),
            Token::EndTag(tag) => page.close(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => page.write(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    page.end_line();
    page.text
}

/// Returns whether the element is there and not shown.
fn is_hidden(tag: &StartTag<()>) -> bool {
    let shows_nothing = |style: &[u8]| {
        let style: Vec<u8> = (style.iter())
            .filter(|octet| !octet.is_ascii_whitespace())
            .map(u8::to_ascii_lowercase)
            .collect();
        [&b"display:none"[..], b"visibility:hidden"]
            .iter()
            .any(|hides| memchr::memmem::find(&style, hides).is_some())
    };
    (tag.attributes.iter()).any(|(name, value)| match name.as_ref() {
        b"hidden" => true,
        b"style" => shows_nothing(value.as_ref()),
        _ => false,
    })
}

/// What was read so far.
#[derive(Default)]
struct Page {
    text: String,
    line: String,
    /// Blockquotes around the current place.
    quotes: usize,
    /// Elements around it in which a line feed ends a line.
    preformatted: usize,
    /// Elements around it that are not shown.
    unseen: usize,
    /// The hidden element around it, and how many of that name are open.
    hidden: Option<(String, usize)>,
}

impl Page {
    fn open(&mut self, name: &str, hidden: bool) {
        if let Some((outer, open)) = &mut self.hidden {
            *open += usize::from(name == outer);
            return;
        }
        if hidden && !VOID.contains(&name) {
            self.hidden = Some((name.to_owned(), 1));
            return;
        }
        match name {
            "br" => self.break_line(),
            "td" | "th" => self.write(" "),
            "pre" => self.preformatted += 1,
            name if UNSEEN.contains(&name) => self.unseen += 1,
            _ => {}
        }
        if BLOCKS.contains(&name) {
            self.end_line();
        }
        match name {
            "hr" => self.break_line(),
            "blockquote" => {
                self.quotes += 1;
                // A quote without text is one as well.
                self.break_line();
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((outer, open)) = &mut self.hidden {
            *open -= usize::from(name == outer);
            if *open == 0 {
                self.hidden = None;
            }
            return;
        }
        if BLOCKS.contains(&name) {
            self.end_line();
        }
        match name {
            "blockquote" => self.quotes = self.quotes.saturating_sub(1),
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            name if UNSEEN.contains(&name) => self.unseen = self.unseen.saturating_sub(1),
            _ => {}
        }
    }

    fn write(&mut self, text: &str) {
        if self.unseen > 0 || self.hidden.is_some() {
            return;
        }
        for c in text.chars() {
            match c {
                '\n' if self.preformatted > 0 => self.break_line(),
                // Runs of blanks are one, and none at the beginning of a line.
                c if c.is_ascii_whitespace() => {
                    if !self.line.is_empty() && !self.line.ends_with(' ') {
                        self.line.push(' ');
                    }
                }
                c => self.line.push(c),
            }
        }
    }

    /// Ends the line, if there is one.
    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.break_line();
        }
    }

    /// Ends the line, also an empty one.
    fn break_line(&mut self) {
        if self.quotes > 0 {
            self.text.push_str("> ");
        }
        self.text.push_str(&self.line);
        self.text.push('\n');
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_lines_and_quotes_are_marked() {
        for (html, expected) in [
            ("<div dir=ltr>cancel</div><div>Anna</div>", "cancel\nAnna\n"),
            ("cancel<br>Anna", "cancel\nAnna\n"),
            ("<p><s>send</s></p><p>Wait.</p>", "Wait.\n"),
            (
                "<div style='Display: NONE'>send<div>a</div>b</div><div hidden>c</div>Wait.",
                "Wait.\n",
            ),
            (
                "<noscript>send</noscript><br hidden>Wait.<p hidden>a",
                "\nWait.\n",
            ),
            ("<div>cancel<br></div>Anna", "cancel\nAnna\n"),
            (
                "<div>cancel</div><div><br></div><div>Anna</div>",
                "cancel\n\nAnna\n",
            ),
            ("<p>cancel</p>\n<p>&nbsp;</p>", "cancel\n\u{a0}\n"),
            ("<ul><li>cancel<li>x</ul>", "cancel\nx\n"),
            (
                "<table><tr><td>send</td>\n<td>7Q2M</td></tr><tr><td>Best</table>",
                "send 7Q2M\nBest\n",
            ),
            (
                "<div>cancel</div><div id=\"appendonsend\"></div><hr><div>From:</div>",
                "cancel\n\nFrom:\n",
            ),
            (
                "a<blockquote>b<blockquote>c</blockquote>d</blockquote>e",
                "a\n> \n> b\n> \n> c\n> d\ne\n",
            ),
            (
                "<html><head><title>x</title><style>p > a { x }</style></head><body><!-- send -->\n \
                 <p><span>can</span>cel<o:p></o:p></p><script>send</script>",
                "cancel\n",
            ),
            ("<pre>cancel\nAnna</pre>", "cancel\nAnna\n"),
            ("&#99;ancel &lt;x&gt;", "cancel <x>\n"),
            ("<blockquote>send", "> \n> send\n"),
            ("</blockquote>send", "send\n"),
        ] {
            assert_eq!(to_text(html), expected, "{html}");
        }
    }
}
