//! How fast a long run is proved.

use std::{sync::Arc, time::Instant};

use contracts_spine::v1::{GetRunProofRequest, ProofStatus};
use serde::Serialize;

use crate::{agent::Book, measure::Outcome, wire::Wire};

const TIMES: usize = 5;

/// What proving took; the medians of a few times.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Proof {
    /// Links of the run.
    pub links: u64,
    /// Links a second by the time that `logs` says it took.
    pub links_a_second: f64,
    /// Milliseconds that the caller waited.
    pub wall_ms: f64,
}

/// Proves the longest run.
pub async fn measure(wire: &Arc<Wire>, books: &[Book]) -> Outcome<Option<Proof>> {
    let Some(longest) = books.iter().max_by_key(|b| b.decisions + b.steps) else { return Ok(None) };
    let (mut inside, mut wall, mut links) = (Vec::new(), Vec::new(), 0);
    for _ in 0..TIMES {
        let request = GetRunProofRequest { run_id: longest.run_id.clone(), attempt: 1 };
        let begun = Instant::now();
        let proof = wire.client(0).get_run_proof(request).await?.into_inner();
        wall.push(begun.elapsed().as_secs_f64() * 1_000.0);
        if proof.overall() != ProofStatus::Verified {
            return Err(format!("the longest run is {:?}", proof.overall()).into());
        }
        links = proof.records_verified;
        inside.push(links as f64 * 1e6 / proof.duration_us.max(1) as f64);
    }
    Ok(Some(Proof { links, links_a_second: median(inside), wall_ms: median(wall) }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
