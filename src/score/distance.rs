//! What happened between the meant and the typed label: letters missing, extra, replaced or
//! swapped, and how likely fingers do that.
//!
//! `strsim` decides how far two labels are apart (optimal string alignment: a swap of
//! neighbours counts as one); this module names the steps, for the few labels that are close.

use serde::{Deserialize, Serialize};

/// A keyboard layout, which decides what a neighbouring key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyboard {
    /// US and British keyboards.
    #[default]
    Qwerty,
    /// German, Swiss, Czech and Hungarian keyboards.
    Qwertz,
    /// French and Belgian keyboards.
    Azerty,
    /// Dvorak.
    Dvorak,
}

impl Keyboard {
    /// Returns the rows of keys from the top, without shift.
    const fn rows(self) -> [&'static [u8]; 4] {
        match self {
            Keyboard::Qwerty => [b"1234567890-", b"qwertyuiop", b"asdfghjkl", b"zxcvbnm"],
            Keyboard::Qwertz => [b"1234567890", b"qwertzuiop", b"asdfghjkl", b"yxcvbnm,.-"],
            // The digits of AZERTY need shift; `-` is the key of 6.
            Keyboard::Azerty => [b"12345-7890", b"azertyuiop", b"qsdfghjklm", b"wxcvbn"],
            Keyboard::Dvorak => [b"1234567890", b"',.pyfgcrl", b"aoeuidhtns-", b";qjkxbmwvz"],
        }
    }

    /// Returns row and place of every key, in quarters of a key's width: each row is shifted to
    /// the right against the one above it. The row is [`NO_KEY`] for what is no key.
    const fn places(self) -> [(u8, u8); 256] {
        const SHIFT: [u8; 4] = [0, 2, 3, 5];
        let mut places = [(NO_KEY, 0); 256];
        let rows = self.rows();
        let mut row = 0;
        while row < rows.len() {
            let mut column = 0;
            while column < rows[row].len() {
                let place = column as u8 * 4 + SHIFT[row];
                places[rows[row][column] as usize] = (row as u8, place);
                column += 1;
            }
            row += 1;
        }
        places
    }

    /// Returns whether the keys touch each other.
    pub(super) fn touch(self, a: u8, b: u8) -> bool {
        let places = match self {
            Keyboard::Qwerty => &QWERTY,
            Keyboard::Qwertz => &QWERTZ,
            Keyboard::Azerty => &AZERTY,
            Keyboard::Dvorak => &DVORAK,
        };
        let ((row_a, a), (row_b, b)) = (places[usize::from(a)], places[usize::from(b)]);
        if row_a == NO_KEY || row_b == NO_KEY {
            return false;
        }
        match row_a.abs_diff(row_b) {
            0 => a.abs_diff(b) == 4,
            1 => a.abs_diff(b) <= 3,
            _ => false,
        }
    }
}

const NO_KEY: u8 = u8::MAX;
static QWERTY: [(u8, u8); 256] = Keyboard::Qwerty.places();
static QWERTZ: [(u8, u8); 256] = Keyboard::Qwertz.places();
static AZERTY: [(u8, u8); 256] = Keyboard::Azerty.places();
static DVORAK: [(u8, u8); 256] = Keyboard::Dvorak.places();

/// One step from the meant to the typed label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A letter of the meant label was left out.
    Missing { letter: u8, doubled: bool },
    /// A letter was typed that does not belong there.
    Extra {
        letter: u8,
        doubled: bool,
        neighbour: bool,
    },
    /// A letter was typed instead of another.
    Replaced {
        typed: u8,
        meant: u8,
        neighbour: bool,
    },
    /// Two letters changed places.
    Swapped { first: u8, second: u8 },
}

/// A step and where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub step: Step,
    /// Index in the meant label.
    pub index: usize,
}

