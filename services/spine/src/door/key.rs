//! API keys: `rsk_<live|test>_<handle>_<secret><check>`.
//!
//! The handle names the key and is public; the secret is 32 random bytes, so its plain SHA-256 can't be searched; the
//! check lets a mistyped key be told from an unknown one without a look-up.

use runspine_types::{Digest, Hasher};

const HANDLE: usize = 12;
const SECRET: usize = 43;
const CHECK: usize = 6;
const HANDLE_LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SECRET_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const CHECK_LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random bytes that a new key is made of.
pub const RANDOM: usize = HANDLE + 32;

/// A key as it was presented, taken apart. The secret part is never kept or printed.
pub struct Presented<'a> {
    /// Names the key.
    pub handle: &'a str,
    secret: &'a str,
}

impl Presented<'_> {
    /// What is stored of the secret.
    pub fn hash(&self) -> Digest {
        hash(self.secret)
    }
}

fn hash(secret: &str) -> Digest {
    Hasher::new("runspine.api-key.v1").sized(secret.as_bytes()).finish()
}

/// Takes a key apart; `None` when it is malformed or its check is wrong.
pub fn parse(key: &str) -> Option<Presented<'_>> {
    let rest = key.strip_prefix("rsk_live_").or_else(|| key.strip_prefix("rsk_test_"))?;
    if rest.len() != HANDLE + 1 + SECRET + CHECK || !rest.is_ascii() {
        return None;
    }
    let (body, check) = key.split_at(key.len() - CHECK);
    if check.as_bytes() != check_of(body) {
        return None;
    }
    let (handle, secret) = (&rest[..HANDLE], &rest[HANDLE + 1..HANDLE + 1 + SECRET]);
    let handled = handle.bytes().all(|b| HANDLE_LETTERS.contains(&b)) && rest.as_bytes()[HANDLE] == b'_';
    (handled && secret.bytes().all(|b| SECRET_LETTERS.contains(&b))).then_some(Presented { handle, secret })
}

/// A new key from random bytes: its text, handle and hash.
pub fn make(random: &[u8; RANDOM]) -> (String, String, Digest) {
    let (for_handle, for_secret) = random.split_at(HANDLE);
    let handle: String = for_handle.iter().map(|b| char::from(HANDLE_LETTERS[usize::from(b % 32)])).collect();
    let secret = base64url(for_secret);
    let body = format!("rsk_test_{handle}_{secret}");
    let check = check_of(&body).iter().copied().map(char::from).collect::<String>();
    (format!("{body}{check}"), handle, hash(&secret))
}

fn base64url(bytes: &[u8]) -> String {
    let letter = |six: u32| char::from(SECRET_LETTERS[(six & 63) as usize]);
    let mut out = String::with_capacity(SECRET);
    for chunk in bytes.chunks(3) {
        let three = chunk.iter().fold(0u32, |sum, b| sum << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(letter(three >> (18 - 6 * place)));
        }
    }
    out
}

fn check_of(body: &str) -> [u8; CHECK] {
    let mut rest = crc32(body.as_bytes());
    let mut out = [b'0'; CHECK];
    for place in out.iter_mut().rev() {
        *place = CHECK_LETTERS[(rest % 62) as usize];
        rest /= 62;
    }
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_read_again() {
        let (text, handle, hash) = make(&[7; RANDOM]);
        let presented = parse(&text).unwrap();
        assert_eq!(presented.handle, handle);
        assert_eq!(presented.hash(), hash);
        assert_eq!(text.len(), "rsk_test_".len() + 12 + 1 + 43 + 6);
    }

    #[test]
    fn one_wrong_character_is_found_by_the_check() {
        let (text, ..) = make(&[9; RANDOM]);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed == text || parse(&changed).is_none(), "{changed}");
        }
        assert!(parse("").is_none() && parse("rsk_test_").is_none() && parse(&text[1..]).is_none());
    }

    #[test]
    fn the_checksum_is_the_usual_crc32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
