//! Exports: ordered, gathered where other domains own a part, made by a worker, handed out with a record of it.

mod archive;
pub mod content;
pub mod create;
pub mod download;
pub mod facts;
mod incident;
pub mod make;
pub mod parts;
mod records;
mod table;
mod tables;
pub mod view;
