//! The letters of the fonts that every PDF reader has (WinAnsiEncoding), and what stands for those that they lack.

/// What the encoding has between Latin-1's two halves, from 0x80 on; a zero is no letter.
const MIDDLE: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘', '’', '“',
    '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

/// A text in the encoding, and whether something in it had no letter: that stands as `\u{1F600}`.
#[must_use]
pub fn encoded(text: &str) -> (Vec<u8>, bool) {
    let (mut out, mut lacks) = (Vec::with_capacity(text.len()), false);
    for character in text.chars() {
        if let Some(letter) = letter(character) {
            out.push(letter);
        } else {
            lacks = true;
            out.extend(character.escape_unicode().map(|escaped| escaped as u8));
        }
    }
    (out, lacks)
}

fn letter(character: char) -> Option<u8> {
    match character {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(character)).ok(),
        '\0' => None,
        _ => {
            let at = MIDDLE.iter().position(|known| *known == character)?;
            u8::try_from(0x80 + at).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_letter_is_one_and_nothing_vanishes() {
        assert_eq!(encoded("Zoë — 5 €"), (b"Zo\xeb \x97 5 \x80".to_vec(), false));
        for lacked in ["\u{1F600}", "\u{0}", "\u{7}", "\u{81}", "日"] {
            let (out, lacks) = encoded(lacked);
            assert!(lacks && out.starts_with(b"\\u{") && out.ends_with(b"}"), "{lacked:?} {out:?}");
        }
        assert_eq!(encoded("\u{1F600}").0, b"\\u{1f600}");
        for code in 0..=0x2_ffff_u32 {
            let Some(character) = char::from_u32(code) else { continue };
            let (out, lacks) = encoded(&character.to_string());
            assert_eq!(lacks, out.len() > 1, "{code:x}");
            assert!(!out.is_empty());
        }
    }
}
