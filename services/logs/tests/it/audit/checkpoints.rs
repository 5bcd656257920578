//! Checkpoints through their RPCs: signed, proved, witnessed, published, and missed when the store is older than they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts_logs::v1::{self as pb, LedgerScope, LedgerStatus, LogName};
use runspine_db::{AssertSqlSafe, Db, args};
use runspine_logs::acknowledge_rollback;
use runspine_logs_domain::{
    merkle::{verify_consistency, verify_inclusion},
    note::{Note, NoteKey, NoteSignature},
};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, tenant, test_id};
use runspine_types::Digest;
use tonic::{Request, Status};

use super::harness::*;
use crate::witness::{WITNESS, config, cosign, witness};

async fn fill(house: &House, from: u64, to: u64) {
    for part in (from..=to).collect::<Vec<_>>().chunks(100) {
        let event = |n: &u64| pb::LedgerEvent {
            event_id: test_id(8, *n),
            event_type: "controls.LimitUpdated".into(),
            scope: LedgerScope::Admin.into(),
            entity_type: "limit".into(),
            entity_id: format!("lim-{n}"),
            occurred_at: Some(runspine_rpc::timestamp(START)),
            ..Default::default()
        };
        house.append(part.iter().map(event).collect()).await.unwrap();
    }
}

macro_rules! calls {
    ($($name:ident, $rpc:literal, $request:ident => $response:ident;)*) => {
        $(async fn $name(house: &House, request: pb::$request) -> Result<pb::$response, Status> {
            let request: Request<_> = house.ask(concat!("LedgerService/", $rpc), request);
            house.ledger.clone().$name(request).await.map(tonic::Response::into_inner)
        })*
    };
}

calls! {
    create_checkpoint, "CreateCheckpoint", CreateCheckpointRequest => CreateCheckpointResponse;
    get_checkpoint, "GetCheckpoint", GetCheckpointRequest => GetCheckpointResponse;
    list_checkpoints, "ListCheckpoints", ListCheckpointsRequest => ListCheckpointsResponse;
    add_cosignature, "AddCosignature", AddCosignatureRequest => AddCosignatureResponse;
    get_inclusion_proof, "GetInclusionProof", GetInclusionProofRequest => GetInclusionProofResponse;
    get_consistency_proof, "GetConsistencyProof", GetConsistencyProofRequest => GetConsistencyProofResponse;
    verify_ledger, "VerifyLedger", VerifyLedgerRequest => VerifyLedgerResponse;
}

async fn create(house: &House) -> Result<pb::Checkpoint, Status> {
    let made = create_checkpoint(house, pb::CreateCheckpointRequest::default()).await?;
    Ok(made.checkpoint.unwrap())
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_slice(bytes).unwrap()
}

fn digests(hashes: &[bytes::Bytes]) -> Vec<Digest> {
    hashes.iter().map(|hash| digest(hash)).collect()
}

