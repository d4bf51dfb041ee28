//! What a label looks like to a reader: the skeleton of UTS #39, with what it leaves out.
//!
//! UTS #39 alone finds a third of whole-script Cyrillic look-alikes and no `rn` for `m`, so a
//! table of our own is asked first. ASCII never reaches the Unicode tables: they cost more
//! than the whole search for typos.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// How a label was turned into its ASCII look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// A letter carried an accent or another mark.
    pub accent: bool,
    /// A letter of another script, or a symbol, stood for a Latin letter.
    pub foreign: bool,
    /// An ASCII letter was there as well.
    pub latin: bool,
}

/// Returns the label as a reader sees it in ASCII letters, as far as that is possible, and what
/// had to be changed. ASCII stays as it is.
pub(super) fn look(label: &str) -> (Cow<'_, str>, Look) {
    let mut how = Look::default();
    if label.is_ascii() {
        return (Cow::Borrowed(label), how);
    }
    let mut out = String::with_capacity(label.len());
    for c in label.chars() {
        if c.is_ascii() {
            how.latin |= c.is_ascii_alphabetic();
            out.push(c);
            continue;
        }
        if let Some(ascii) = stroked(c) {
            out.push_str(ascii);
            how.accent = true;
            continue;
        }
        if let Some(ascii) = curated(c) {
            out.push_str(ascii);
            how.foreign = true;
            continue;
        }
        let mut bases = std::iter::once(c).nfd().filter(|d| !is_combining_mark(*d));
        match (bases.next(), bases.next()) {
            (Some(base), None) if base != c => {
                if base.is_ascii() {
                    out.push(base);
                    how.accent = true;
                } else if let Some(ascii) = curated(base) {
                    out.push_str(ascii);
                    how.foreign = true;
                } else {
                    confusable(base, &mut out, &mut how);
                }
            }
            (None, _) => how.foreign = true, // a lone combining mark
            _ => confusable(c, &mut out, &mut how),
        }
    }
    (Cow::Owned(out), how)
}

/// Appends the prototype of UTS #39, or the character itself when that is not ASCII.
fn confusable(c: char, out: &mut String, how: &mut Look) {
    let mut buffer = [0; 4];
    let start = out.len();
    for prototype in unicode_security::skeleton(c.encode_utf8(&mut buffer)) {
        let ascii = match prototype {
            c if is_combining_mark(c) => continue,
            c if c.is_ascii() => c.to_ascii_lowercase(),
            c => match curated(c) {
                Some(ascii) => {
                    out.push_str(ascii);
                    continue;
                }
                None => {
                    out.truncate(start);
                    out.push(c);
                    return;
                }
            },
        };
        // A dot or a slash in a prototype must not change where labels end.
        if ascii.is_ascii_alphanumeric() || ascii == '-' {
            out.push(ascii);
        }
    }
    how.foreign = true;
}

/// Letters of European languages that are Latin letters with a stroke or two in one, which do not
/// decompose: `łódź` is a city, like `münchen`.
fn stroked(c: char) -> Option<&'static str> {
    Some(match c {
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'ŧ' => "t",
        'ß' => "b",
        'æ' => "ae",
        'œ' => "oe",
        _ => return None,
    })
}

