//! Lessons: from what was seen to a proposal.

use contracts_policies::v1 as pb;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use runspine_types::{Clock as _, Micros};
use std::time::Duration;
use tonic::Status;

use crate::{
    call,
    harness::{House, WHY, ask_end, ask_run, ask_step, content, reason},
};

fn seen(event: &str, kind: pb::LessonType) -> pb::EmitLessonRequest {
    pb::EmitLessonRequest {
        r#type: kind.into(),
        source: pb::LessonSource::Signal.into(),
        source_event_id: event.to_owned(),
        agent_id: "agent-1".into(),
        ..Default::default()
    }
}

fn near(event: &str, metric: &str, permille: u32) -> pb::EmitLessonRequest {
    pb::EmitLessonRequest {
        metric: metric.into(),
        utilization_permille: permille,
        threshold: 1_000,
        current: i64::from(permille),
        ..seen(event, pb::LessonType::NearThreshold)
    }
}

fn failure(event: &str, code: &str) -> pb::EmitLessonRequest {
    pb::EmitLessonRequest {
        error_code: code.into(),
        severity: pb::Severity::High.into(),
        ..seen(event, pb::LessonType::Failure)
    }
}

impl House {
    async fn emit(&self, n: u64, r: pb::EmitLessonRequest) -> pb::EmitLessonResponse {
        let r = pb::EmitLessonRequest { request_id: test_id(60, n), ..r };
        call!(self, lessons.emit_lesson, "LessonService/EmitLesson", r).unwrap()
    }

    pub async fn lesson_of_failure(&self, n: u64) -> pb::Lesson {
        self.emit(n, failure(&format!("incident-{n}"), &format!("CODE_{n}"))).await.lesson.unwrap()
    }

    async fn defer(&self, n: u64, l: &pb::Lesson, until: Micros) -> Result<pb::Lesson, Status> {
        let r = pb::DeferLessonRequest {
            request_id: test_id(61, n),
            lesson_id: l.lesson_id.clone(),
            expected_version: l.version,
            until: Some(timestamp(until)),
        };
        call!(self, lessons.defer_lesson, "LessonService/DeferLesson", r).map(|r| r.lesson.unwrap())
    }

    async fn dismiss(&self, n: u64, l: &pb::Lesson) -> Result<pb::Lesson, Status> {
        let r = pb::DismissLessonRequest {
            request_id: test_id(62, n),
            lesson_id: l.lesson_id.clone(),
            expected_version: l.version,
            reason: WHY.into(),
        };
        call!(self, lessons.dismiss_lesson, "LessonService/DismissLesson", r).map(|r| r.lesson.unwrap())
    }

    async fn reactivate(&self, n: u64, l: &pb::Lesson) -> Result<pb::Lesson, Status> {
        let r = pb::ReactivateLessonRequest {
            request_id: test_id(63, n),
            lesson_id: l.lesson_id.clone(),
            expected_version: l.version,
            reason: WHY.into(),
        };
        call!(self, lessons.reactivate_lesson, "LessonService/ReactivateLesson", r).map(|r| r.lesson.unwrap())
    }

    pub async fn convert(&self, n: u64, l: &pb::Lesson) -> Result<pb::ConvertLessonResponse, Status> {
        let r = pb::ConvertLessonRequest {
            request_id: test_id(64, n),
            lesson_id: l.lesson_id.clone(),
            expected_version: l.version,
            ..Default::default()
        };
        call!(self, lessons.convert_lesson, "LessonService/ConvertLesson", r)
    }
}

