//! Every number of the model in one place. Reasons and sources: `docs/scoring.md`.
//!
//! Points are on the scale of the score, 0 to 100. A site's thresholds decide what they mean;
//! the shipped ones are note 40, hold 50, reject 90.

use super::Reason;
use super::words::Registry;

/// Points of one edit by the length of the meant label (index, in characters): short labels
/// have a real neighbour for almost every edit.
const ONE_EDIT: [i32; 13] = [0, 0, 12, 52, 58, 72, 76, 82, 88, 88, 88, 88, 91];

/// Points of one edit in a label of `length` characters.
pub(super) fn one_edit(length: usize) -> i32 {
    ONE_EDIT[length.min(ONE_EDIT.len() - 1)]
}

/// Longest word of a hyphenated label that counts by itself: `fh-karlsruhe` and `ph-karlsruhe` are
/// as far apart as `fh` and `ph`, but for the rest of the name, which counts as one letter.
pub(super) const SHORT_WORD: usize = 4;

/// Points of two edits in a label of `length` characters.
pub(super) fn two_edits(length: usize) -> i32 {
    match length {
        0..=7 => 0,
        8..=9 => 54,
        10..=11 => 62,
        _ => 72,
    }
}

/// Shortest meant label for which two edits are looked at.
pub(super) const TWO_EDITS_FROM: usize = 8;
/// The same for the largest providers.
pub(super) const TWO_EDITS_LARGEST_FROM: usize = 5;
/// Two edits of such a domain with a label shorter than [`TWO_EDITS_FROM`].
pub(super) const TWO_EDITS_LARGEST: i32 = 56;

// What a slip costs, in hundredths: 100 is an average one.
pub(super) const SWAPPED: i32 = 75;
pub(super) const DOUBLED: i32 = 80;
pub(super) const NEIGHBOUR: i32 = 80;
pub(super) const MISSING: i32 = 85;
pub(super) const EXTRA: i32 = 95;
pub(super) const REPLACED: i32 = 110;
pub(super) const DIGIT_FOR_LETTER: i32 = 130;
pub(super) const DIGIT_FOR_DIGIT: i32 = 160;
pub(super) const FIRST_LETTER: i32 = 55;
/// A first letter that is missing and nothing else, which a name copied with the mouse loses, or that
/// is doubled, which a key does by itself.
pub(super) const FIRST_LETTER_ALONE: i32 = 10;
/// Points for a slip that leaves few other explanations: of all names one edit from a short one,
/// very few are a swap or a doubling away.
pub(super) const TELLING: i32 = 6;
/// Longest label for which that matters.
pub(super) const TELLING_UP_TO: usize = 5;
/// Points for an edit of a short label in a registry of institutions, where nobody else can register
/// a name: the more institutions, the more acronyms are taken. `typed` is the length of the typed
/// label: names of two letters are few, names of three are dense.
pub(super) fn closed_registry(
    registry: Registry,
    suffix: &str,
    reason: Reason,
    typed: usize,
) -> i32 {
    match (registry, reason) {
        (_, Reason::MissingLetter) if typed <= 2 => CLOSED_TWO_LETTERS,
        (Registry::Academic, _) if LARGE_ACADEMIC.contains(&suffix) => match reason {
            Reason::ReplacedLetter => ACADEMIC_REPLACED,
            Reason::SwappedLetters => ACADEMIC_SWAPPED,
            Reason::MissingLetter => ACADEMIC_MISSING,
            _ => ACADEMIC_EXTRA,
        },
        (Registry::Academic, Reason::ReplacedLetter) => SMALL_ACADEMIC_REPLACED,
        (Registry::Academic, Reason::ExtraLetter) => SMALL_ACADEMIC_EXTRA,
        (Registry::Authority, Reason::ReplacedLetter) if suffix == LARGE_AUTHORITY => {
            AUTHORITY_REPLACED
        }
        (Registry::Authority, Reason::ExtraLetter) if suffix == LARGE_AUTHORITY => AUTHORITY_EXTRA,
        _ => 0,
    }
}