/// Letters that stand for a Latin letter when somebody imitates a name in another script, where
/// UTS #39 says nothing or sees another likeness. Lower case only: domains have no other.
fn curated(c: char) -> Option<&'static str> {
    Some(match c {
        // Letters of phonetic and of rare alphabets
        'ɵ' => "o",
        'ƚ' | 'ɫ' => "l",
        'ɖ' | 'ɗ' => "d",
        'ɦ' => "h",
        'ɩ' | 'ɪ' => "i",
        'ƭ' => "t",
        'ƀ' | 'ɓ' => "b",
        'ɡ' | 'ɠ' => "g",
        'ŋ' | 'ƞ' | 'ɲ' => "n",
        'ɑ' => "a",
        'ɛ' | 'ə' => "e",
        'ʀ' | 'ɾ' | 'ɼ' => "r",
        'ʋ' => "v",
        'ɯ' => "w",
        'ʏ' | 'ɣ' => "y",
        'ƶ' | 'ʐ' => "z",
        'ĸ' | 'ƙ' => "k",
        'ſ' => "f",
        // Cyrillic
        'а' | 'ӑ' => "a",
        'б' => "b",
        'в' | 'ь' | 'ъ' | 'ѣ' => "b",
        'г' => "r",
        'ґ' => "r",
        'ԁ' | 'ժ' => "d",
        'д' => "d",
        'е' | 'ё' | 'э' | 'є' | 'ҽ' => "e",
        'з' | 'ӡ' => "3",
        'и' | 'й' | 'ц' | 'џ' => "u",
        'і' | 'ї' => "i",
        'ӏ' => "l",
        'ј' => "j",
        'к' | 'қ' | 'ҝ' | 'ҟ' => "k",
        'л' => "n",
        'м' => "m",
        'н' | 'һ' | 'ћ' | 'ђ' | 'ң' => "h",
        'о' | 'ө' | 'ф' => "o",
        'п' | 'ԥ' => "n",
        'р' | 'ҏ' => "p",
        'с' | 'ҫ' => "c",
        'ѕ' => "s",
        'т' | 'ҭ' => "t",
        'у' | 'ү' | 'ұ' => "y",
        'х' | 'ҳ' => "x",
        'ч' | 'ҷ' => "4",
        'ш' | 'щ' | 'ѡ' | 'ԝ' => "w",
        'ы' => "bl",
        'ю' => "lo",
        'я' => "r",
        'ѵ' | 'ѷ' => "v",
        'ԛ' => "q",
        'ԍ' => "g",
        'ғ' => "f",
        'ԟ' => "k",
        'ԏ' => "t",
        'ҁ' => "c",
        // Greek
        'α' => "a",
        'β' => "b",
        'γ' => "y",
        'δ' => "d",
        'ε' | 'ξ' => "e",
        'ζ' => "z",
        'η' | 'π' => "n",
        'θ' | 'ο' | 'σ' | 'φ' => "o",
        'ι' => "i",
        'κ' => "k",
        'λ' => "l",
        'μ' | 'υ' => "u",
        'ν' => "v",
        'ρ' => "p",
        'ς' => "c",
        'τ' => "t",
        'χ' => "x",
        'ψ' => "y",
        'ω' => "w",
        // Armenian
        'ա' => "w",
        'զ' | 'գ' => "q",
        'է' => "t",
        'ի' | 'հ' => "h",
        'յ' => "j",
        'լ' => "l",
        'ո' | 'ռ' => "n",
        'ս' | 'մ' => "u",
        'ց' => "g",
        'ք' => "p",
        'օ' => "o",
        'վ' => "v",
        'ր' => "r",
        'տ' => "s",
        'կ' => "k",
        // Georgian
        'ი' => "o",
        'ს' => "b",
        'ხ' => "b",
        'ჿ' => "o",
        // Hebrew and Arabic digits and letters that look like Latin
        'ס' | '٥' | '۵' => "o",
        'ו' | '١' | '۱' | 'ا' => "l",
        _ => return None,
    })
}

/// What one byte looks like: a letter, and 0 or a second one. Wide letters are spelled out, so that
/// `cia` looks like `cla` although `cl` looks like `d`. An `r` in front of an `n` looks like one
/// more `n` beside that, which is for [`skeleton`] to say.
pub(super) const UNITS: [(u8, u8); 256] = {
    let mut units = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        units[byte] = match byte as u8 {
            b'm' => (b'n', b'n'),
            b'w' => (b'v', b'v'),
            b'd' => (b'c', b'l'),
            b'1' | b'i' | b'l' => (b'l', 0),
            b'0' | b'o' => (b'o', 0),
            b'u' | b'v' => (b'v', 0),
            b'4' | b'a' => (b'a', 0),
            b'3' | b'e' => (b'e', 0),
            b'5' | b's' => (b's', 0),
            b'6' | b'8' | b'b' => (b'b', 0),
            b'9' | b'q' | b'g' => (b'g', 0),
            b'2' | b'z' => (b'z', 0),
            b'7' | b't' => (b't', 0),
            other => (other, 0),
        };
        byte += 1;
    }
    units
};

/// Returns whether an `r` in front of this byte looks like an `n`: `rn` looks like `nn`, both look
/// like `m`. With the `r` read as an `n`, every way to divide such letters into pairs gives the same.
pub(super) fn turns_r(byte: u8) -> bool {
    matches!(byte, b'n' | b'm')
}

