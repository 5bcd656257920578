//! What the database itself refuses.

use contracts_common::{
    common::v1::{RunEvent as E, RunPhase as P, RunStatus as S},
    phase,
};
use runspine_activity::MIGRATIONS;
use runspine_errors::mesh;
use runspine_testkit::{TestStore, assert_append_only, assert_append_only_tables, on_both_engines, run};

use contracts_activity::v1 as pb;

use crate::{call, harness::House};

on_both_engines! {
    /// Each pair of numbers that is not in the phase table is refused, each one that is in it is accepted.
    async fn illegal_pairs_are_refused_by_hand(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let mut accepted = 0;
        for phase_number in 0..9 {
            for status_number in 0..11 {
                let pair = P::try_from(phase_number).ok().zip(S::try_from(status_number).ok());
                let legal = pair.is_some_and(|(p, s)| phase::is_valid(p, s));
                let sql = format!("UPDATE runs SET run_phase = {phase_number}, run_status = {status_number}");
                let written = house.by_hand(&sql).await;
                assert_eq!(written.is_ok(), legal, "runs {phase_number} / {status_number}");
                if phase_number < 6 {
                    let sql = format!("UPDATE run_attempts SET phase = {phase_number}, status = {status_number}");
                    assert_eq!(house.by_hand(&sql).await.is_ok(), legal, "run_attempts {phase_number} / {status_number}");
                }
                accepted += usize::from(legal);
            }
        }
        assert_eq!(accepted, 12);
        let naked = house.by_hand("UPDATE run_attempts SET phase = 6, status = 5").await;
        assert!(naked.is_err(), "a terminal attempt without evidence");
    }

    /// An attempt that has ended can't be touched.
    async fn terminal_attempts_never_change(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.complete(1).await;
        for sql in ["UPDATE run_attempts SET error_code = 'X'", "UPDATE run_attempts SET phase = 3, status = 3"] {
            assert!(house.by_hand(sql).await.unwrap_err().is(&mesh::IMMUTABLE_ROW), "{sql}");
        }
    }

    /// The append-only tables are those that are declared, and refuse every change.
    async fn append_only_tables(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let stop = pb::RequestStopRequest {
            run_id: run(1), attempt: 1, reason: 6, code: "CANCELLED".into(), mode: 1, ..Default::default()
        };
        call!(house, store.request_stop, "RequestStop", stop).unwrap();
        let keep = pb::KeepAnswerRequest {
            run_id: run(1), operation: "op".into(), key: "k".into(),
            request_digest: vec![1; 32].into(), answer: b"a".to_vec().into(),
        };
        call!(house, store.keep_answer, "KeepAnswer", keep).unwrap();
        let fact = pb::Fact {
            fact_id: run(5), run_id: run(1), attempt: 1,
            body: Some(pb::fact::Body::DraftCreated(pb::DraftFact { proposal_id: "p".into() })), ..Default::default()
        };
        house.apply(vec![fact]).await;
        assert_append_only_tables(&house.db, &MIGRATIONS).await;
        for table in MIGRATIONS.append_only {
            assert_append_only(&house.db, table).await;
        }
        assert!(house.go(1, 3, E::End, P::GovernanceCheck, S::Running).await.is_ok());
    }
}