/// Registries with the names of more than about 300 institutions of learning.
const LARGE_ACADEMIC: &[&str] = &[
    "edu", "edu.cn", "edu.in", "ac.in", "ac.id", "ac.jp", "edu.br", "edu.mx", "edu.ph", "edu.au",
    "ac.ir", "ac.kr", "ac.uk", "edu.pl",
];
/// The only registry of authorities with more than ten thousand names; those of other countries
/// and of treaty organisations are nearly empty.
const LARGE_AUTHORITY: &str = "gov";
const CLOSED_TWO_LETTERS: i32 = 0;
const ACADEMIC_REPLACED: i32 = -14;
const ACADEMIC_SWAPPED: i32 = -10;
const ACADEMIC_MISSING: i32 = -15;
const ACADEMIC_EXTRA: i32 = -10;
const SMALL_ACADEMIC_REPLACED: i32 = -8;
const SMALL_ACADEMIC_EXTRA: i32 = -4;
const AUTHORITY_REPLACED: i32 = -8;
const AUTHORITY_EXTRA: i32 = -4;

/// Longest label for which that matters.
pub(super) const CLOSED_REGISTRY_UP_TO: usize = 6;
/// Cost of one step that is free of a penalty.
pub(super) const FREE_COST: i32 = 90;
/// Points lost for a whole unit of cost above [`FREE_COST`] a step.
pub(super) const COST_POINTS: i32 = 45;

// Endings.
pub(super) const SUFFIX_DEAD_ONE: i32 = 96;
pub(super) const SUFFIX_DEAD_TWO: i32 = 88;
pub(super) const SUFFIX_DEAD_FAR: i32 = 75;
pub(super) const SUFFIX_LIVE_DELETED: i32 = 84;
pub(super) const SUFFIX_LIVE_ONE: i32 = 74;
/// One edit that leads to an ending more common than the meant one.
pub(super) const SUFFIX_TO_COMMON: i32 = 40;
/// The second level of the same country with a typo.
pub(super) const SECOND_LEVEL_TYPO: i32 = 82;
pub(super) const SECOND_LEVEL_SAME_KIND: i32 = 72;
pub(super) const SECOND_LEVEL_OTHER: i32 = 62;
/// From a closed registry to an open one: companies carry the names of places and subjects.
pub(super) const SECOND_LEVEL_LEFT: i32 = 58;
/// From one closed registry to another of the same country: only institutions have names there,
/// and `birmingham.gov.uk` is the city, not the university.
pub(super) const SECOND_LEVEL_CLOSED: i32 = 46;
/// From one place or kind of people to another of the same country: every one has its own `state`,
/// `comune`, and `education`.
pub(super) const SECOND_LEVEL_PLACE: i32 = 36;
pub(super) const SECOND_LEVEL_DROPPED: i32 = 62;
pub(super) const SECOND_LEVEL_ADDED: i32 = 50;
/// One edit that leads to a country where few have a name of their own.
pub(super) const COUNTRY_SWAPPED: i32 = 70;
pub(super) const COUNTRY_NEIGHBOUR: i32 = 64;
pub(super) const COUNTRY_ONE: i32 = 56;
/// One edit that leads to a country where many companies have one.
pub(super) const LARGE_COUNTRY_SWAPPED: i32 = 58;
pub(super) const LARGE_COUNTRY_NEIGHBOUR: i32 = 51;
pub(super) const LARGE_COUNTRY_ONE: i32 = 40;
/// Countries whose endings international companies register first.
pub(super) const LARGE_COUNTRIES: &[&str] = &[
    "ae", "ar", "at", "au", "be", "br", "ca", "ch", "cl", "cn", "co", "cz", "de", "dk", "es", "eu",
    "fi", "fr", "gr", "hk", "hu", "id", "ie", "il", "in", "it", "jp", "kr", "mx", "my", "nl", "no",
    "nz", "pe", "ph", "pl", "pt", "ro", "ru", "sa", "se", "sg", "th", "tr", "tw", "ua", "uk", "us",
    "vn", "za",
];
pub(super) const COUNTRY_OTHER: i32 = 36;
pub(super) const COUNTRY_DROPPED: i32 = 56;
pub(super) const COUNTRY_ADDED: i32 = 44;
pub(super) const COUNTRY_TO_GENERIC: i32 = 52;
/// `example.co.com` for `example.co.uk`.
pub(super) const COUNTRY_TO_COM: i32 = 66;
pub(super) const GENERIC_COMMON: i32 = 58;
/// From a closed registry such as `.gov`, whose names few remember the ending of.
pub(super) const GENERIC_FROM_CLOSED: i32 = 59;
pub(super) const GENERIC_RARE: i32 = 52;
/// Endings that come to mind first.
pub(super) const COMMON_ENDINGS: &[&str] = &["com", "net", "org"];
/// Country codes that are taken for a generic ending: those Google Search treats so ("Managing
/// multi-regional sites"), `.eu` and `.us`; without `.ai` and `.io`, where a company is usually
/// one of its own (`tests/scoring/valid.tsv`).
pub(super) const GENERIC_COUNTRIES: &[&str] = &[
    "ad", "as", "bz", "cc", "cd", "co", "dj", "eu", "fm", "la", "me", "ms", "nu", "sc", "sr", "su",
    "tk", "tv", "us", "ws",
];

