//! Certificates: issued on a fresh check only, and good for whoever holds them.

use contracts_logs::v1::{
    self as pb, CertificateFormat as Format, CertificateKind as Kind, CertificateStatus as Verdict,
    certificate_service_client::CertificateServiceClient,
};
use runspine_db::{AssertSqlSafe, args};
use runspine_rpc::Transport;
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, test_id};

use crate::traces::harness::{Answer, House, START, decision, reason, step};

fn client(house: &House) -> CertificateServiceClient<Transport> {
    CertificateServiceClient::new(house.way.clone())
}

fn wanted(id: u64, number: u64, kind: Kind) -> pb::IssueCertificateRequest {
    pb::IssueCertificateRequest {
        request_id: test_id(20, id),
        kind: kind.into(),
        run_id: run(number),
        ..Default::default()
    }
}

async fn issue(house: &House, request: pb::IssueCertificateRequest) -> Answer<pb::Certificate> {
    let request = house.ask("CertificateService/IssueCertificate", request);
    client(house).issue_certificate(request).await.map(|r| r.into_inner().certificate.unwrap())
}

async fn judged(house: &House, encoded: &str) -> Verdict {
    let asked = pb::VerifyCertificateRequest { encoded: encoded.to_owned() };
    let request = house.ask("CertificateService/VerifyCertificate", asked);
    client(house).verify_certificate(request).await.unwrap().into_inner().status()
}

async fn get(house: &House, who: u64, id: &str, format: Format) -> Answer<pb::Certificate> {
    let asked = pb::GetCertificateRequest { certificate_id: id.to_owned(), format: format.into() };
    let request = house.ask_as(who, "CertificateService/GetCertificate", asked);
    client(house).get_certificate(request).await.map(|r| r.into_inner().certificate.unwrap())
}

