//! Text inside text: what stands there in base64, hex, percent or backslash escapes is looked at as well.

use std::{ops::Range, sync::LazyLock};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use regex::Regex;

/// Kinds of pieces that may hold text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `%41`.
    Percent,
    /// Base64 of either alphabet, over several lines too, or hex.
    Letters,
}

/// Finds pieces.
pub struct Finder {
    percent: Regex,
    letters: Regex,
}

/// Shortest piece in letters: nothing shorter holds anything that a pattern finds.
const LETTERS: &str = r"[A-Za-z0-9+/_-]{10,}(?:\r?\n[A-Za-z0-9+/_-]{2,})*={0,2}";
const PERCENT: &str = r#"[^\s"'<>]*%[0-9A-Fa-f]{2}[^\s"'<>]*"#;

impl Finder {
    /// The finder; `None` when a pattern is wrong, which a test rules out.
    pub fn get() -> Option<&'static Self> {
        static FINDER: LazyLock<Option<Finder>> = LazyLock::new(|| {
            Some(Finder { percent: Regex::new(PERCENT).ok()?, letters: Regex::new(LETTERS).ok()? })
        });
        FINDER.as_ref()
    }

    /// Where pieces of `coding` stand.
    pub fn pieces(&self, text: &str, coding: Coding) -> Vec<Range<usize>> {
        let regex = match coding {
            // The patterns are slow on text that has none of it.
            Coding::Percent if !text.contains('%') => return Vec::new(),
            Coding::Percent => &self.percent,
            Coding::Letters => &self.letters,
        };
        regex.find_iter(text).map(|found| found.range()).collect()
    }
}

/// What `piece` may stand for, the likeliest first.
pub fn decoded(piece: &str, coding: Coding) -> Vec<String> {
    match coding {
        Coding::Percent => percent(piece),
        Coding::Letters => letters(piece),
    }
}

fn percent(piece: &str) -> Vec<String> {
    let bytes = piece.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| hex::decode(digits).ok())
            .and_then(|byte| byte.first().copied());
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    let plain = String::from_utf8_lossy(&out).into_owned();
    // Forms write a space as a plus.
    let form = plain.contains('+').then(|| plain.replace('+', " "));
    std::iter::once(plain).chain(form).collect()
}

/// Text may begin anywhere in a piece: what stands before it may be of the same alphabet.
fn letters(piece: &str) -> Vec<String> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
    let fold = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let body: Vec<u8> = piece.bytes().filter(|b| !matches!(b, b'\r' | b'\n' | b'=')).map(fold).collect();
    let mut found = Vec::new();
    for offset in 0..4.min(body.len()) {
        let part = &body[offset..];
        // One letter too many holds no byte.
        let whole = if part.len() % 4 == 1 { &part[..part.len() - 1] } else { part };
        found.extend(engine.decode(whole).ok().and_then(readable));
    }
    if piece.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'\r' | b'\n')) {
        for offset in 0..2.min(body.len()) {
            let part = &body[offset..];
            let even = &part[..part.len() - part.len() % 2];
            found.extend(hex::decode(even).ok().and_then(readable));
        }
    }
    found
}

/// Bytes as text, when at least half of them can be read.
fn readable(bytes: Vec<u8>) -> Option<String> {
    let plain = bytes.iter().filter(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()).count();
    if plain * 2 < bytes.len() {
        // Text of another script is no ASCII.
        return String::from_utf8(bytes).ok();
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// `text` with its backslash escapes taken for what they stand for; `None` when it has none.
pub fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let digits = match kind {
            'u' => 4,
            'x' => 2,
            _ => 0,
        };
        let code = rest.get(1..=digits).filter(|_| digits > 0);
        let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match (kind, code.and_then(char::from_u32)) {
            (_, Some(c)) => {
                out.push(c);
                rest = &rest[1 + digits..];
                continue;
            }
            ('n' | 'r' | 't' | 'b' | 'f', _) => out.push(' '),
            (other, None) => out.push(other),
        }
        rest = &rest[kind.len_utf8()..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_and_read() {
        let finder = Finder::get().expect("the patterns compile");
        let text = "to=jane%40example.com and amFuZUBleGFtcGxlLmNvbQ==";
        let pieces = finder.pieces(text, Coding::Percent);
        assert_eq!(decoded(&text[pieces[0].clone()], Coding::Percent), ["to=jane@example.com"]);
        let pieces = finder.pieces(text, Coding::Letters);
        assert!(decoded(&text[pieces[0].clone()], Coding::Letters).contains(&"jane@example.com".to_owned()));
        assert!(
            decoded("6a616e65406578616d706c652e636f6d", Coding::Letters).contains(&"jane@example.com".into())
        );
        let shifted = decoded("xxamFuZUBleGFtcGxlLmNvbQ", Coding::Letters);
        assert!(shifted.iter().any(|t| t.contains("jane@example.com")), "{shifted:?}");
        assert_eq!(unescaped(r#"\"jane\u0040x.org\" \n\\"#).as_deref(), Some("\"jane@x.org\"  \\"));
        assert_eq!(unescaped("ends with \\").as_deref(), Some("ends with \\"));
    }
}
