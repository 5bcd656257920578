//! Numbers that carry their own check.

use std::ops::Range;

/// Digits of a payment card.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// The Luhn check.
fn luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(n, digit)| {
            let digit = u32::from(digit - b'0');
            let doubled = digit * 2;
            if n % 2 == 0 { digit } else { doubled / 10 + doubled % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Where cards stand in `run`, a text of digits with single spaces or hyphens between some of them. A card begins and
/// ends where a group of digits does, so that a number beside it hides none.
pub fn cards(run: &str) -> Vec<Range<usize>> {
    let bytes = run.as_bytes();
    let mut groups: Vec<Range<usize>> = Vec::new();
    for at in (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()) {
        match groups.last_mut() {
            Some(group) if group.end == at => group.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        match card_from(bytes, &groups[first..]) {
            Some(groups_used) => {
                found.push(groups[first].start..groups[first + groups_used - 1].end);
                first += groups_used;
            }
            None => first += 1,
        }
    }
    found
}

/// How many groups, from the first on, are one card: the most that fit.
fn card_from(bytes: &[u8], groups: &[Range<usize>]) -> Option<usize> {
    let mut digits = 0;
    let mut best = None;
    for (n, group) in groups.iter().enumerate() {
        digits += group.len();
        if digits > *CARD_DIGITS.end() {
            break;
        }
        let span = &bytes[groups[0].start..group.end];
        if CARD_DIGITS.contains(&digits) && luhn(span.iter().copied().filter(u8::is_ascii_digit)) {
            best = Some(n + 1);
        }
    }
    best
}

/// Length of the bank account that `text` begins with, single spaces included: the longest that passes its check.
pub fn iban(text: &str) -> Option<usize> {
    let mut end = text.len();
    loop {
        let compact: Vec<u8> = text[..end].bytes().filter(|b| *b != b' ').collect();
        if (15..=34).contains(&compact.len()) && mod_97(&compact) == 1 {
            return Some(end);
        }
        // What follows after a space may be another word.
        end = text[..end].rfind(' ')?;
    }
}

fn mod_97(compact: &[u8]) -> u32 {
    compact[4..].iter().chain(&compact[..4]).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}

/// Whether `text`, of the form `ddd-dd-dddd`, is in an area that was ever given out.
pub fn ssn(text: &str) -> bool {
    let area = &text[..3];
    area != "000" && area != "666" && !area.starts_with('9')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_beside_other_numbers() {
        assert_eq!(cards("4111111111111111").first(), Some(&(0..16)));
        assert_eq!(cards("12 4111 1111 1111 1111 99").first(), Some(&(3..22)));
        assert!(cards("4111111111111112").is_empty());
        assert!(cards("41111111111111111111111").is_empty(), "longer than any card");
        assert_eq!(cards("4111-1111-1111-1111 5500-0000-0000-0004"), [0..19, 20..39]);
    }

    #[test]
    fn accounts_pass_their_check() {
        assert_eq!(iban("DE89370400440532013000"), Some(22));
        assert_eq!(iban("DE89 3704 0044 0532 0130 00 AND MORE"), Some(27));
        assert_eq!(iban("DE88370400440532013000"), None);
        assert!(ssn("123-45-6789") && !ssn("000-45-6789") && !ssn("912-45-6789") && !ssn("666-45-6789"));
    }
}
