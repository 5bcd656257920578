//! Crash tests. Agents govern runs over real processes and keep a diary of every answer; processes are killed at random
//! points and started again; then every page of every diary is looked for in what the mesh stored.
//!
//! All chance comes from seeds, one for each round, printed when it begins:
//!
//! ```text
//! RUNSPINE_FAULTS_SEED=…     throws the same dice again, from that round on
//! RUNSPINE_FAULTS_KILLS=…    how often each process is killed (default: 340 kills over all tests)
//! RUNSPINE_FAULTS_PROCESS=…  which of the six are killed, e.g. runspine-logs,runspine-spine (default all)
//! cargo nextest run -p runspine-faults --no-capture
//! ```
//!
//! For tests only, so it panics with a message where a test should fail.

#![expect(clippy::print_stderr, reason = "the seed and the counts are what a person needs of a crash test")]
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod audit;
mod diary;
mod dice;
mod driver;

mod pack;
mod peer;
mod player;
mod setup;
mod store;

pub use audit::{Report, audit, contract, ledger};
pub use diary::{Diary, Kept, Kind};
pub use dice::{Dice, Seeds, is_chosen, kills};
pub use driver::{Blow, Load, blows};

pub use pack::install;
pub use peer::Peer;
pub use player::{Act, Script, Temper, play, start_request};
pub use runspine_e2e::DOMAINS;
pub use setup::{LEASE_MS, setup};
pub use store::{Store, quiet};