/// A known name below a trusted suffix, typed with another ending.
pub(super) const KNOWN_NAME: i32 = 14;
/// The same where the ending alone says enough. Short of certain: of 55 mails from the UK MoD to
/// `.ml`, 40 were meant for Mali, so a person decides.
pub(super) const KNOWN_NAME_TYPO: i32 = 4;
/// One of the site's own domains, typed with another ending.
pub(super) const OWN_DOMAIN: i32 = 14;
/// A typo in the label besides one in the ending.
pub(super) const ALSO_LABEL: i32 = -20;

// A tail that is nearly a trusted suffix, the name in front unknown.
pub(super) const TAIL_DEAD: i32 = 94;
pub(super) const TAIL_HOST: i32 = 66;
pub(super) const TAIL_HOST_BRAND: i32 = 62;
pub(super) const TAIL_PLAIN: i32 = 36;
pub(super) const TAIL_PLAIN_BRAND: i32 = 60;
/// Endings one letter from `.gov`, `.int` or `.edu` below which anybody may register; the others of
/// three letters and more belong to one company each.
pub(super) const OPEN_ENDINGS: &[&str] = &["gop", "mov", "inc", "ing", "ink"];
pub(super) const TAIL_SECOND_LEVEL: i32 = 70;
pub(super) const TAIL_REGISTRY: i32 = 40;
/// The same registry of a country where few have a name.
pub(super) const TAIL_REGISTRY_SWAPPED: i32 = 60;
pub(super) const TAIL_REGISTRY_NEIGHBOUR: i32 = 56;
pub(super) const TAIL_DOT_LOST: i32 = 90;
pub(super) const TAIL_DOT_LOST_LIVE: i32 = 76;
pub(super) const TAIL_DOT_LOST_SHORT: i32 = 60;

// Look-alikes.
pub(super) const SKELETON: i32 = 97;
pub(super) const SKELETON_FOLDED: i32 = 92;
/// Points for digits and pairs of letters that look like a letter, by the length of the shorter label:
/// a short one is somebody's own, so a person decides.
pub(super) fn ascii_contrived(length: usize) -> i32 {
    match length {
        0..=3 => 72,
        _ => 90,
    }
}

/// Points for ordinary letters that look alike, by the length of the label.
pub(super) fn ascii_letters(length: usize) -> i32 {
    match length {
        0..=2 => 30,
        3 => 56,
        4 => 66,
        5 => 78,
        _ => 90,
    }
}