/// Returns whether two labels are at most `limit` steps apart, `limit` being 1 or 2: the same as
/// comparing `strsim::osa_distance` with it.
///
/// Equal letters in front and behind do not change the distance, and what is left of labels that
/// are close is a few letters.
pub(super) fn within(typed: &[u8], meant: &[u8], limit: usize) -> bool {
    let front = typed.iter().zip(meant).take_while(|(t, m)| t == m).count();
    let (t, m) = (&typed[front..], &meant[front..]);
    let both = t.iter().rev().zip(m.iter().rev());
    let back = both.take_while(|(t, m)| t == m).count();
    let (t, m) = (&t[..t.len() - back], &m[..m.len() - back]);
    match (t, m) {
        ([], rest) | (rest, []) => rest.len() <= limit,
        ([_], [_]) => true,
        ([a, b], [c, d]) if a == d && b == c => true,
        _ if limit < 2 || t.len().abs_diff(m.len()) > limit => false,
        ([_], [_, _]) | ([_, _], [_]) | ([_, _], [_, _]) => true,
        // Two steps, neither of them left out above: one changes an end of the difference. A swap
        // takes both letters of an end along.
        _ => {
            let (a, b) = (t.len(), m.len());
            within(&t[1..], &m[1..], 1)
                || within(&t[1..], m, 1)
                || within(t, &m[1..], 1)
                || (a > 1 && b > 1 && t[0] == m[1] && t[1] == m[0] && within(&t[2..], &m[2..], 1))
        }
    }
}

/// Most steps that are told apart. Nothing with more than two counts.
const MOST_STEPS: usize = 8;

/// Steps in the order of the label, at most [`MOST_STEPS`]; the last ones when there are more.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    steps: [At; MOST_STEPS],
    count: usize,
}

impl Steps {
    const NONE: Steps = Steps {
        steps: [At {
            step: Step::Swapped {
                first: 0,
                second: 0,
            },
            index: 0,
        }; MOST_STEPS],
        count: 0,
    };

    fn push(&mut self, at: At) {
        if let Some(free) = self.steps.get_mut(self.count) {
            *free = at;
            self.count += 1;
        }
    }
}

impl From<At> for Steps {
    fn from(only: At) -> Steps {
        let mut steps = Steps::NONE;
        steps.push(only);
        steps
    }
}

impl std::ops::Deref for Steps {
    type Target = [At];

    fn deref(&self) -> &[At] {
        self.steps.get(..self.count).unwrap_or_default()
    }
}

/// Longest difference that is aligned, with room for the border row: RFC 1035, 2.3.4, plus one.
const SIDE: usize = crate::domain::MAX_LABEL + 1;
/// Side of the table for the usual difference, which is a few letters long.
const SMALL: usize = 12;

/// Returns the steps that lead from `meant` to `typed`, in order, when both are labels of at
/// most 63 bytes. The number of steps is the distance of `strsim::osa_distance`.
pub(super) fn steps(typed: &[u8], meant: &[u8], keyboard: Keyboard) -> Steps {
    match only_step(typed, meant, keyboard) {
        Some(only) => Steps::from(only),
        None => steps_by_table(typed, meant, keyboard),
    }
}

/// Returns the step between two labels when there is one and its place is beyond doubt: the usual
/// case, which needs no table.
pub(super) fn only_step(typed: &[u8], meant: &[u8], keyboard: Keyboard) -> Option<At> {
    if typed.len() >= SIDE || meant.len() >= SIDE {
        return None;
    }
    let front = typed.iter().zip(meant).take_while(|(t, m)| t == m).count();
    let both = typed.iter().rev().zip(meant.iter().rev());
    let back = both.take_while(|(t, m)| t == m).count();
    let t = typed.get(front..typed.len().checked_sub(back)?)?;
    let m = meant.get(front..meant.len().checked_sub(back)?)?;
    let around = |label: &[u8]| {
        let before = front.checked_sub(1).and_then(|at| label.get(at));
        [before, label.get(front + 1)].map(|byte| byte.copied())
    };
    let step = match (t, m) {
        ([], [letter]) => Step::Missing {
            letter: *letter,
            doubled: around(meant).contains(&Some(*letter)),
        },
        ([letter], []) => {
            let around = around(typed);
            Step::Extra {
                letter: *letter,
                doubled: around.contains(&Some(*letter)),
                neighbour: (around.into_iter().flatten()).any(|near| keyboard.touch(*letter, near)),
            }
        }
        ([typed], [meant]) => Step::Replaced {
            typed: *typed,
            meant: *meant,
            neighbour: keyboard.touch(*typed, *meant),
        },
        ([a, b], [c, d]) if a == d && b == c => Step::Swapped {
            first: *c,
            second: *d,
        },
        _ => return None,
    };
    Some(At { step, index: front })
}