on_both_engines! {
    async fn a_proved_run_is_certified_in_every_format(store: TestStore) {
        let house = House::over(store).await;
        let seal = house.sealed_run(1).await;
        let first = issue(&house, wanted(1, 1, Kind::RunProof)).await.unwrap();
        assert!(first.payload_json.contains(&hex::encode(&seal.seal.unwrap().seal_digest)));
        house.advance(1_000);
        assert_eq!(issue(&house, wanted(1, 1, Kind::RunProof)).await.unwrap(), first, "a repeat gets the first");
        assert_eq!(reason(issue(&house, wanted(1, 1, Kind::PolicyAudit)).await), "IDEMPOTENCY_MISMATCH");
        for format in [Format::Json, Format::Compact, Format::Pem] {
            let written = get(&house, 1, &first.certificate_id, format).await.unwrap().encoded;
            assert_eq!(judged(&house, &written).await, Verdict::Valid, "{written}");
            let middle = written.len() / 2;
            let other = if written.as_bytes()[middle] == b'x' { "y" } else { "x" };
            let changed = format!("{}{other}{}", &written[..middle], &written[middle + 1..]);
            assert!(matches!(judged(&house, &changed).await, Verdict::BadSignature | Verdict::Malformed));
        }
        assert_eq!(judged(&house, "no certificate").await, Verdict::Malformed);
        assert_eq!(reason(get(&house, 2, &first.certificate_id, Format::Json).await), "CERTIFICATE_NOT_FOUND");
        let audit = issue(&house, wanted(2, 1, Kind::PolicyAudit)).await.unwrap();
        assert!(audit.attempt == 1 && audit.payload_json.contains("\"contract_verdict\":\"COMPLETE\""));
        house.advance(91 * 24 * 60 * 60 * 1_000);
        assert_eq!(judged(&house, &first.encoded).await, Verdict::Expired);
        let told = house.published().await;
        assert_eq!(told.iter().filter(|event| event.r#type == "logs.CertificateIssued").count(), 2);
    }

    /// Somebody who holds the checkpoint can tell from the certificate alone that its seals are under it.
    async fn a_certificate_names_the_checkpoint_over_its_seals(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let early = issue(&house, wanted(1, 1, Kind::RunProof)).await.unwrap();
        assert!(!early.payload_json.contains("checkpoint"), "none covers the seal yet");
        let checkpoint = house.checkpoint().await;
        let claims = async |id, number| {
            let issued = issue(&house, wanted(id, number, Kind::RunProof)).await.unwrap();
            let payload: serde_json::Value = serde_json::from_str(&issued.payload_json).unwrap();
            payload["claims"].clone()
        };
        let covered = claims(2, 1).await;
        assert_eq!(covered["checkpoint_size"], checkpoint.tree_size);
        assert_eq!(covered["checkpoint_root"], hex::encode(&checkpoint.root));
        house.sealed_run(2).await;
        assert!(claims(3, 2).await.get("checkpoint_size").is_none(), "the checkpoint is older than the seal");
        assert_eq!(claims(4, 1).await, covered, "that one is still under it");
    }

    async fn nothing_is_certified_that_does_not_pass(store: TestStore) {
        let house = House::over(store).await;
        assert_eq!(reason(issue(&house, wanted(1, 9, Kind::RunProof)).await), "TRACE_NOT_FOUND");
        assert_eq!(reason(issue(&house, wanted(1, 9, Kind::PolicyAudit)).await), "CONTRACT_NOT_FOUND");
        house.begin(1).await;
        house.append(1, vec![decision("d1", 0), step("s1", 0, "d1")]).await.unwrap();
        assert_eq!(reason(issue(&house, wanted(1, 1, Kind::RunProof)).await), "NOT_SEALED");
        assert_eq!(reason(issue(&house, wanted(1, 1, Kind::PolicyAudit)).await), "CONTRACT_INCOMPLETE");
        house.sealed_run(2).await;
        // Somebody with the database's own rights changes a record.
        let db = house.db().await;
        let off = db.dialect().pick(
            "DROP TRIGGER trace_records_append_only_update",
            "ALTER TABLE trace_records DISABLE TRIGGER trace_records_append_only_update",
        );
        db.write("tamper", move |tx| {
            Box::pin(async move {
                tx.execute(off, args![]).await?;
                let sql = "UPDATE trace_records SET name = 'other' WHERE position = 2";
                Ok(tx.execute(AssertSqlSafe(sql.to_owned()), args![]).await?)
            })
        })
        .await
        .unwrap();
        assert_eq!(reason(issue(&house, wanted(2, 2, Kind::RunProof)).await), "PROOF_NOT_VERIFIED");
        let listed = list(&house, pb::ListCertificatesRequest::default()).await;
        assert!(listed.certificates.is_empty(), "nothing was issued");
        let unstated = pb::IssueCertificateRequest { kind: 0, ..wanted(3, 1, Kind::RunProof) };
        assert_eq!(reason(issue(&house, unstated).await), "FIELD_INVALID");
    }

    async fn what_is_revoked_stays_revoked(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let first = issue(&house, wanted(1, 1, Kind::RunProof)).await.unwrap();
        let second = issue(&house, wanted(2, 1, Kind::RunProof)).await.unwrap();
        let revoke = |id, certificate: &pb::Certificate| pb::RevokeCertificateRequest {
            request_id: test_id(21, id),
            certificate_id: certificate.certificate_id.clone(),
            reason: "issued for the wrong customer".into(),
        };
        let ask = |request| house.ask("CertificateService/RevokeCertificate", request);
        let revoked = client(&house).revoke_certificate(ask(revoke(1, &first))).await.unwrap().into_inner();
        house.advance(1_000);
        let again = client(&house).revoke_certificate(ask(revoke(2, &first))).await.unwrap().into_inner();
        assert_eq!(again.certificate, revoked.certificate, "for its first reason, at its first time");
        assert_eq!(judged(&house, &first.encoded).await, Verdict::Revoked);
        assert_eq!(judged(&house, &second.encoded).await, Verdict::Valid);
        let unknown = pb::RevokeCertificateRequest { certificate_id: test_id(22, 1), ..revoke(3, &first) };
        assert_eq!(reason(client(&house).revoke_certificate(ask(unknown)).await), "CERTIFICATE_NOT_FOUND");
        let page = pb::ListCertificatesRequest { page_size: 1, ..Default::default() };
        let newest = list(&house, page.clone()).await;
        assert_eq!(newest.certificates[0].certificate_id, second.certificate_id);
        let rest = list(&house, pb::ListCertificatesRequest { page_token: newest.next_page_token, ..page }).await;
        assert_eq!((rest.certificates.len(), rest.next_page_token.as_str()), (1, ""));
        let only = pb::ListCertificatesRequest { revoked: Some(true), run_id: run(1), kind: Kind::RunProof.into(), ..Default::default() };
        assert_eq!(list(&house, only).await.certificates.len(), 1);
        let db = house.db().await;
        assert_append_only(&db, "certificates").await;
        assert_append_only(&db, "certificate_events").await;
    }

    /// Section 17: a certificate survives a restart and a rotation of its key, and not the revocation of it.
    async fn a_certificate_outlives_its_key_and_not_the_trust_in_it(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let issued = issue(&house, wanted(1, 1, Kind::RunProof)).await.unwrap();
        let rotate = pb::RotateKeyRequest {
            purpose: pb::KeyPurpose::Certificate.into(),
            reason: "a year is over".into(),
            request_id: test_id(31, 1),
        };
        let rotate = house.ask("KeyService/RotateKey", rotate);
        house.keys.clone().rotate_key(rotate).await.unwrap();
        let house = house.again().await;
        assert_eq!(judged(&house, &issued.encoded).await, Verdict::Valid);
        assert_ne!(issue(&house, wanted(2, 1, Kind::RunProof)).await.unwrap().key_id, issued.key_id);
        let revoke = pb::RevokeKeyRequest {
            key_id: issued.key_id.clone(),
            revoked_from: Some(runspine_rpc::timestamp(START)),
            reason: "the disk was stolen".into(),
            request_id: test_id(31, 2),
        };
        let revoke = house.ask("KeyService/RevokeKey", revoke);
        house.keys.clone().revoke_key(revoke).await.unwrap();
        assert_eq!(judged(&house, &issued.encoded).await, Verdict::Revoked);
    }
}

async fn list(house: &House, request: pb::ListCertificatesRequest) -> pb::ListCertificatesResponse {
    let request = house.ask("CertificateService/ListCertificates", request);
    client(house).list_certificates(request).await.unwrap().into_inner()
}
