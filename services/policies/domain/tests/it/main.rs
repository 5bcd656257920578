//! The domain as its users see it: texts, decisions, slices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod analysis;
mod bad_texts;
mod decisions;
mod generate;
mod guards;
mod obligations;
mod properties;
mod schema_fixtures;
mod sequences;
mod speed;
mod support;
mod templates;
