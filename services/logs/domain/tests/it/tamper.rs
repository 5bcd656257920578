//! The tamper test: whatever is done to a bundle is found and named, and what nobody touched raises no alarm.
//!
//! Two attackers. An outsider has the file alone. An exporter also has the EXPORT key, so manifest and digests of what it
//! changes are right, and only links, seals and the checkpoint speak. Some things an exporter can do are no lie about the
//! run: leave a whole ledger entry out, or write documents that the trace does not bind. Those it does not try here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use runspine_logs_domain::{
    bundle::{Item, Options, Verdict, verify_bundle},
    keys::{self, Signed},
    note::Note,
};
use runspine_types::Digest;

use crate::{
    bundles::{Keys, Part, file, mesh_keys, parts},
    vector::id,
};

/// Numbers that look random and are the same every time.
pub(crate) struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// One thing that was done to a bundle.
pub(crate) struct Tampered {
    pub what: String,
    pub file: Vec<u8>,
    /// Codes of which at least one has to be found; any, where it is empty.
    pub named: &'static [&'static str],
}

/// How many tamperings are tried; the full number is 5 000.
pub(crate) fn count() -> u64 {
    std::env::var("TAMPERINGS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

pub(crate) struct World {
    pub keys: Keys,
    thief: SigningKey,
    clean: Vec<Vec<Part>>,
    foreign: Vec<Part>,
}

impl World {
    pub fn new() -> Self {
        let keys = mesh_keys();
        let clean = (1..=4).map(|steps| parts(&id("1"), steps, &keys)).collect();
        let foreign = parts(&id("2"), 2, &keys);
        Self { keys, thief: SigningKey::from_bytes(&[77; 32]), clean, foreign }
    }

    pub fn options(&self) -> Options {
        Options { trusted: self.keys.trusted(), tenant_id: Some(id("1")), against: None }
    }

    pub fn clean(&self, n: u64) -> Vec<u8> {
        let tenant = id("1");
        let parts = if n < 4 {
            self.clean[usize::try_from(n).unwrap()].clone()
        } else {
            parts(&tenant, u32::try_from(1 + n % 7).unwrap(), &self.keys)
        };
        file(&tenant, &parts, &self.keys.export)
    }

    /// Something is done to one of the bundles; `None` when the dice did nothing.
    pub fn tamper(&self, dice: &mut Dice) -> Option<Tampered> {
        let steps = dice.below(self.clean.len());
        let whole = file(&id("1"), &self.clean[steps], &self.keys.export);
        let done = match dice.below(10) {
            0 | 1 => outsider_bytes(dice, &whole),
            2..=4 => outsider_lines(dice, &whole),
            5 => self.signed_by_another(dice, &self.clean[steps]),
            6 => self.of_another_tenant(dice, &self.clean[steps]),
            _ => self.exporter(dice, &self.clean[steps]),
        }?;
        (done.file != whole).then_some(done)
    }

    /// Seal, checkpoint or manifest made anew with a key that nobody trusts.
    fn signed_by_another(&self, dice: &mut Dice, parts: &[Part]) -> Option<Tampered> {
        let mut parts = parts.to_vec();
        let (what, named): (_, &[&str]) = match dice.below(3) {
            0 => {
                let seal = parts.iter().find(|(_, item)| item.t == "seal")?.1.bytes.clone();
                let signature = parts.iter_mut().find(|(_, item)| item.t == "signature")?;
                signature.1.bytes = keys::sign(&self.thief, Signed::Seal, &seal).to_vec().into();
                ("seal", &["BAD_SIGNATURE"])
            }
            1 => {
                let note = parts.iter_mut().find(|(_, item)| item.t == "note")?;
                let text = String::from_utf8(note.1.bytes.to_vec()).ok()?;
                let checkpoint = Note::parse(&text)?.checkpoint()?;
                note.1.bytes = checkpoint.sign(&self.thief).into_bytes().into();
                ("checkpoint", &["CHECKPOINT_SIGNATURE"])
            }
            _ => {
                let file = file(&id("1"), &parts, &self.thief);
                return Some(Tampered { what: "manifest re-signed".into(), file, named: &["UNKNOWN_KEY"] });
            }
        };
        let file = file(&id("1"), &parts, &self.keys.export);
        Some(Tampered { what: format!("{what} re-signed"), file, named })
    }

    /// A section, or the whole file, of another tenant's run of the same name.
    fn of_another_tenant(&self, dice: &mut Dice, parts: &[Part]) -> Option<Tampered> {
        let sections = ["trace", "seal", "contract", "evidence", "ledger", "checkpoint", "all"];
        let section = *dice.pick(&sections);
        if section == "all" {
            let file = file(&id("2"), &self.foreign, &self.keys.export);
            return Some(Tampered { what: "another tenant's".into(), file, named: &["FOREIGN_TENANT"] });
        }
        let theirs = self.foreign.iter().filter(|(name, _)| *name == section).cloned();
        let ours = parts.iter().filter(|(name, _)| *name != section).cloned();
        let mixed: Vec<Part> = ours.chain(theirs).collect();
        let named: &[&str] = match section {
            "trace" | "ledger" | "checkpoint" => &["FOREIGN_TENANT"],
            "seal" => &["SEAL_IDS", "SEAL_LINK", "SEAL_COUNT", "EXTRA_RECORDS"],
            "contract" => &["CONTRACT_LINK"],
            _ => &["EVIDENCE_LINK"],
        };
        let file = file(&id("1"), &mixed, &self.keys.export);
        Some(Tampered { what: format!("{section} of another tenant"), file, named })
    }

    /// One item is edited, moved, copied or left out, and the manifest made and signed again.
    fn exporter(&self, dice: &mut Dice, parts: &[Part]) -> Option<Tampered> {
        let section = *dice.pick(&["trace", "trace", "seal", "contract", "evidence", "ledger", "checkpoint"]);
        let places: Vec<usize> = (0..parts.len()).filter(|n| parts[*n].0 == section).collect();
        let (at, other) = (*dice.pick(&places), *dice.pick(&places));
        let mut mixed = parts.to_vec();
        let verb = dice.below(7);
        match verb {
            0 | 1 => flip(dice, &mut mixed[at].1),
            2 => relabel(dice, &mut mixed[at].1),
            3 => mixed[at].1.link = Some(Digest([dice.below(256) as u8; 32])),
            4 if section != "seal" => mixed.swap(at, other),
            5 => mixed.insert(other, parts[at].clone()),
            _ => drop(mixed.remove(at)),
        }
        let verbs = ["edited", "edited", "relabelled", "relinked", "moved", "copied", "left out"];
        let named: &[&str] = match section {
            "trace" => &[
                "LINK_MISMATCH",
                "POSITION_GAP",
                "POSITION_ORDER",
                "SEAL_COUNT",
                "MALFORMED",
                "HEADER_IDS",
                "ATTEMPT_MISSING",
                "SEAL_LINK",
                "EXTRA_RECORDS",
            ],
            "seal" => &[
                "BAD_SIGNATURE",
                "SEAL_MISSING",
                "SEAL_IDS",
                "UNKNOWN_KEY",
                "SEAL_LINK",
                "SEAL_COUNT",
                "MALFORMED",
                "EXTRA_RECORDS",
            ],
            "contract" => &["CONTRACT_LINK", "MALFORMED"],
            "evidence" => &["EVIDENCE_LINK", "MALFORMED"],
            "ledger" => &["INCLUSION", "POSITION_ORDER", "FOREIGN_TENANT", "FOREIGN_RUN", "MALFORMED"],
            _ => &["CHECKPOINT_SIGNATURE", "CHECKPOINT_MISSING", "FOREIGN_TENANT", "MALFORMED"],
        };
        let file = file(&id("1"), &mixed, &self.keys.export);
        Some(Tampered { what: format!("{section} item {at} {} by the exporter", verbs[verb]), file, named })
    }
}

fn flip(dice: &mut Dice, item: &mut Item) {
    let mut bytes = item.bytes.to_vec();
    let at = dice.below(bytes.len());
    bytes[at] ^= 1 << dice.below(8);
    item.bytes = Bytes::from(bytes);
}

fn relabel(dice: &mut Dice, item: &mut Item) {
    match dice.below(3) {
        0 => item.t.push('x'),
        1 => item.attempt = item.attempt.map_or(Some(1), |attempt| Some(attempt + 1)),
        _ => item.addendum = item.addendum.map_or(Some(1), |addendum| Some(addendum + 1)),
    }
}

/// A bit, or everything from a byte on.
fn outsider_bytes(dice: &mut Dice, whole: &[u8]) -> Option<Tampered> {
    let (mut file, at) = (whole.to_vec(), dice.below(whole.len()));
    let what = if dice.below(4) == 0 {
        file.truncate(at);
        format!("cut at byte {at}")
    } else {
        file[at] ^= 1 << dice.below(8);
        format!("bit of byte {at}")
    };
    Some(Tampered { what, file, named: &[] })
}

/// Whole lines: edited inside, swapped, copied, left out, cut; with their numbers put right or not.
fn outsider_lines(dice: &mut Dice, whole: &[u8]) -> Option<Tampered> {
    let text = std::str::from_utf8(whole).ok()?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (at, other) = (dice.below(lines.len()), dice.below(lines.len()));
    let verb = dice.below(6);
    match verb {
        0 | 1 => lines[at] = edited(dice, &lines[at])?,
        2 => lines.swap(at, other),
        3 => lines.insert(other, lines[at].clone()),
        4 => drop(lines.remove(at)),
        _ => lines.truncate(at),
    }
    if dice.below(2) == 0 {
        renumber(&mut lines)?;
    }
    let verbs = ["edited", "edited", "moved", "copied", "left out", "cut"];
    let file = lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    Some(Tampered { what: format!("line {at} {}", verbs[verb]), file, named: &[] })
}

/// The line with one bit of its content changed.
fn edited(dice: &mut Dice, line: &str) -> Option<String> {
    let (before, rest) = line.split_once(r#""b":""#)?;
    let (content, after) = rest.split_once('"')?;
    let mut bytes = STANDARD.decode(content).ok()?;
    let at = dice.below(bytes.len());
    bytes[at] ^= 1 << dice.below(8);
    Some(format!(r#"{before}"b":"{}"{after}"#, STANDARD.encode(bytes)))
}

/// Gives every line the number that its place asks for.
fn renumber(lines: &mut [String]) -> Option<()> {
    let (mut section, mut n) = (String::new(), 0);
    let count = lines.len();
    for line in lines.iter_mut() {
        let (head, rest) = line.split_once(r#","n":"#)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        n = if head == section { n + 1 } else { 0 };
        section = head.to_owned();
        let number = if head.contains(r#""end""#) { count } else { n };
        *line = format!(r#"{head},"n":{number}{}"#, &rest[digits..]);
    }
    Some(())
}

#[test]
fn every_tampering_is_found_and_named() {
    let (world, mut dice, mut tried) = (World::new(), Dice::new(1), 0);
    let options = world.options();
    while tried < count() {
        let Some(done) = world.tamper(&mut dice) else { continue };
        tried += 1;
        let report = verify_bundle(done.file.as_slice(), &options).unwrap();
        let codes: Vec<_> = report.findings.iter().filter(|f| !f.warning).map(|f| f.code).collect();
        assert_eq!(report.verdict, Verdict::Failed, "{tried}: {} was not found", done.what);
        let named = done.named.is_empty() || codes.iter().any(|code| done.named.contains(code));
        assert!(named && !codes.is_empty(), "{tried}: {} was called {codes:?}", done.what);
    }
}

#[test]
fn what_nobody_touched_raises_no_alarm() {
    let world = World::new();
    let options = world.options();
    for n in 0..count() {
        let report = verify_bundle(world.clean(n).as_slice(), &options).unwrap();
        assert_eq!(report.verdict, Verdict::Verified, "{n}: {:?}", report.findings);
        assert!(report.findings.is_empty(), "{n}: {:?}", report.findings);
    }
}

#[test]
fn a_second_manifest_or_signature_is_one_too_many() {
    let world = World::new();
    let whole = String::from_utf8(world.clean(1)).unwrap();
    for at in [0, 1] {
        let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        lines.insert(at + 1, lines[at].clone());
        renumber(&mut lines).unwrap();
        let file: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let report = verify_bundle(file.as_bytes(), &world.options()).unwrap();
        assert_eq!(report.verdict, Verdict::Failed, "line {at} twice");
    }
}
