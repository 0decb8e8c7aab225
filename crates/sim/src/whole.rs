//! Simulation of a cluster of whole nodes: real sessions fed with bytes, real frames between nodes, 1 to 5 of them, with
//! 1 to 4 shards, each a group of replicas.
//!
//! A run has three parts: trouble under load; healing, in which every shard must find a leader, every request be answered
//! and all copies of a shard become equal; and the judgement of what the clients saw. All along, copies of a shard at one
//! index and log time must be equal.
//!
//! Reading order: `plan` (what a seed draws), `world` (events), `host`, `machines` (turns, links), `joining`, `links`,
//! `connections` (both ends), `requests`, `locks`, `queues`, `nemesis`, `judge`.

mod connections;
mod host;
mod joining;
mod judge;
mod links;
mod locks;
mod machines;
mod nemesis;
mod operator;
mod plan;
mod queues;
mod requests;
mod world;

use crate::faults::Tally;
use crate::group::Tracing;
use crate::linearizability::{self, Verdict};
use plan::{Load, Losses};
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Phase, World};

/// Events of one run; one that needs more never comes to rest.
const EVENTS_MAX: u64 = 5_000_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, if anything.
    pub violation: Option<String>,
    /// The misfortunes that befell it.
    pub tally: Tally,
    /// Operations on registers that clients asked.
    pub operations: u64,
    /// Times that a node began to lead a shard.
    pub leaderships: u64,
    /// Generations that shards began because a majority had lost its memory.
    pub resets: u64,
    /// Events.
    pub events: u64,
    /// Whether the checker gave the history up as too wide.
    pub is_undecided: bool,
    /// Tells two runs apart: made of all that was sent, and when.
    pub digest: u64,
    /// What happened, line by line, if that was asked for.
    pub trace: Vec<String>,
}

/// For sums over runs of both kinds.
impl From<Report> for crate::group::Report {
    fn from(report: Report) -> Self {
        crate::group::Report {
            violation: report.violation,
            tally: report.tally,
            operations: report.operations,
            leaderships: report.leaderships,
            events: report.events,
            resets: report.resets,
            is_undecided: report.is_undecided,
            trace: report.trace,
            ..crate::group::Report::default()
        }
    }
}

/// Runs a seed. A panic of a node counts as a violation.
pub fn run(seed: u64, tracing: Tracing) -> Report {
    run_with(seed, tracing, Losses::OfMinorities, Load::AsDrawn)
}

/// The same with clients that rest more: more trouble for the time that a search takes.
pub fn run_lightly(seed: u64, tracing: Tracing) -> Report {
    run_with(seed, tracing, Losses::OfMinorities, Load::Light)
}

/// The same where shards lose the memory of majorities too: each must go on with what is left.
pub fn run_with_resets(seed: u64, tracing: Tracing) -> Report {
    run_with(seed, tracing, Losses::OfMajorities, Load::Light)
}

fn run_with(seed: u64, tracing: Tracing, losses: Losses, load: Load) -> Report {
    crate::quiet::silence_panics_of_runs();
    let mut report = Report::default();
    let traced = tracing == Tracing::On;
    let made = crate::quiet::during(|| catch_unwind(|| World::new(seed, traced, losses, load)));
    let Ok(mut world) = made else {
        report.violation = Some(crate::quiet::last_panic());
        return report;
    };
    let ended = crate::quiet::during(|| catch_unwind(AssertUnwindSafe(|| play(&mut world))));
    if ended.is_err() {
        world.judge.accuse(crate::quiet::last_panic());
    }
    report.tally = world.tally;
    report.operations = world.judge.operations_count();
    report.leaderships = world.leaderships;
    report.events = world.events_done;
    report.resets = world.resets();
    report.digest = world.digest.finish();
    report.trace = world.trace.take().unwrap_or_default();
    report.violation = world.judge.violation.take();
    if report.violation.is_none() {
        match linearizability::check(&world.judge.history()) {
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
