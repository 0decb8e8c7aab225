//! Simulation of one group of `paxos::Replica`s: 1 to 5 voters to begin with, up to 7 nodes, clients, and trouble.
//!
//! A run has three parts: trouble under load; healing, in which the group must find a leader, answer a write and bring
//! every member to the same state; and the judgement of what the clients saw. Reading order: `plan` (what a seed draws),
//! `world` (events), `node`, `operations`, `perform` (what a replica asks for), `clients`, `nemesis`, `operator`, `judge`.

mod clients;
mod judge;
mod nemesis;
mod node;
mod operations;
mod operator;
mod perform;
mod plan;
mod trace;
mod world;

pub use world::Flaw;

use crate::faults::Tally;
use crate::linearizability::{self, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Phase, World};

/// Events of one run; one that needs more never comes to rest.
const EVENTS_MAX: u64 = 3_000_000;

/// How far the values of a key are searched. The judge has placed every answer in the log already; this is the second look.
const CONFIGURATIONS_MAX: usize = 1_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, if anything.
    pub violation: Option<String>,
    /// The misfortunes that befell it.
    pub tally: Tally,
    /// Operations that clients asked.
    pub operations: u64,
    /// Indexes chosen.
    pub chosen: u64,
    /// Times that leadership began.
    pub leaderships: u64,
    /// Events.
    pub events: u64,
    /// Whether the group lost a majority's memory, so that it could only stop.
    pub is_lost: bool,
    /// Of whole nodes: generations that shards began because a majority had lost its memory.
    pub resets: u64,
    /// Whether the checker gave the history up as too wide.
    pub is_undecided: bool,
    /// What happened, line by line, if that was asked for.
    pub trace: Vec<String>,
}

/// Whether a run writes down what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// No.
    Off,
    /// Yes.
    On,
}

/// Runs a seed. A panic of the replica counts as a violation.
pub fn run(seed: u64, flaw: Flaw, tracing: Tracing) -> Report {
    crate::quiet::silence_panics_of_runs();
    let mut report = Report::default();
    let made = crate::quiet::during(|| {
        catch_unwind(|| {
            let mut world = World::new(seed, flaw);
            if tracing == Tracing::On {
                world.keep_trace();
            }
            world
        })
    });
    let Ok(mut world) = made else {
        report.violation = Some(crate::quiet::last_panic());
        return report;
    };
    let ended = crate::quiet::during(|| catch_unwind(AssertUnwindSafe(|| play(&mut world))));
    if ended.is_err() {
        world.judge.violation = Some(crate::quiet::last_panic());
    }
    report.tally = world.tally;
    report.operations = world.operations.len() as u64;
    report.chosen = world.judge.chosen_last();
    report.leaderships = world.judge.leaderships;
    report.events = world.events_done;
    report.is_lost = world.is_lost;
    report.trace = world.trace.take().unwrap_or_default();
    report.violation = world.judge.violation.take();
    if report.violation.is_none() {
        match linearizability::check_within(&world.operations.history(), CONFIGURATIONS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Violation(violation) => {
                report.violation = Some(format!("not linearizable: {violation}"));
            }
            Verdict::Undecided { .. } => report.is_undecided = true,
        }
    }
    report
}

fn play(world: &mut World) {
    while world.judge.violation.is_none() && world.phase != Phase::Done {
        if !world.advance() {
            world.judge.accuse("nothing happens any more".to_owned());
        }
        if world.events_done > EVENTS_MAX {
            world
                .judge
                .accuse(format!("{EVENTS_MAX} events and no rest"));
        }
    }
}
