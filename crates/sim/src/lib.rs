//! Simulation of a cluster on one thread from one seed, and the checkers that judge what it did.
//!
//! What stands here knows no file, clock or argument: `main.rs` is the shell (`cargo sim`), and everything else is a
//! function of a seed or of a history that it is given. The same seed always gives the same run.
//!
//! Reading order: `random`, `clock`, `network`, `disk`, `faults` (the pieces of a world), `group` (the world of one Paxos
//! group), `whole` (that of a cluster of whole nodes), `history` (what clients saw), `linearizability` (whether one register
//! per key explains it).

pub mod agenda;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod group;
pub mod history;
pub mod linearizability;
pub mod model;
pub mod mutants;
pub mod network;
mod quiet;
pub mod random;
pub mod whole;
