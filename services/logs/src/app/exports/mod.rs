//! Exports: ordered, made by a worker, handed out with a record of it.

pub mod create;
pub mod download;
pub mod facts;
pub mod make;
pub mod view;
