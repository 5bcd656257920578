//! The door in front of small services that show what reaches them.

mod admission;
mod exporters;
mod forwarding;
mod keys;
mod network;
mod recording;
mod world;