/// Runs a statement that the triggers would refuse.
async fn force(db: &Db, table: &'static str, sql: &'static str) {
    let lift = match db.dialect() {
        runspine_db::Dialect::Sqlite => format!(
            "DROP TRIGGER IF EXISTS {table}_append_only_update;DROP TRIGGER IF EXISTS {table}_append_only_delete"
        ),
        runspine_db::Dialect::Postgres => {
            format!("DROP TRIGGER IF EXISTS {table}_append_only_update ON {table}")
        }
    };
    db.write("damage", move |tx| {
        Box::pin(async move {
            for part in lift.split(';').chain([sql]) {
                tx.execute(AssertSqlSafe(part.to_owned()), args![]).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
}

on_both_engines! {
    /// Nothing new is the same checkpoint, byte for byte; each is signed, monotonic and listed.
    async fn a_checkpoint_covers_what_is_committed(store: TestStore) {
        let house = House::over(store).await;
        assert_eq!(reason(create(&house).await), "CHECKPOINT_NOT_FOUND", "an empty ledger has nothing to sign");
        fill(&house, 1, 3).await;
        let first = create(&house).await.unwrap();
        house.advance(1_000);
        assert_eq!(first, create(&house).await.unwrap());
        assert_eq!(first.tree_size, 3);
        let note = Note::parse(&first.note).unwrap();
        assert_eq!(note.checkpoint().unwrap().origin, format!("runspine.local/{}", tenant(1)));
        assert!(note.signed_by(&NoteKey::parse(&first.verifier_key).unwrap()));
        fill(&house, 4, 700).await;
        let second = create(&house).await.unwrap();
        assert_eq!(second.tree_size, 700);
        let ahead = pb::CreateCheckpointRequest { tree_size: 701 };
        assert_eq!(reason(create_checkpoint(&house, ahead).await), "CHECKPOINT_NOT_FOUND");
        let one = pb::ListCheckpointsRequest { page_size: 1, ..Default::default() };
        let page = list_checkpoints(&house, one.clone()).await.unwrap();
        let rest = pb::ListCheckpointsRequest { page_token: page.next_page_token, ..one };
        let rest = list_checkpoints(&house, rest).await.unwrap();
        assert_eq!([page.checkpoints, rest.checkpoints].concat(), [second.clone(), first]);
        assert!(rest.next_page_token.is_empty());
        let newest = get_checkpoint(&house, pb::GetCheckpointRequest::default()).await.unwrap();
        assert_eq!(newest.checkpoint, Some(second));
        let missing = pb::GetCheckpointRequest { tree_size: 5, ..Default::default() };
        assert_eq!(reason(get_checkpoint(&house, missing).await), "CHECKPOINT_NOT_FOUND");
        let theirs = house.ask_as(Who::Tenant(2), "LedgerService/GetCheckpoint", pb::GetCheckpointRequest::default());
        assert_eq!(reason(house.ledger.clone().get_checkpoint(theirs).await), "CHECKPOINT_NOT_FOUND");
        let told: Vec<_> = house.pull().await.into_iter().filter(|e| e.r#type == "logs.CheckpointSigned").collect();
        assert_eq!(told.len(), 2, "one event a checkpoint");
        let db = house.db().await;
        // What the log of the mesh has of each checkpoint is put there by a worker.
        db.write("leaf", |tx| Box::pin(async move {
            let sql = "INSERT INTO mesh_leaves (seq, log, tree_size, leaf) SELECT 1, log, tree_size, root FROM checkpoints WHERE tree_size = 700";
            Ok(tx.execute(sql, args![]).await?)
        })).await.unwrap();
        for table in ["checkpoints", "merkle_tiles", "mesh_leaves"] {
            assert_append_only(&db, table).await;
        }
    }

    /// Proofs lead from an entry's link to the signed root, and from one signed root to the next.
    async fn proofs_lead_to_signed_roots(store: TestStore) {
        let house = House::over(store).await;
        fill(&house, 1, 300).await;
        let first = create(&house).await.unwrap();
        fill(&house, 301, 777).await;
        let second = create(&house).await.unwrap();
        for seq in [1, 2, 255, 256, 257, 300, 512, 513, 777] {
            let ask = pb::GetInclusionProofRequest { seq, ..Default::default() };
            let proof = get_inclusion_proof(&house, ask).await.unwrap();
            assert_eq!((proof.tree_size, proof.leaf_index), (777, seq - 1));
            assert_eq!(proof.root, second.root);
            let path = digests(&proof.hashes);
            let (leaf, root) = (digest(&proof.leaf_data), digest(&proof.root));
            assert!(verify_inclusion(seq - 1, 777, &leaf, &path, &root), "entry {seq}");
            let entry = house.ask("LedgerService/GetEntry", pb::GetEntryRequest { seq, ..Default::default() });
            let entry = house.ledger.clone().get_entry(entry).await.unwrap().into_inner().entry.unwrap();
            assert_eq!(entry.link, proof.leaf_data);
        }
        let older = pb::GetInclusionProofRequest { seq: 300, tree_size: 300, ..Default::default() };
        assert_eq!(get_inclusion_proof(&house, older).await.unwrap().root, first.root);
        let beyond = pb::GetInclusionProofRequest { seq: 301, tree_size: 300, ..Default::default() };
        assert_eq!(reason(get_inclusion_proof(&house, beyond).await), "ENTRY_NOT_FOUND");
        let unknown = pb::GetInclusionProofRequest { seq: 1, log: LogName::Mesh.into(), ..Default::default() };
        assert_eq!(reason(get_inclusion_proof(&house, unknown).await), "CHECKPOINT_NOT_FOUND");
        let ask = pb::GetConsistencyProofRequest { from_size: 300, ..Default::default() };
        let proof = get_consistency_proof(&house, ask).await.unwrap();
        let (from, to) = (digest(&proof.from_root), digest(&proof.to_root));
        assert_eq!((proof.from_root, proof.to_root, proof.to_size), (first.root, second.root, 777));
        assert!(verify_consistency((300, &from), (777, &to), &digests(&proof.hashes)));
        let verified = verify_ledger(&house, pb::VerifyLedgerRequest::default()).await.unwrap();
        assert_eq!((verified.verified_count, verified.checkpoint_count), (777, 2));
        let part = pb::VerifyLedgerRequest { from_seq: 400, to_seq: 777 };
        assert_eq!(verify_ledger(&house, part).await.unwrap().checkpoint_count, 1);
    }

    /// A witness that is configured adds its line once; its first is told on the ledger.
    async fn witnesses_cosign(store: TestStore) {
        let house = House::with(store, config(None)).await;
        fill(&house, 1, 2).await;
        let made = create(&house).await.unwrap();
        let line = cosign(&made.note, 1_767_323_100);
        let ask = pb::AddCosignatureRequest { tree_size: 2, signature_line: line.clone(), ..Default::default() };
        let cosigned = add_cosignature(&house, ask.clone()).await.unwrap().checkpoint.unwrap();
        assert_eq!(cosigned, add_cosignature(&house, ask.clone()).await.unwrap().checkpoint.unwrap());
        assert_eq!((cosigned.note, cosigned.witnesses), (format!("{}{line}\n", made.note), vec![witness().1.text()]));
        let later = cosign(&made.note, 1_767_323_101);
        let other = pb::AddCosignatureRequest { signature_line: later, ..ask.clone() };
        assert_eq!(reason(add_cosignature(&house, other).await), "IDEMPOTENCY_MISMATCH");
        let mut forged = NoteSignature::parse(&line).unwrap();
        forged.bytes[20] ^= 1;
        let wrong = pb::AddCosignatureRequest { signature_line: forged.line(), ..ask.clone() };
        assert_eq!(reason(add_cosignature(&house, wrong).await), "COSIGNATURE_INVALID");
        let stranger = NoteSignature { name: "stranger".into(), key_hash: [1; 4], bytes: vec![0; 72] }.line();
        let stranger = pb::AddCosignatureRequest { signature_line: stranger, ..ask.clone() };
        assert_eq!(reason(add_cosignature(&house, stranger).await), "WITNESS_UNKNOWN");
        let entry = house.ask("LedgerService/GetEntry", pb::GetEntryRequest { seq: 3, ..Default::default() });
        let entry = house.ledger.clone().get_entry(entry).await.unwrap().into_inner().entry.unwrap().entry.unwrap();
        assert_eq!((entry.event_type.as_str(), entry.entity_id.as_str()), ("logs.WitnessAdded", WITNESS));
        // The next one is not news.
        let made = create(&house).await.unwrap();
        let line = cosign(&made.note, 1_767_323_200);
        let next = pb::AddCosignatureRequest { tree_size: 3, signature_line: line, ..Default::default() };
        add_cosignature(&house, next).await.unwrap();
        assert_eq!(create(&house).await.unwrap().tree_size, 3);
        let db = house.db().await;
        assert_append_only(&db, "cosignatures").await;
        db.write("crowd", |tx| Box::pin(async move {
            for n in 0..16 {
                let sql = "INSERT INTO cosignatures (log, tree_size, witness, line, added_at) \
                           SELECT log, 2, $1, 'x', 1 FROM cosignatures WHERE tree_size = 3";
                tx.execute(sql, args![format!("w{n}")]).await?;
            }
            Ok(())
        })).await.unwrap();
        force(&db, "cosignatures", "DELETE FROM cosignatures WHERE tree_size = 2 AND line <> 'x'").await;
        assert_eq!(reason(add_cosignature(&house, ask).await), "TOO_MANY_WITNESSES");
    }

    /// A ledger that was rewritten under a checkpoint is never signed again, and everybody hears it.
    async fn what_was_signed_stays(store: TestStore) {
        let house = House::over(store).await;
        fill(&house, 1, 4).await;
        create(&house).await.unwrap();
        fill(&house, 5, 6).await;
        let db = house.db().await;
        force(&db, "ledger", "UPDATE ledger SET link = (SELECT link FROM ledger WHERE seq = 1) WHERE seq = 3").await;
        assert_eq!(reason(create(&house).await), "CHECKPOINT_INCONSISTENT");
        assert_eq!(reason(create(&house).await), "CHECKPOINT_INCONSISTENT");
        let told: Vec<_> = house.pull().await.into_iter().filter(|e| e.r#type == "logs.CheckpointInconsistent").collect();
        assert_eq!(told.len(), 1, "told once");
    }

    /// A forged checkpoint row, and a forged subtree root, are found by recomputing.
    async fn a_forged_anchor_is_found(store: TestStore) {
        let house = House::over(store).await;
        fill(&house, 1, 300).await;
        create(&house).await.unwrap();
        let db = house.db().await;
        force(&db, "merkle_tiles", "UPDATE merkle_tiles SET root = (SELECT link FROM ledger WHERE seq = 1)").await;
        let found = verify_ledger(&house, pb::VerifyLedgerRequest::default()).await.unwrap();
        assert_eq!((found.status(), found.finding.as_str(), found.first_bad_seq), (LedgerStatus::Mismatch, "TILE", 256));
        force(&db, "checkpoints", "UPDATE checkpoints SET root = (SELECT link FROM ledger WHERE seq = 1)").await;
        force(&db, "merkle_tiles", "DELETE FROM merkle_tiles").await;
        let found = verify_ledger(&house, pb::VerifyLedgerRequest::default()).await.unwrap();
        assert_eq!((found.status(), found.finding.as_str(), found.first_bad_seq), (LedgerStatus::Mismatch, "CHECKPOINT", 300));
    }

    /// A store that is older than what was published serves reads and no writes until an operator says so.
    async fn a_store_that_was_rolled_back_takes_no_writes(store: TestStore) {
        let folder = tempfile::tempdir().unwrap();
        let house = House::with(store, config(Some(folder.path()))).await;
        fill(&house, 1, 3).await;
        create(&house).await.unwrap();
        fill(&house, 4, 6).await;
        let newest = create(&house).await.unwrap();
        let published = |name: &str| std::fs::read_to_string(folder.path().join(tenant(1)).join(name)).unwrap();
        assert_eq!(published("latest.note"), newest.note);
        assert_eq!(published("6.note"), newest.note);
        assert!(published("3.note").contains("\n3\n"));
        let db = house.db().await;
        force(&db, "ledger", "DELETE FROM ledger WHERE seq > 3").await;
        force(&db, "checkpoints", "DELETE FROM checkpoints WHERE tree_size > 3").await;
        force(&db, "checkpoints", "UPDATE ledger_heads SET seq = 3, link = (SELECT link FROM ledger WHERE seq = 3)").await;
        let restored = house.again(config(Some(folder.path()))).await;
        let event = pb::LedgerEvent {
            event_id: test_id(8, 99),
            event_type: "controls.LimitUpdated".into(),
            scope: LedgerScope::Admin.into(),
            occurred_at: Some(runspine_rpc::timestamp(START)),
            ..Default::default()
        };
        assert_eq!(reason(restored.append(vec![event.clone()]).await), "LEDGER_ROLLED_BACK");
        assert_eq!(get_checkpoint(&restored, pb::GetCheckpointRequest::default()).await.unwrap().checkpoint.unwrap().tree_size, 3);
        let accepted = acknowledge_rollback(folder.path(), "restored from the backup of noon").unwrap();
        assert_eq!(accepted, [(tenant(1), 6)]);
        let accepted = restored.again(config(Some(folder.path()))).await;
        accepted.append(vec![event]).await.unwrap();
        // What is signed from now on is another history of the same log, and is published as such.
        assert_eq!(create(&accepted).await.unwrap().tree_size, 4);
        assert!(published("latest.note").contains("\n4\n"));
        assert_eq!(STANDARD.decode(published("6.note").lines().nth(2).unwrap()).unwrap(), newest.root);
    }
}
