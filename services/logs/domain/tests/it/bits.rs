//! Every bit of every byte string of the worked vector, flipped: the proof is never VERIFIED again.

use std::collections::HashMap;

use contracts_logs::v1::{ProofStatus, TraceProof};
use runspine_logs_domain::{
    chain,
    keys::key_id,
    proof::{KeyStanding, Previous, Prover, SealCheck, StoredRecord, TraceKey},
};
use runspine_types::Digest;

use crate::vector::{expected, id};

/// The byte strings that a proof is made of. The others of the vector are digests that follow from them.
const STRINGS: [&str; 11] = [
    "header",
    "link_0",
    "record_1",
    "link_1",
    "record_2",
    "link_2",
    "entry_1",
    "entry_2",
    "seal",
    "signature",
    "public_key",
];

/// The proof of a trace that is stored as these bytes.
fn prove(stored: &HashMap<&'static str, Vec<u8>>) -> TraceProof {
    let digest = |name: &str| Digest::from_slice(&stored[name]).unwrap();
    let key = TraceKey { tenant_id: id("1"), run_id: id("aa"), attempt: 1, addendum: 0 };
    let mut prover = Prover::new(key, &stored["header"], digest("link_0"), None, Previous::None);
    for (position, record, link) in [(1, "record_1", "link_1"), (2, "record_2", "link_2")] {
        let row = StoredRecord { position, bytes: &stored[record], link: digest(link), columns: None };
        prover.record(&row);
    }
    let start = chain::contract_start(&id("1"), "run", &id("aa"), 1);
    let contract =
        ["entry_1", "entry_2"].iter().fold(start, |last, entry| chain::contract_link(&last, &stored[*entry]));
    let public: [u8; 32] = stored["public_key"].as_slice().try_into().unwrap();
    // A key is found by its name, which follows from it.
    let named = key_id(&public) == hex::encode(&stored["key_id"]);
    let check = SealCheck {
        seal: &stored["seal"],
        signature: &stored["signature"],
        public_key: named.then_some(public),
        standing: KeyStanding::Good,
        columns_agree: true,
        contract_link: Some(contract),
        evidence_link: None,
    };
    prover.finish(Some(&check), false)
}

#[test]
fn no_bit_of_the_worked_vector_can_be_flipped() {
    let mut stored = expected();
    let clean = prove(&stored);
    assert_eq!(clean.status(), ProofStatus::Verified, "{clean:?}");
    let mut flipped = 0;
    for name in STRINGS {
        for bit in 0..stored[name].len() * 8 {
            let flip = |stored: &mut HashMap<&'static str, Vec<u8>>| {
                stored.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            };
            flip(&mut stored);
            let proof = prove(&stored);
            assert_ne!(proof.status(), ProofStatus::Verified, "bit {bit} of {name}");
            assert!(!proof.reason.is_empty(), "bit {bit} of {name} has no reason");
            flip(&mut stored);
            flipped += 1;
        }
    }
    assert_eq!(prove(&stored), clean, "every bit was put back");
    assert_eq!(flipped, (253 + 305 + 270 + 3 * 32 + 91 + 178 + 282 + 64 + 32) * 8);
}
