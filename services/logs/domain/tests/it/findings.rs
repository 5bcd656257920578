//! What is done to a bundle, what it is called, where it is and with which code `runspine verify` ends: row by row of the
//! format's table. The second verifier comes to the same verdict.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts_common::common::v1::ContractVerdict;
use contracts_logs::v1::{self as pb, BundleMissingStatus};
use ed25519_dalek::SigningKey;
use prost::Message as _;
use runspine_logs_domain::{
    bundle::{Builder, Head, Options, Report, Verdict, verify_bundle},
    bytes::encode,
    chain,
    keys::{self, Signed, key_id},
    note::Note,
};
use runspine_types::{Micros, hash};

use crate::{
    bundles::{Keys, Ledger, Part, file, mesh_keys, parts},
    second::Second,
    vector::id,
};

/// A damaged file and what is to be found in it: codes, each with a part of its place.
struct Damaged {
    what: &'static str,
    file: Vec<u8>,
    found: Vec<(&'static str, String)>,
    verdict: Verdict,
}

/// Collects damages of one clean bundle.
struct Table {
    keys: Keys,
    parts: Vec<Part>,
    rows: Vec<Damaged>,
}

fn thief() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

/// The place of the `n`th item of a section among all parts.
fn at(parts: &[Part], section: &str, n: usize) -> usize {
    let mut places = parts.iter().enumerate().filter(|(_, (name, _))| *name == section);
    places.nth(n).unwrap().0
}

impl Table {
    fn new() -> Self {
        let keys = mesh_keys();
        let parts = parts(&id("1"), 2, &keys);
        Self { keys, parts, rows: Vec::new() }
    }