// Structure.
pub(super) const DOTS: i32 = 92;
pub(super) const HYPHEN: i32 = 86;
pub(super) const HOST_GLUED: i32 = 84;
pub(super) const EMBEDDED_DOMAIN: i32 = 94;
pub(super) const EMBEDDED_HYPHENS: i32 = 85;
pub(super) const LABEL_AND_WORD: i32 = 78;
pub(super) const LABEL_AND_WORD_SHORT: i32 = 66;
pub(super) const LABEL_AND_WORD_SHORTEST: i32 = 52;
pub(super) const LABEL_AND_OTHER: i32 = 44;
pub(super) const LABEL_INSIDE: i32 = 20;
/// Points for the whole name without its dot and another ending behind it, `armymil.com`, by the length
/// of its label and of its own ending, which is part of a word more often the shorter it is. `hyphen`
/// says whether one stands for the dot.
pub(super) fn ending_glued(label: usize, suffix: &str, hyphen: bool) -> Option<i32> {
    let closed = super::words::closed_registry(suffix).is_some();
    let points = match (label, suffix.len()) {
        (0..=1, _) => return None,
        (3.., _) if hyphen => 78,
        (3.., _) if suffix.contains('.') => 78,
        (4.., 3..) if closed => 72,
        (_, 3..) if closed => 60,
        (5.., 3..) => 62,
        (4, 3..) => 54,
        (6.., _) => 56,
        _ => return None,
    };
    Some(points)
}
/// The same where only the second level of the ending is left: `leedsgov.com` for `leeds.gov.uk`.
pub(super) const SECOND_LEVEL_GLUED: i32 = 58;

// What speaks against a mistake.
pub(super) const PLURAL: i32 = -18;
/// Shortest label that may be a word with a plural.
pub(super) const PLURAL_FROM: usize = 5;
pub(super) const STATE_CODE: i32 = -50;
/// Shortest name behind a state code in front.
pub(super) const STATE_NAME: usize = 4;
pub(super) const NUMBER: i32 = -25;
pub(super) const NEIGHBOURS: i32 = -15;
pub(super) const NEIGHBOURS_MOST: i32 = -45;
pub(super) const REAL_WEBMAIL: i32 = -70;
/// The typed name is one that is known to be somebody's.
pub(super) const REAL_NAME: i32 = -40;
/// For every further ending of the same label that is trusted: the name is used in many countries.
pub(super) const MANY_ENDINGS: i32 = -8;
pub(super) const MANY_ENDINGS_MOST: i32 = -32;
/// Trusted names up to which a list says nothing about chance.
const CHANCE_FROM: usize = 500;
/// Tenths of a point for every doubling beyond that.
const CHANCE_TENTHS: i32 = 25;
/// Longest label for which `example.com` is somebody else than `example.com.au` by chance.
pub(super) const TWO_COMPANIES_UP_TO: usize = 7;
const CHANCE_MOST: i32 = 30;

/// Points for the chance that one of so many trusted names is near by accident.
pub(super) fn chance(targets: usize) -> i32 {
    let times = (targets / CHANCE_FROM.max(1)).max(1);
    // Whole doublings and the part of the last one, in tenths, without floating point.
    let whole = times.ilog2();
    let part = (10 * targets / (CHANCE_FROM << whole).max(1)).clamp(10, 20) - 10;
    let tenths = 10 * whole as i32 + part as i32;
    -(tenths * CHANCE_TENTHS / 100).min(CHANCE_MOST)
}

// What speaks for one.
pub(super) const FREQUENT: i32 = 12;
/// The same for another ending: `gmail.fr`.
pub(super) const FREQUENT_ENDING: i32 = 14;
/// Shortest label for which that matters.
pub(super) const FREQUENT_FROM: usize = 5;

// Context.
pub(super) const HISTORY_ONE: i32 = -15;
pub(super) const HISTORY_TWO: i32 = -30;
pub(super) const HISTORY_THREE: i32 = -60;
pub(super) const ANSWERED: i32 = -15;
pub(super) const COMPANION: i32 = 10;
pub(super) const LOCAL_PART: i32 = 25;
pub(super) const SHARE: i32 = 8;