/// Returns the skeleton of a label that [`look`] returned, byte by byte from its end. Equal skeletons
/// look alike in a common typeface.
fn skeleton(label: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = label;
    let (mut turned, mut pending) = (false, 0);
    std::iter::from_fn(move || {
        if pending != 0 {
            return Some(std::mem::take(&mut pending));
        }
        let (byte, front) = rest.split_last()?;
        rest = front;
        let (first, second) = match byte {
            b'r' if turned => (b'n', 0),
            byte => {
                turned = turns_r(*byte);
                UNITS[usize::from(*byte)]
            }
        };
        if second == 0 {
            return Some(first);
        }
        pending = first;
        Some(second)
    })
}

/// How convincing an ASCII look-alike is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// One ordinary letter for another (`i` for `l`, `u` for `v`): it may be another name.
    Letters,
    /// A digit for a letter, or two letters for one: hardly ever another name.
    Contrived,
}

/// Returns how two different labels with the same skeleton look alike; `None` when the skeletons
/// differ.
pub(super) fn likeness(typed: &[u8], meant: &[u8]) -> Option<Likeness> {
    if !skeleton(typed).eq(skeleton(meant)) {
        return None;
    }
    let digits = |label: &[u8]| label.iter().filter(|byte| byte.is_ascii_digit()).count();
    // Who imitates a name leaves some of it: `se` is no `53`.
    let none_left = typed.iter().zip(meant).all(|(t, m)| t != m);
    if typed.len() == meant.len() && (digits(typed) == digits(meant) || none_left) {
        Some(Likeness::Letters)
    } else {
        Some(Likeness::Contrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_ascii() {
        let looks = |label: &str| look(label).0.into_owned();
        assert_eq!(looks("army"), "army");
        assert_eq!(looks("аrmy"), "army");
        assert_eq!(looks("enerğy"), "energy");
        assert_eq!(looks("гуеԝатег"), "ryewater");
        assert_eq!(looks("müller"), "muller");
        assert_eq!(looks("日本"), "日本");
    }

    #[test]
    fn what_was_changed_is_told() {
        let how = |label: &str| look(label).1;
        assert_eq!(how("army"), Look::default());
        let accent = Look {
            accent: true,
            foreign: false,
            latin: true,
        };
        assert_eq!(how("enerğy"), accent);
        assert_eq!(how("łódź"), accent);
        let mixed = Look {
            accent: false,
            foreign: true,
            latin: true,
        };
        assert_eq!(how("аrmy"), mixed);
        let whole = Look {
            accent: false,
            foreign: true,
            latin: false,
        };
        assert_eq!(how("агму"), whole);
    }

    #[test]
    fn skeletons_of_ascii_look_alikes_are_equal() {
        for (typed, meant, how) in [
            ("paypa1", "paypal", Likeness::Contrived),
            ("rnicrosoft", "microsoft", Likeness::Contrived),
            ("todayclays", "todaydays", Likeness::Contrived),
            ("faceb00k", "facebook", Likeness::Contrived),
            ("vvells", "wells", Likeness::Contrived),
            // Each way to read a row of `r` and `n`.
            ("sannnartin", "sanmartin", Likeness::Contrived),
            ("sanrnartin", "sanmartin", Likeness::Contrived),
            ("vietnarnnettv", "vietnamnettv", Likeness::Contrived),
            ("vietnannnettv", "vietnamnettv", Likeness::Contrived),
            ("urnn", "umn", Likeness::Contrived),
            ("unnn", "umn", Likeness::Contrived),
            ("forrnal", "formal", Likeness::Contrived),
            ("cla", "cia", Likeness::Letters),
            ("accentvre", "accenture", Likeness::Letters),
        ] {
            assert_eq!(
                likeness(typed.as_bytes(), meant.as_bytes()),
                Some(how),
                "{typed}"
            );
        }
        assert_eq!(likeness(b"army", b"navy"), None);
        assert_eq!(likeness(b"arny", b"amy"), Some(Likeness::Contrived));
        assert_eq!(likeness(b"nrny", b"nay"), None);
        assert_eq!(likeness(b"arm", b"army"), None);
    }
}