fn steps_by_table(typed: &[u8], meant: &[u8], keyboard: Keyboard) -> Steps {
    // Equal letters in front and behind need no alignment, but for the one next to the
    // difference: a swap or a doubling is seen by its neighbour.
    let front = typed.iter().zip(meant).take_while(|(t, m)| t == m).count();
    let front = front.saturating_sub(1);
    let (Some(t), Some(m)) = (typed.get(front..), meant.get(front..)) else {
        return Steps::NONE;
    };
    let back = t
        .iter()
        .rev()
        .zip(m.iter().rev())
        .take_while(|(t, m)| t == m)
        .count();
    let back = back
        .min(t.len().min(m.len()).saturating_sub(2))
        .saturating_sub(1);
    let (Some(t), Some(m)) = (t.get(..t.len() - back), m.get(..m.len() - back)) else {
        return Steps::NONE;
    };
    match t.len().max(m.len()) {
        0..SMALL => align(t, m, front, keyboard, &mut [[0; SMALL]; SMALL]),
        SMALL..SIDE => align(t, m, front, keyboard, &mut [[0; SIDE]; SIDE]),
        _ => Steps::NONE,
    }
}

fn align<const N: usize>(
    typed_rest: &[u8],
    meant_rest: &[u8],
    front: usize,
    keyboard: Keyboard,
    table: &mut [[u8; N]; N],
) -> Steps {
    let (width, height) = (typed_rest.len(), meant_rest.len());
    for (j, cell) in table[0].iter_mut().enumerate() {
        *cell = j as u8;
    }
    for i in 1..=height {
        table[i][0] = i as u8;
        for j in 1..=width {
            let (m, t) = (meant_rest[i - 1], typed_rest[j - 1]);
            let mut best = (table[i - 1][j] + 1)
                .min(table[i][j - 1] + 1)
                .min(table[i - 1][j - 1] + u8::from(m != t));
            if is_swap(typed_rest, meant_rest, i, j) {
                best = best.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = best;
        }
    }
    let mut found = Steps::NONE;
    let (mut i, mut j) = (height, width);
    while i > 0 || j > 0 {
        let here = table[i][j];
        if i > 0 && j > 0 && meant_rest[i - 1] == typed_rest[j - 1] && table[i - 1][j - 1] == here {
            (i, j) = (i - 1, j - 1);
            continue;
        }
        let step = if is_swap(typed_rest, meant_rest, i, j) && table[i - 2][j - 2] + 1 == here {
            (i, j) = (i - 2, j - 2);
            Step::Swapped {
                first: meant_rest[i],
                second: meant_rest[i + 1],
            }
        } else if i > 0 && j > 0 && table[i - 1][j - 1] + 1 == here {
            (i, j) = (i - 1, j - 1);
            Step::Replaced {
                typed: typed_rest[j],
                meant: meant_rest[i],
                neighbour: keyboard.touch(typed_rest[j], meant_rest[i]),
            }
        } else if j > 0 && table[i][j - 1] + 1 == here {
            j -= 1;
            let letter = typed_rest[j];
            let around = [
                j.checked_sub(1).and_then(|before| typed_rest.get(before)),
                typed_rest.get(j + 1),
            ];
            Step::Extra {
                letter,
                doubled: around.contains(&Some(&letter)),
                neighbour: around
                    .into_iter()
                    .flatten()
                    .any(|near| keyboard.touch(letter, *near)),
            }
        } else {
            i = i.saturating_sub(1);
            let letter = meant_rest[i];
            let around = [
                i.checked_sub(1).and_then(|before| meant_rest.get(before)),
                meant_rest.get(i + 1),
            ];
            Step::Missing {
                letter,
                doubled: around.contains(&Some(&letter)),
            }
        };
        found.push(At {
            step,
            index: front + i,
        });
    }
    if let Some(steps) = found.steps.get_mut(..found.count) {
        steps.reverse();
    }
    found
}

/// Returns whether the last two letters of both prefixes are the same two in other order.
fn is_swap(typed: &[u8], meant: &[u8], i: usize, j: usize) -> bool {
    i > 1
        && j > 1
        && meant[i - 1] == typed[j - 2]
        && meant[i - 2] == typed[j - 1]
        && meant[i - 1] != typed[j - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(typed: &str, meant: &str) -> Vec<At> {
        steps(typed.as_bytes(), meant.as_bytes(), Keyboard::Qwerty).to_vec()
    }

    #[test]
    fn each_slip_has_its_name() {
        assert_eq!(
            of("gmial", "gmail"),
            [At {
                step: Step::Swapped {
                    first: b'a',
                    second: b'i'
                },
                index: 2
            }]
        );
        assert_eq!(
            of("gmal", "gmail"),
            [At {
                step: Step::Missing {
                    letter: b'i',
                    doubled: false
                },
                index: 3
            }]
        );
        assert_eq!(
            of("gmmail", "gmail"),
            [At {
                step: Step::Extra {
                    letter: b'm',
                    doubled: true,
                    neighbour: false
                },
                index: 1
            }]
        );
        assert_eq!(
            of("gmaul", "gmail"),
            [At {
                step: Step::Replaced {
                    typed: b'u',
                    meant: b'i',
                    neighbour: true
                },
                index: 3
            }]
        );
        assert_eq!(of("gmail", "gmail"), []);
    }

    #[test]
    fn the_number_of_steps_is_the_distance() {
        let labels = [
            "army", "amry", "navy", "boeing", "beoing", "a", "ab", "ba", "cab", "aaab",
        ];
        for typed in labels {
            for meant in labels {
                assert_eq!(
                    of(typed, meant).len(),
                    strsim::osa_distance(typed, meant),
                    "{typed} {meant}"
                );
            }
        }
    }

    #[test]
    fn within_agrees_with_strsim_and_one_step_with_the_table() {
        // All labels of up to five letters out of three.
        let mut labels = vec![String::new()];
        let mut from = 0;
        for _ in 0..5 {
            let until = labels.len();
            for at in from..until {
                for letter in ["a", "b", "c"] {
                    labels.push(format!("{}{letter}", labels[at]));
                }
            }
            from = until;
        }
        assert_eq!(labels.len(), 364);
        for typed in &labels {
            for meant in &labels {
                let distance = strsim::osa_distance(typed, meant);
                let (t, m) = (typed.as_bytes(), meant.as_bytes());
                if let Some(only) = only_step(t, m, Keyboard::Qwerty) {
                    let by_table = steps_by_table(t, m, Keyboard::Qwerty);
                    assert_eq!(&*by_table, [only], "{typed} {meant}");
                }
                for limit in [1, 2] {
                    let found = within(typed.as_bytes(), meant.as_bytes(), limit);
                    assert_eq!(found, distance <= limit, "{typed} {meant} {limit}");
                }
            }
        }
    }

    #[test]
    fn neighbouring_keys_depend_on_the_layout() {
        for (key, near) in [(b'g', "tyfhvb"), (b'q', "12wa"), (b'p', "0-ol")] {
            let touching: Vec<u8> = (b'!'..=b'~')
                .filter(|other| Keyboard::Qwerty.touch(key, *other))
                .collect();
            let mut expected = near.as_bytes().to_vec();
            expected.sort_unstable();
            assert_eq!(touching, expected, "{}", char::from(key));
        }
        assert!(Keyboard::Qwerty.touch(b'y', b't'));
        assert!(!Keyboard::Qwertz.touch(b'y', b't'));
        assert!(Keyboard::Qwertz.touch(b'z', b't'));
        assert!(Keyboard::Azerty.touch(b'a', b'z'));
        assert!(Keyboard::Dvorak.touch(b'a', b'o'));
    }
}
