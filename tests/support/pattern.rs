//! Patterns of the dialog files: `*` stands for any text, everything else for itself.

/// Says whether the whole of `text` fits `pattern`.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.split_at(at + part.len()).1,
            None => return false,
        }
    }
    true
}

/// Says whether `pattern` fits somewhere in `line`.
pub(crate) fn occurs(pattern: &str, line: &str) -> bool {
    fits(&format!("*{pattern}*"), line)
}
