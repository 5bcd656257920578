//! `kill -9` of one process of six.

use std::time::Duration;

use contracts_common::common::v1::StepOutcome;
use runspine_e2e::{Mesh, Shape};
use runspine_faults::{
    Act, Blow, Dice, Load, Script, Seeds, Temper, audit, blows, install, is_chosen, kills, ledger, quiet,
    setup,
};

/// Kills of each domain, and of the spine under each load, unless the environment says otherwise.
const OF_A_DOMAIN: u64 = 40;
const OF_THE_SPINE: u64 = 90;

/// An agent that does little but complete, and comes back whatever happens.
fn completing(dice: &mut Dice) -> Script {
    let end = if dice.chance(500) { StepOutcome::Success } else { StepOutcome::Failure };
    let pause = dice.micros(0..3_000);
    Script { steps: vec![Act::Think], end: Some(end), temper: Temper::Returns, pause }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_dies_during_completions_loses_and_doubles_nothing() {
    let mut seeds = Seeds::of("domains");
    let often = kills(OF_A_DOMAIN);
    let mut mesh = setup(Shape::Separate).start().await;
    let owner = mesh.owner();
    install(&owner).await;
    let blow = Blow { after: 100_000..600_000, away: 20_000..400_000 };
    for process in runspine_faults::DOMAINS.map(|domain| format!("runspine-{domain}")) {
        if !is_chosen(&process) {
            continue;
        }
        let mut dice = seeds.round();
        let load = Load::begin(&owner, &mut dice, 8, completing);
        blows(&mut mesh, &process, &mut dice, often, &blow).await;
        let diaries = load.end().await;
        quiet(&mesh, Duration::from_secs(90)).await;
        audit(&owner, &diaries).await.settle(&format!("{process} killed {often} times"));
    }
    eprintln!("domains: {} ledger entries verified", ledger(&owner).await);
}

/// The spine dies again and again, often before its start is over, while agents do what `write` says.
async fn the_spine_dies(name: &str, write: fn(&mut Dice) -> Script) {
    if !is_chosen("runspine-spine") {
        return;
    }
    let (mut seeds, often) = (Seeds::of(name), kills(OF_THE_SPINE));
    let mut mesh: Mesh = setup(Shape::Separate).start().await;
    let owner = mesh.owner();
    install(&owner).await;
    let blow = Blow { after: 50_000..600_000, away: 0..200_000 };
    let mut dice = seeds.round();
    let load = Load::begin(&owner, &mut dice, 8, write);
    blows(&mut mesh, "runspine-spine", &mut dice, often, &blow).await;
    let diaries = load.end().await;
    quiet(&mesh, Duration::from_secs(90)).await;
    audit(&owner, &diaries).await.settle(&format!("{name}: {often} kills"));
    eprintln!("{name}: {} ledger entries verified", ledger(&owner).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spine_that_dies_during_completions_goes_on_where_it_was() {
    the_spine_dies("spine-completing", completing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spine_that_dies_between_journal_and_call_goes_on_where_it_was() {
    the_spine_dies("spine-working", Script::thrown).await;
}
