//! `kill -9` of the all-in-one in the middle of governed runs.

use std::time::Duration;

use runspine_e2e::Shape;
use runspine_faults::{
    Blow, Load, Report, Script, Seeds, audit, blows, install, kills, ledger, quiet, setup,
};

/// Kills in all, unless the environment says otherwise.
const KILLS: u64 = 75;
/// Kills over one data folder: a round, with a seed of its own.
const IN_A_ROW: u64 = 25;
const BLOW: Blow = Blow { after: 20_000..600_000, away: 0..150_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_survives_and_every_run_ends() {
    let mut seeds = Seeds::of("all_in_one");
    let mut report = Report::default();
    let (mut left, mut entries) = (kills(KILLS), 0);
    while left > 0 {
        let mut dice = seeds.round();
        let now = left.min(IN_A_ROW);
        left -= now;
        let mut mesh = setup(Shape::AllInOne).start().await;
        let owner = mesh.owner();
        install(&owner).await;
        let load = Load::begin(&owner, &mut dice, 8, Script::thrown);
        blows(&mut mesh, "runspine", &mut dice, now, &BLOW).await;
        let diaries = load.end().await;
        quiet(&mesh, Duration::from_secs(60)).await;
        report.add(audit(&owner, &diaries).await);
        entries += ledger(&owner).await;
        // What was proved is still so after one more start.
        mesh.restart("runspine").await;
        assert_eq!(quiet(&mesh, Duration::from_secs(5)).await, quiet(&mesh, Duration::from_secs(5)).await);
    }
    eprintln!("all_in_one: {} kills, {entries} ledger entries verified", kills(KILLS));
    report.settle("all_in_one");
}
