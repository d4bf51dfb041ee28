//! Generated names: the same ones in every run, so that figures can be compared.

/// Small deterministic random numbers (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// Begins with a seed other than 0.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A name like those people register: two to five syllables and one of the usual endings.
pub(crate) fn name(random: &mut Random) -> String {
    const HEADS: &[&str] = &[
        "b", "br", "c", "ch", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s",
        "sh", "st", "t", "tr", "v", "w", "z",
    ];
    const VOWELS: &[&str] = &["a", "e", "i", "o", "u", "ai", "ee", "ou", "y"];
    const TAILS: &[&str] = &["", "", "", "n", "r", "s", "l", "t", "ck", "ng", "m"];
    const ENDINGS: &[&str] = &[
        "com", "com", "com", "com", "net", "org", "de", "co.uk", "fr", "edu", "gov", "com.au",
    ];
    let mut name = String::new();
    for _ in 0..2 + random.below(4) {
        name.push_str(HEADS[random.below(HEADS.len())]);
        name.push_str(VOWELS[random.below(VOWELS.len())]);
        name.push_str(TAILS[random.below(TAILS.len())]);
    }
    name.push('.');
    name.push_str(ENDINGS[random.below(ENDINGS.len())]);
    name
}

/// The trusted names; queries are drawn from the same source by other seeds.
pub(crate) fn names(size: usize) -> Vec<String> {
    let mut random = Random::new(0x0dd_ba11);
    (0..size).map(|_| name(&mut random)).collect()
}

/// One of the names with a letter missing, extra or swapped.
pub(crate) fn typo(random: &mut Random, names: &[String]) -> String {
    let mut typed = names[random.below(names.len())].clone().into_bytes();
    let label = typed.iter().position(|b| *b == b'.').unwrap_or(2);
    let at = 1 + random.below(label.saturating_sub(2).max(1));
    match random.below(3) {
        0 => drop(typed.remove(at)),
        1 => typed.insert(at, b'e'),
        _ => typed.swap(at - 1, at),
    }
    String::from_utf8_lossy(&typed).into_owned()
}