    fn row(&mut self, what: &'static str, file: Vec<u8>, found: &[(&'static str, &str)]) {
        let found = found.iter().map(|(code, at)| (*code, (*at).to_owned())).collect();
        self.rows.push(Damaged { what, file, found, verdict: Verdict::Failed });
    }

    /// Somebody without any key changes the bytes of the `n`th item of a section.
    fn outsider(
        &mut self,
        what: &'static str,
        (section, n): (&str, usize),
        change: impl Fn(&mut Vec<u8>),
        found: &[(&'static str, &str)],
    ) {
        let head = format!(r#"{{"s":"{section}","n":{n},"#);
        let file = self.lines(|line| line.starts_with(&head).then(|| vec![edited(line, &change)]));
        self.row(what, file, found);
    }

    /// The clean file, with other lines in the place of those for which `other` gives any.
    fn lines(&self, other: impl Fn(&str) -> Option<Vec<String>>) -> Vec<u8> {
        let clean = self.clean();
        let lines = std::str::from_utf8(&clean).unwrap().lines();
        let kept = lines.flat_map(|line| other(line).unwrap_or_else(|| vec![line.to_owned()]));
        kept.map(|line| format!("{line}\n")).collect::<String>().into_bytes()
    }

    fn clean(&self) -> Vec<u8> {
        file(&id("1"), &self.parts, &self.keys.export)
    }

    /// Somebody with the EXPORT key makes the file of other parts.
    fn exporter(
        &mut self,
        what: &'static str,
        change: impl FnOnce(&mut Vec<Part>),
        found: &[(&'static str, &str)],
    ) {
        let mut parts = self.parts.clone();
        change(&mut parts);
        let file = file(&id("1"), &parts, &self.keys.export);
        self.row(what, file, found);
    }
}

/// The line with other bytes in it.
fn edited(line: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let (before, rest) = line.split_once(r#""b":""#).unwrap();
    let (content, after) = rest.split_once('"').unwrap();
    let mut bytes = STANDARD.decode(content).unwrap();
    change(&mut bytes);
    format!(r#"{before}"b":"{}"{after}"#, STANDARD.encode(bytes))
}

/// Writes `new` over the first `old`.
fn over(old: &'static str, new: &'static str) -> impl Fn(&mut Vec<u8>) {
    assert_eq!(old.len(), new.len());
    move |bytes| {
        let place = bytes.windows(old.len()).position(|window| window == old.as_bytes()).expect(old);
        bytes[place..place + new.len()].copy_from_slice(new.as_bytes());
    }
}

fn change_part(parts: &mut [Part], section: &str, n: usize, change: impl Fn(&mut Vec<u8>)) {
    let place = at(parts, section, n);
    let mut bytes = parts[place].1.bytes.to_vec();
    change(&mut bytes);
    parts[place].1.bytes = bytes.into();
}

/// Computes the links of the trace anew, from the record at `first` up to and without that at `end`.
fn relink(parts: &mut [Part], first: usize, end: usize) {
    for n in first..end {
        let before = parts[at(parts, "trace", n - 1)].1.link.unwrap();
        let place = at(parts, "trace", n);
        parts[place].1.link = Some(chain::trace_link(&before, &parts[place].1.bytes));
    }
}

/// Seals anew: `change` says how, `key` signs.
fn reseal(parts: &mut [Part], change: impl Fn(&mut pb::TraceSeal), key: &SigningKey) {
    let place = at(parts, "seal", 0);
    let mut seal = pb::TraceSeal::decode(parts[place].1.bytes.as_ref()).unwrap();
    change(&mut seal);
    let bytes = encode(&seal);
    parts[place + 1].1.bytes = keys::sign(key, Signed::Seal, &bytes).to_vec().into();
    parts[place].1.bytes = bytes.into();
}

fn report(file: &[u8], options: &Options) -> Report {
    verify_bundle(file, options).unwrap()
}

fn assert_found(damaged: &Damaged, options: &Options) {
    let Damaged { what, file, found, verdict } = damaged;
    let told = report(file, options);
    assert_eq!(told.verdict, *verdict, "{what}: {:?}", told.findings);
    for (code, place) in found {
        let named = told.findings.iter().any(|f| f.code == *code && f.at.contains(place.as_str()));
        assert!(named, "{what}: no {code} at {place:?} in {:?}", told.findings);
    }
}

fn records(table: &mut Table) {
    let (digest, link) = (("SECTION_DIGEST", "trace"), "LINK_MISMATCH");
    let key = over("req-2", "req-9");
    table.outsider("a record edited", ("trace", 2), &key, &[digest, (link, "attempt 1 position 2")]);
    let agent = over("agent-7", "agent-8");
    table.outsider("the header edited", ("trace", 0), &agent, &[digest, (link, "attempt 1 position 0")]);
    table.exporter(
        "a record and its own link edited",
        |parts| {
            change_part(parts, "trace", 2, &key);
            relink(parts, 2, 3);
        },
        &[(link, "attempt 1 position 3")],
    );
    table.exporter(
        "the chain rewritten to its end",
        |parts| {
            change_part(parts, "trace", 2, &key);
            relink(parts, 2, 5);
        },
        &[("SEAL_LINK", "attempt 1")],
    );
    table.exporter(
        "two records swapped",
        |parts| {
            let (one, other) = (at(parts, "trace", 1), at(parts, "trace", 2));
            parts.swap(one, other);
        },
        &[("POSITION_ORDER", "attempt 1 position 1")],
    );
    table.exporter(
        "a record doubled",
        |parts| {
            let place = at(parts, "trace", 2);
            parts.insert(place, parts[place].clone());
        },
        &[("POSITION_ORDER", "attempt 1 position 3")],
    );
    table.exporter(
        "a record left out in the middle",
        |parts| drop(parts.remove(at(parts, "trace", 2))),
        &[("POSITION_GAP", "attempt 1 position 2")],
    );
    table.exporter(
        "the last record left out",
        |parts| drop(parts.remove(at(parts, "trace", 4))),
        &[("SEAL_COUNT", "attempt 1 position 4")],
    );
}

fn seals(table: &mut Table) {
    let seal_key = table.keys.seal.clone();
    let moved = |seal: &mut pb::TraceSeal| seal.last_link = vec![7; 32].into();
    table.exporter("a seal edited", |parts| reseal(parts, moved, &seal_key), &[("SEAL_LINK", "attempt 1")]);
    let same = |_: &mut pb::TraceSeal| {};
    let forged = [("BAD_SIGNATURE", "attempt 1")];
    table.exporter("a seal made without the key", |parts| reseal(parts, same, &thief()), &forged);
    let named = |seal: &mut pb::TraceSeal| seal.key_id = key_id(thief().verifying_key().as_bytes());
    let unknown = [("UNKNOWN_KEY", "attempt 1")];
    table.exporter("a seal by another key", |parts| reseal(parts, named, &thief()), &unknown);
    let unsealed = table.lines(|line| line.starts_with(r#"{"s":"seal""#).then(Vec::new));
    let found = [("SECTION_DIGEST", "seal"), ("SEAL_MISSING", "attempt 1")];
    table.row("the seal removed", unsealed, &found);
    let other = |seal: &mut pb::TraceSeal| seal.contract_status = ContractVerdict::Incomplete.into();
    let verdict = [("CONTRACT_VERDICT", "attempt 1")];
    table.exporter("a verdict other than the sealed one", |parts| reseal(parts, other, &seal_key), &verdict);
    let second = |parts: &mut Vec<Part>| {
        let of_trace = |section: &str| ["trace", "seal"].contains(&section);
        parts.iter_mut().filter(|(section, _)| of_trace(section)).for_each(|part| part.1.attempt = Some(2));
    };
    table.exporter("an attempt dropped", second, &[("ATTEMPT_MISSING", "before attempt 2")]);
}

fn documents(table: &mut Table) {
    let decided = id("d0");
    let place = decided.as_str();
    let verdict = over("ALLOW", "DENY!");
    let found = [("SECTION_DIGEST", "decision"), ("DECISION_DIGEST", place)];
    table.outsider("a decision edited", ("decision", 0), verdict, &found);
    let row = |parts: &mut Vec<Part>, row: String| {
        let place = at(parts, "decision", 0);
        parts[place].1.bytes = row.into_bytes().into();
    };
    let text =
        format!(r#"{{"decision_id":"{decided}","reasons":[{{"source_id":"rule-9"}}],"verdict":"ALLOW"}}"#);
    let differs = [("DECISION_DIGEST", place)];
    table.exporter("a decision for another rule", |parts| row(parts, text), &differs);
    let without = |parts: &mut Vec<Part>| drop(parts.remove(at(parts, "decision", 0)));
    table.exporter("a decision left out", without, &[("DECISION_MISSING", place)]);
    let action = over("finalize_run", "finalize_ruN");
    let found = [("SECTION_DIGEST", "contract"), ("CONTRACT_LINK", "attempt 1")];
    table.outsider("an entry of the contract edited", ("contract", 1), action, &found);
    let machine = over("machine", "mAchine");
    let found = [("SECTION_DIGEST", "evidence"), ("EVIDENCE_LINK", "attempt 1")];
    table.outsider("evidence edited", ("evidence", 0), machine, &found);
}

fn ledger(table: &mut Table) {
    let sealed = over("logs.TraceSealed", "logs.TraceSealeD");
    let found = [("INCLUSION", "ledger entry 2")];
    table.exporter("a ledger entry edited", |parts| change_part(parts, "ledger", 0, &sealed), &found);
    let resigned = |parts: &mut Vec<Part>| {
        let place = at(parts, "checkpoint", 0);
        let text = String::from_utf8(parts[place].1.bytes.to_vec()).unwrap();
        let checkpoint = Note::parse(&text).unwrap().checkpoint().unwrap();
        parts[place].1.bytes = checkpoint.sign(&thief()).into_bytes().into();
    };
    table.exporter("a checkpoint badly signed", resigned, &[("CHECKPOINT_SIGNATURE", "")]);
}

fn strangers(table: &mut Table) {
    let foreign = parts(&id("2"), 2, &table.keys);
    let taken = |section: &'static str| {
        let theirs = foreign.clone();
        move |parts: &mut Vec<Part>| {
            parts.retain(|(name, _)| *name != section);
            parts.extend(theirs.into_iter().filter(|(name, _)| *name == section));
        }
    };
    table.exporter("another tenant's trace", taken("trace"), &[("FOREIGN_TENANT", "attempt 1")]);
    table.exporter("another tenant's entries", taken("ledger"), &[("FOREIGN_TENANT", "ledger entry 2")]);
    let (ours, theirs) = (id("aa"), id("ab"));
    let of_another = move |bytes: &mut Vec<u8>| {
        let header = pb::TraceHeader::decode(bytes.as_slice()).unwrap();
        assert_eq!(header.run_id, ours);
        *bytes = encode(&pb::TraceHeader { run_id: theirs.clone(), ..header });
    };
    let foreign = [("FOREIGN_RUN", "attempt 1")];
    table.exporter("a trace of another run", |parts| change_part(parts, "trace", 0, of_another), &foreign);
}

/// What is done to a line.
type Spoil = fn(&str) -> String;

fn forms(table: &mut Table) {
    let clean = table.clean();
    table.row("the file cut", clean[..clean.len() / 2].to_vec(), &[("TRUNCATED_FILE", "")]);
    let end = table.lines(|line| line.starts_with(r#"{"s":"end""#).then(Vec::new));
    table.row("the last line cut", end, &[("TRUNCATED_FILE", "")]);
    let who = over("auditor", "auditoR");
    table.outsider("the manifest changed", ("manifest", 0), who, &[("MANIFEST_SIGNATURE", "")]);
    let spoilt: [(&str, Spoil); 4] = [
        ("no JSON", |line| line.replacen('{', "", 1)),
        ("no base64", |line| line.replacen(r#""b":""#, r#""b":"*"#, 1)),
        ("a key twice", |line| line.replacen(r#"{"s":"schema""#, r#"{"s":"schema","s":"schema""#, 1)),
        ("an unknown section", |line| line.replacen("schema", "scheme", 1)),
    ];
    for (what, spoil) in spoilt {
        let schema = |line: &str| line.starts_with(r#"{"s":"schema""#).then(|| vec![spoil(line)]);
        let file = table.lines(schema);
        table.row(what, file, &[("MALFORMED", "line 3")]);
    }
}

/// The clean file, with the manifest as somebody else would have written it; `key` signs it.
fn of_format(table: &Table, format: u32, key: &SigningKey) -> Vec<u8> {
    let clean = table.clean();
    let first = std::str::from_utf8(&clean).unwrap().lines().next().unwrap().to_owned();
    let line = edited(&first, |bytes| {
        let read = pb::BundleManifest::decode(bytes.as_slice()).unwrap();
        *bytes = encode(&pb::BundleManifest { format, ..read });
    });
    let content = line.split_once(r#""b":""#).unwrap().1.split_once('"').unwrap().0;
    let manifest = STANDARD.decode(content).unwrap();
    let signature = keys::sign(key, Signed::Bundle, &manifest);
    table.lines(|old| match old {
        old if old == first => Some(vec![line.clone()]),
        old if old.starts_with(r#"{"s":"manifest_signature""#) => {
            Some(vec![edited(old, |bytes| *bytes = signature.to_vec())])
        }
        _ => None,
    })
}

/// The file of an open trace, as its manifest says.
fn open(table: &Table) -> Vec<u8> {
    let mut builder = Builder::new(Head {
        bundle_id: id("b1"),
        tenant_id: id("1"),
        run_id: id("aa"),
        created_at: Micros(1),
        created_by: "auditor".into(),
        exporter: "test".into(),
        reason: String::new(),
    });
    for (section, item) in table.parts.iter().filter(|(section, _)| *section != "seal") {
        builder.push(section, item.clone());
    }
    builder.missing("seal", BundleMissingStatus::Absent, "attempt 1 is open");
    let sign = |manifest: &[u8]| {
        let key = &table.keys.export;
        Ok::<_, ()>((key_id(key.verifying_key().as_bytes()), keys::sign(key, Signed::Bundle, manifest)))
    };
    builder.finish(sign).unwrap().flatten().collect()
}

#[test]
fn every_damage_has_its_name_its_place_and_its_exit_code() {
    let mut table = Table::new();
    for rows in [records, seals, documents, ledger, strangers, forms] {
        rows(&mut table);
    }
    let verdicts = [
        ("the clean file", table.clean(), Verdict::Verified, vec![]),
        ("an open trace", open(&table), Verdict::Unsealed, vec![("UNSEALED", "attempt 1".to_owned())]),
        (
            "a newer format",
            of_format(&table, 2, &table.keys.export),
            Verdict::Unsupported,
            vec![("BUNDLE_FORMAT_NEWER", "format 2, known 1".to_owned())],
        ),
        (
            "a newer format, as somebody else says",
            of_format(&table, 2, &thief()),
            Verdict::Failed,
            vec![("BUNDLE_FORMAT_NEWER", String::new()), ("MANIFEST_SIGNATURE", String::new())],
        ),
    ];
    let row = |(what, file, verdict, found)| Damaged { what, file, found, verdict };
    table.rows.extend(verdicts.map(row));
    let options = Options { trusted: table.keys.trusted(), tenant_id: Some(id("1")), against: None };
    assert_eq!(table.rows.len(), 35, "a row is missing");
    table.rows.iter().for_each(|damaged| assert_found(damaged, &options));
    let tenant = id("1");
    let second = Second::start(&options.trusted, &["--tenant".as_ref(), tenant.as_ref()]);
    let said = second.verdicts(table.rows.iter().map(|damaged| damaged.file.clone()).collect());
    assert_eq!(said.len(), table.rows.len());
    for (damaged, said) in table.rows.iter().zip(said) {
        let word = said.split(' ').next().unwrap_or_default();
        assert_eq!(word, damaged.verdict.word(), "{}: {said}", damaged.what);
    }
}

/// What depends on what the caller knows.
#[test]
fn a_clean_file_is_judged_by_what_the_caller_holds() {
    let table = Table::new();
    let clean = table.clean();
    let damaged = |what, verdict, code, place: &str| Damaged {
        what,
        file: clean.clone(),
        found: vec![(code, place.to_owned())],
        verdict,
    };
    let trusted = table.keys.trusted();
    assert_found(&damaged("nobody is trusted", Verdict::Untrusted, "UNTRUSTED_KEY", ""), &Options::default());
    let newer = of_format(&table, 2, &thief());
    assert_eq!(report(&newer, &Options::default()).verdict, Verdict::Unsupported, "nobody vouches for more");
    let stranger = Options { tenant_id: Some(id("2")), trusted: trusted.clone(), against: None };
    assert_found(&damaged("another tenant", Verdict::Failed, "FOREIGN_TENANT", "manifest"), &stranger);
    let forked = Ledger::of(&id("1"), hash(b"another seal")).held(6, &table.keys);
    let fork = Options { against: Some(forked), trusted, tenant_id: None };
    assert_found(&damaged("another log", Verdict::Failed, "CHECKPOINT_FORK", ""), &fork);
    let codes = [
        (Verdict::Verified, 0),
        (Verdict::Failed, 1),
        (Verdict::Unsupported, 2),
        (Verdict::Untrusted, 3),
        (Verdict::Unsealed, 4),
    ];
    assert!(codes.iter().all(|(verdict, code)| verdict.exit_code() == *code));
}
