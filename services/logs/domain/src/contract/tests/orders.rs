//! Orders on contracts, and what must hold whatever the order of what happens.

use super::*;

#[test]
fn a_deadline_never_moves_before_the_original() {
    let mut play = Play::run();
    let refused = play.journal.move_deadline(Z, Some(at(Z_DUE - 1)), "no", 0, by(10)).map(|_| ());
    assert_eq!(refused.unwrap_err().reason().name, "DEADLINE_BACKWARD");
    assert!(play.journal.move_deadline(Z, Some(at(Z_DUE)), "same", 0, by(10)).is_ok());
    let refused = play.journal.move_deadline(X, None, "no", 0, by(10)).map(|_| ());
    assert_eq!(refused.unwrap_err().reason().name, "EXPECTATION_NOT_FOUND");
}

#[test]
fn the_first_intent_wins_and_names_itself() {
    let mut play = Play::run();
    let first = play.journal.intend(&completion(b"a"), by(10)).unwrap();
    let again = play.journal.intend(&completion(b"a"), by(20)).unwrap();
    assert_eq!((first.0.seq, false), (again.0.seq, first.1));
    assert!(again.1);
    let lost = play.journal.intend(&completion(b"b"), by(30)).unwrap_err();
    assert_eq!(lost.reason().name, "INTENT_EXISTS");
    assert_eq!(lost.metadata()["seq"], first.0.seq.to_string());
}

/// Who decides by what it read is refused once anything else was written, and told what is last now.
#[test]
fn an_intent_over_another_head_is_refused() {
    let mut play = Play::run();
    let read = play.journal.contract().last_seq;
    play.journal.move_deadline(Z, Some(at(Z_DUE + 1)), "it goes on", 0, by(10)).map(|_| ()).unwrap();
    let wish = |expected_seq| Wish { expected_seq, ..completion(b"abandoned") };
    let refused = play.journal.intend(&wish(Some(read)), by(20)).unwrap_err();
    assert_eq!(refused.reason().name, "HEAD_MOVED");
    assert_eq!(refused.metadata()["last_seq"], (read + 1).to_string());
    assert!(play.journal.contract().intent(COMPLETION).is_none());
    assert!(!play.journal.intend(&wish(Some(read + 1)), by(30)).unwrap().1);
    assert!(play.journal.intend(&wish(Some(read)), by(40)).unwrap().1, "a repeat finds its own");
}

#[test]
fn a_contract_left_half_done_is_due_soon() {
    let play = Play::run();
    assert_eq!(play.journal.contract().next_deadline(), Some(at(5_000)));
    let play = play.ok(T, 100);
    assert_eq!(play.journal.contract().next_deadline(), Some(at(Z_DUE)));
    let play = play.intent(1_000).ok(I, 1_100).ok(P, 1_100).ok(B, 1_200);
    assert_eq!(play.journal.contract().next_deadline(), Some(at(3_200)));
    let mut play = sealed(play);
    play.journal.reconcile(Final, by(1_400)).unwrap();
    assert_eq!(play.journal.contract().next_deadline(), None);
}

/// One acknowledgement of the property: action, status, result.
fn any_ack() -> impl Strategy<Value = (usize, u8, u8)> {
    (0_usize..7, 0_u8..4, 0_u8..2)
}

fn play_acks(acks: &[(usize, u8, u8)]) -> (Contract, Judgement) {
    let mut play = Play::run().intent(1_000);
    for (action, status, result) in acks {
        let action = SIX.get(*action).copied().unwrap_or(X);
        let result = format!("r{result}");
        // What the rules refuse changes nothing, in any order.
        let _ = match status {
            0 => play.try_ack(action, AckStatus::Success, &result, "", 2_000),
            1 => play.try_ack(action, AckStatus::Failed, "", "REFUSED", 2_000),
            2 => play.try_ack(action, AckStatus::RolledBack, &result, "UNDONE", 2_000),
            _ => play.try_ack(action, AckStatus::NotApplicable, "", "", 2_000),
        };
    }
    let judgement = play.look(Final, 3_000);
    (play.journal.contract().clone(), judgement)
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_actions_interleave(
        acks in proptest::collection::vec(any_ack(), 0..24),
        picks in proptest::collection::vec(0_usize..7, 200),
    ) {
        let mut lanes: Vec<Vec<(usize, u8, u8)>> = vec![Vec::new(); 7];
        acks.iter().for_each(|ack| lanes[ack.0].push(*ack));
        lanes.iter_mut().for_each(|lane| lane.reverse());
        let mut shuffled = Vec::new();
        for pick in picks.into_iter().chain(0..7).chain((0..7).cycle().take(7 * 24)) {
            shuffled.extend(lanes[pick].pop());
        }
        prop_assert_eq!(shuffled.len(), acks.len());
        let ((_, one), (_, other)) = (play_acks(&acks), play_acks(&shuffled));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_contract_folds_to_the_same_from_its_bytes(acks in proptest::collection::vec(any_ack(), 0..24)) {
        use prost::Message as _;
        let mut play = Play::run().intent(1_000);
        for (action, _, result) in &acks {
            let action = SIX.get(*action).copied().unwrap_or(X);
            play.try_ack(action, AckStatus::Success, &format!("r{result}"), "", 2_000).unwrap();
        }
        play.journal.reconcile(Final, by(3_000)).unwrap();
        let entries: Vec<_> = play.journal.added().iter()
            .map(|a| contracts_logs::v1::ContractEntry::decode(a.entry.clone()).unwrap()).collect();
        prop_assert_eq!(&Contract::of("run", &entries).unwrap(), play.journal.contract());
        prop_assert!(FindingCode::parse("DRIFT").is_some());
    }
}
