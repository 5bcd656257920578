//! `kill -9` while runs are being started.

use std::time::Duration;

use futures::future::join_all;
use runspine_e2e::Shape;
use runspine_faults::{Dice, Report, Script, Temper, audit, install, kills, ledger, play, quiet, setup};
use runspine_testkit::until_ok;
use tokio::time::sleep;

const KILLS: u64 = 45;
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_stops_anywhere_leaves_nothing_open() {
    let mut dice = Dice::of("starts");
    let mut mesh = setup(Shape::AllInOne).start().await;
    let owner = mesh.owner();
    install(&owner).await;
    let script = Script { steps: Vec::new(), end: None, temper: Temper::Dies, pause: Duration::ZERO };
    let mut diaries = Vec::new();
    let often = kills(KILLS);
    for _ in 0..often {
        // The connection is there, so that the time until the kill is time of the start.
        let asked = contracts_controls::v1::ListLimitsRequest::default();
        until_ok(Duration::from_secs(30), || async { owner.limits().list_limits(asked.clone()).await }).await;
        let starts = join_all((0..AT_ONCE).map(|_| play(&owner, &script)));
        let kill = async {
            sleep(dice.micros(2_000..500_000)).await;
            mesh.kill("runspine");
        };
        diaries.extend(tokio::join!(starts, kill).0);
        mesh.restart("runspine").await;
    }
    quiet(&mesh, Duration::from_secs(60)).await;
    let mut report = Report::default();
    report.add(audit(&owner, &diaries).await);
    let answered = diaries.iter().filter(|d| d.started.is_some()).count();
    let entries = ledger(&owner).await;
    eprintln!(
        "starts: {often} kills, {answered} of {} starts answered, {entries} ledger entries",
        diaries.len()
    );
    report.settle("starts");
}