on_both_engines! {
    /// A13.1, A13.2: bands, and what is counted together.
    async fn what_is_seen_again_is_one_lesson(store: TestStore) {
        let house = House::over(store).await;
        use pb::EmitResult::{AtLimit, BelowBand, Created, Merged};
        let seen = [
            (near("s1", "COST", 849), BelowBand), (near("s2", "COST", 1_000), AtLimit),
            (near("s3", "COST", 850), Created), (near("s4", "COST", 899), Merged), (near("s3", "COST", 850), Merged),
            (near("s5", "COST", 950), Created), (near("s3", "TOKENS", 850), Created),
            (failure("i1", "E1"), Created), (failure("i2", "E1"), Merged), (failure("i3", "E2"), Created),
        ];
        for (n, (r, result)) in seen.iter().enumerate() {
            let told = house.emit(n as u64, r.clone()).await;
            assert_eq!((told.result(), told.lesson.is_some()), (*result, !matches!(result, AtLimit | BelowBand)), "{r:?}");
        }
        let again = house.emit(2, near("s3", "COST", 850)).await;
        assert_eq!((again.result(), again.lesson.unwrap().occurrences), (Created, 1), "the first answer");
        let found = house.emit(20, near("s4", "COST", 899)).await.lesson.unwrap();
        assert_eq!((found.occurrences, found.band()), (2, pb::Band::B85), "an event counts once");
        house.clock.advance(Duration::from_secs(86_401));
        assert_eq!(house.emit(21, near("s9", "COST", 860)).await.result(), Created, "a day later");
        let list = pb::ListLessonsRequest { types: vec![1], ..Default::default() };
        let failures = call!(house, lessons.list_lessons, "LessonService/ListLessons", list).unwrap().lessons;
        assert_eq!(failures.iter().map(|l| l.occurrences).collect::<Vec<_>>(), [1, 2], "newest first");
        let stats = pb::GetLessonStatsRequest::default();
        let stats = call!(house, lessons.get_lesson_stats, "LessonService/GetLessonStats", stats).unwrap().counts;
        assert_eq!(stats.iter().map(|c| c.count).sum::<u64>(), 6, "{stats:?}");
        let told = house.told_names().await;
        assert_eq!(told.iter().filter(|n| *n == "LessonCreated").count(), 6);
    }

    /// A success is one only if its run was judged and nothing was wrong with it.
    async fn a_success_has_to_be_one(store: TestStore) {
        let house = House::over(store).await;
        let success = |event: &str, number: u64, permille: i64| pb::EmitLessonRequest {
            success_kind: "cost_efficiency".into(),
            run_id: run(number),
            metrics: [("budget_microusd", 100), ("utilization_permille", permille), ("duration_ms", 4_999)]
                .map(|(k, v)| (k.to_owned(), v)).into(),
            ..seen(event, pb::LessonType::CriticalSuccess)
        };
        assert_eq!(house.emit(1, success("r0", 9, 10)).await.result(), pb::EmitResult::NotEligible, "not judged");
        house.evaluate_run(ask_run(1)).await.unwrap();
        house.step(ask_step(1, 0, "t1")).await.unwrap();
        house.end(ask_end(1, 0)).await.unwrap();
        assert_eq!(house.emit(2, success("r1", 1, 300)).await.result(), pb::EmitResult::NotEligible);
        let made = house.emit(3, success("r1", 1, 299)).await;
        assert_eq!((made.result(), made.lesson.as_ref().unwrap().severity()), (pb::EmitResult::Created, pb::Severity::Unspecified));
        let merged = house.emit(4, success("r2", 1, 10)).await;
        assert_eq!(merged.result(), pb::EmitResult::Merged);
        let refused = house.convert(1, &merged.lesson.unwrap()).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "a success suggests no rule");
    }

    /// A13.3: the life of a lesson; every illegal move is refused, and two conversions leave one proposal.
    async fn a_lesson_has_one_life(store: TestStore) {
        let house = House::over(store).await;
        let lesson = house.lesson_of_failure(1).await;
        let (a, b) = tokio::join!(house.convert(1, &lesson), house.convert(2, &lesson));
        let refused = match (&a, &b) { (Ok(_), Err(e)) | (Err(e), Ok(_)) => e.clone(), _ => panic!("{a:?} {b:?}") };
        assert!(["VERSION_CONFLICT", "LESSON_TRANSITION_INVALID"].contains(&reason(&refused).as_str()));
        let done = a.or(b).unwrap();
        let (lesson, proposal) = (done.lesson.unwrap(), done.proposal.unwrap());
        assert_eq!((lesson.state(), &lesson.draft_proposal_id), (pb::LessonState::Converted, &proposal.proposal_id));
        assert_eq!((proposal.state(), proposal.kind()), (pb::ProposalState::Draft, pb::ProposalKind::FailurePattern));
        let body = proposal.body.unwrap();
        assert_eq!(body.mode(), pb::RuleMode::Block, "a HIGH failure");
        assert!(body.cedar.contains(&lesson.lesson_id), "{}", body.cedar);
        for refused in [
            house.dismiss(1, &lesson).await.unwrap_err(), house.reactivate(1, &lesson).await.unwrap_err(),
            house.defer(1, &lesson, house.clock.now() + Duration::from_secs(5)).await.unwrap_err(),
            house.convert(3, &lesson).await.unwrap_err(),
        ] {
            assert_eq!(reason(&refused), "LESSON_TRANSITION_INVALID");
        }
        let dismissed = house.lesson_of_failure(2).await;
        let dismissed = house.dismiss(2, &dismissed).await.unwrap();
        assert_eq!((dismissed.state(), dismissed.dismissed_reason.as_str()), (pb::LessonState::Dismissed, WHY));
        assert_eq!(reason(&house.convert(4, &dismissed).await.unwrap_err()), "LESSON_TRANSITION_INVALID");
        let stale = pb::Lesson { version: 1, ..dismissed };
        assert_eq!(reason(&house.dismiss(3, &stale).await.unwrap_err()), "VERSION_CONFLICT");
        let unknown = pb::GetLessonRequest { lesson_id: test_id(99, 1) };
        let refused = call!(house, lessons.get_lesson, "LessonService/GetLesson", unknown).unwrap_err();
        assert_eq!(reason(&refused), "LESSON_NOT_FOUND");
    }

    /// A13.4: what was put off is taken up once when its time comes, whoever works.
    async fn what_was_put_off_comes_back(store: TestStore) {
        let house = House::over(store).await;
        let now = house.clock.now();
        let mut lessons = Vec::new();
        for n in 1..=5 {
            let lesson = house.lesson_of_failure(n).await;
            lessons.push(house.defer(n, &lesson, now + Duration::from_secs(60)).await.unwrap());
        }
        let past = house.lesson_of_failure(9).await;
        assert_eq!(reason(&house.defer(9, &past, now).await.unwrap_err()), "DEFER_NOT_FUTURE");
        assert_eq!(house.parts.end_due_lessons().await.unwrap(), 0);
        let early = house.reactivate(1, &lessons[0]).await.unwrap();
        assert_eq!((early.state(), early.deferred_until), (pb::LessonState::Pending, None));
        house.clock.advance(Duration::from_secs(61));
        let replica = house.replica().await;
        let (a, b) = tokio::join!(house.parts.end_due_lessons(), replica.parts.end_due_lessons());
        assert_eq!(a.unwrap() + b.unwrap(), 4, "each once");
        let get = pb::GetLessonRequest { lesson_id: lessons[4].lesson_id.clone() };
        let back = call!(house, lessons.get_lesson, "LessonService/GetLesson", get).unwrap().lesson.unwrap();
        assert_eq!((back.state(), back.version), (pb::LessonState::Pending, 3));
        assert_eq!(content("x", "", "").slug, "x");
    }
}
