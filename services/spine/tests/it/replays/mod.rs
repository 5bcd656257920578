//! Replays, asked for at the door of a whole mesh whose workers work.

mod drive;
mod observe;
mod world;
