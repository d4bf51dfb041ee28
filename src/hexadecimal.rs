//! Octets as lower-case hexadecimal digits: names of files, checksums, keys.

/// Returns two digits for each octet.
pub(crate) fn encode(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Returns the octets of exactly `2 * N` digits; `None` for anything else, upper case among it,
/// so that octets have one spelling.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            *octet = *octet << 4 | value(*digit)?;
        }
    }
    Some(octets)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_comes_back_and_has_one_spelling() {
        let all: [u8; 256] = std::array::from_fn(|n| n as u8);
        assert_eq!(decode(&encode(&all)), Some(all));
        assert_eq!(encode(&[0, 0x7f, 0xff]), "007fff");
        for text in ["", "0", "000", "+f", "0F", "0g", "f ", "ü"] {
            assert_eq!(decode::<1>(text), None, "{text:?}");
        }
    }
}
