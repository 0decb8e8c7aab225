//! Three nodes beside redis-server with two replicas: what a write costs that a majority holds before it is answered,
//! and how long writes stand still when a leading node is killed.
//!
//! All processes of a deployment run on the same CPUs as the load loop; CPU per request is that of all server
//! processes together. Redis gets one `WAIT 1 0` behind each batch that writes: its way to answer a write no sooner
//! than one replica has it. The deployments of a round are loaded in turn.

mod deployment;
mod etcd;
mod failover;
mod locks;
mod moves;
mod source;
mod zookeeper;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::compare::Placement;
use crate::load::{Connections, Until};
use crate::options::ServerOptions;
use crate::requests::Expiry;
use crate::statistics::{Ratio, median};
use crate::workload::Keyspace;
use crate::{compare, process};
use deployment::{Deployment, Kind, Torc};
pub use locks::LocksOptions;
pub use moves::MovesOptions;
use source::{Keys, Mix, MixedRequests};
use std::time::Duration;

/// Load before each measurement, not counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// Connections.
const CLIENTS: usize = 50;
/// Bytes of a value.
const VALUE_BYTES: usize = 64;

/// How much is measured.
#[derive(Debug, Args)]
pub struct ClusterOptions {
    /// Rounds; each deployment runs each row once a round
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub rounds: usize,
    /// Length of one run
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub seconds: f64,
    /// Requests that a connection sends before it waits for the replies
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64], value_name = "N,...")]
    pub pipelines: Vec<usize>,
    /// Mixes of requests
    #[arg(long, value_delimiter = ',', value_name = "MIX,...",
          default_values = ["set", "get", "mixed"])]
    pub mixes: Vec<Mix>,
    /// Deployments; without all of them etcd is left out too
    #[arg(long, value_delimiter = ',', value_name = "NAME,...",
          default_values = ["one", "three", "redis"])]
    pub deployments: Vec<Kind>,
    /// Kills of a leading node under load, for the gap in writes; 0 leaves them out
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub kills: usize,
    /// Leave the tables out: kills alone
    #[arg(long)]
    pub kills_only: bool,
    /// Threads that serve clients in each node, as a redis-server has one; 0 is Torc's default, one for each core
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub worker_threads: usize,
}

/// Which keys a row asks for, through which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Way {
    /// Any key through one node: what a plain client does.
    Any,
    /// Keys led by the node that is asked: what a cluster-aware client does.
    AtLeader,
    /// Keys led by another node.
    Forwarded,
}

/// One number of a run.
#[derive(Debug, Clone, Copy)]
struct Sample {
    requests_per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// A row of the table: a deployment, a mix, a way.
struct Cell {
    deployment: usize,
    way: Way,
    samples: Vec<Sample>,
}

/// Runs everything and prints the tables.
///
/// # Errors
/// A server that does not start, ends or answers wrongly.
pub fn run(options: &ClusterOptions, servers: &ServerOptions, cpus: &[usize]) -> Result<()> {
    println!("{}  \n", process::describe_machine(cpus));
    let placement = Placement::shared(cpus);
    let torc = Torc {
        path: servers.torc_path()?,
        worker_threads: options.worker_threads,
    };
    if !options.kills_only {
        tables(options, servers, &torc, &placement)?;
        if Kind::value_variants()
            .iter()
            .all(|kind| options.deployments.contains(kind))
        {
            etcd::run(
                options.seconds * options.rounds as f64,
                &placement.server_cpus,
            )?;
        }
    }
    if options.kills > 0 {
        failover::run(&torc, &placement, options.kills)?;
    }
    Ok(())
}

/// Moves shards to a node that joins, and prints what was seen.
///
/// # Errors
/// As [`run`].
pub fn run_moves(options: &MovesOptions, servers: &ServerOptions, cpus: &[usize]) -> Result<()> {
    println!("{}  \n", process::describe_machine(cpus));
    let torc = Torc {
        path: servers.torc_path()?,
        worker_threads: options.worker_threads,
    };
    moves::run(options, &torc, &Placement::shared(cpus))
}

/// Takes, releases and hands on locks, and prints how long that takes.
///
/// # Errors
/// As [`run`].
pub fn run_locks(options: &LocksOptions, servers: &ServerOptions, cpus: &[usize]) -> Result<()> {
    println!("{}  \n", process::describe_machine(cpus));
    let torc = Torc {
        path: servers.torc_path()?,
        worker_threads: options.worker_threads,
    };
    locks::run(options, &torc, &Placement::shared(cpus))
}

fn tables(
    options: &ClusterOptions,
    servers: &ServerOptions,
    torc: &Torc,
    placement: &Placement,
) -> Result<()> {
    let kinds = &options.deployments;
    let mut deployments = Vec::new();
    for &kind in kinds {
        let deployment = Deployment::start(kind, torc, placement)?;
        compare::fill(
            deployment.entry(),
            Keyspace::Strings,
            VALUE_BYTES,
            servers.keys,
            Expiry::Without,
        )
        .with_context(|| format!("filling {}", deployment.name()))?;
        deployments.push(deployment);
    }
    println!(
        "| requests | pipeline | deployment | requests/s | CPU µs per request, all processes | p50 / p99 µs | CPU to redis | requests/s to redis |"
    );
    println!("|---|---:|---|---:|---:|---:|---:|---:|");
    for &mix in &options.mixes {
        for &pipeline in &options.pipelines {
            let mut cells = Vec::new();
            for (nth, kind) in kinds.iter().enumerate() {
                let ways: &[Way] = match kind {
                    Kind::TorcThree => &[Way::AtLeader, Way::Any, Way::Forwarded],
                    Kind::TorcOne | Kind::RedisWait => &[Way::Any],
                };
                cells.extend(ways.iter().map(|&way| Cell {
                    deployment: nth,
                    way,
                    samples: Vec::new(),
                }));
            }
            for round in 0..options.rounds {
                for cell in &mut cells {
                    let deployment = &deployments[cell.deployment];
                    let keys = deployment.keys(cell.way, servers.keys)?;
                    let seed = servers.seed + round as u64;
                    let sample = measure(deployment, mix, pipeline, keys, seed, options.seconds)
                        .with_context(|| format!("{mix} at {pipeline} on {}", deployment.name()))?;
                    cell.samples.push(sample);
                }
            }
            print_rows(mix, pipeline, &cells, &deployments);
        }
    }
    println!();
    Ok(())
}

fn measure(
    deployment: &Deployment,
    mix: Mix,
    pipeline: usize,
    keys: Keys,
    seed: u64,
    seconds: f64,
) -> Result<Sample> {
    let mut source = MixedRequests::new(mix, pipeline, VALUE_BYTES, keys, deployment.waits(), seed);
    let mut connections = Connections::open(deployment.entry(), CLIENTS)?;
    connections.run(&mut source, Until::Elapsed(WARM_UP))?;
    let before_ns = deployment.cpu_ns()?;
    let load = connections.run(
        &mut source,
        Until::Elapsed(Duration::from_secs_f64(seconds)),
    )?;
    let cpu_ns = deployment.cpu_ns()?.saturating_sub(before_ns);
    // A WAIT is no request of the row, but what it costs belongs to the writes before it.
    let requests = load.requests_count as f64 * source.share_of_requests();
    let latency_us = |quantile| load.batch_latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Sample {
        requests_per_second: requests / load.elapsed.as_secs_f64(),
        cpu_us: cpu_ns as f64 / 1e3 / requests,
        p50_us: latency_us(0.5),
        p99_us: latency_us(0.99),
    })
}

fn print_rows(mix: Mix, pipeline: usize, cells: &[Cell], deployments: &[Deployment]) {
    let values = |cell: &Cell, number: fn(&Sample) -> f64| -> Vec<f64> {
        cell.samples.iter().map(number).collect()
    };
    let base = cells
        .iter()
        .find(|cell| deployments[cell.deployment].waits());
    for cell in cells {
        let middle = |number| median(&values(cell, number));
        let ratio = |number: fn(&Sample) -> f64| {
            base.map_or(String::new(), |base| {
                let ratio = Ratio::of_rounds(&values(cell, number), &values(base, number));
                format!(
                    "{:.2} ({:.2}–{:.2})",
                    ratio.of_medians, ratio.low, ratio.high
                )
            })
        };
        let way = match (cell.way, deployments[cell.deployment].kind()) {
            (Way::Any, Kind::TorcThree) => ", any key through one node",
            (Way::AtLeader, _) => ", asked at the leader",
            (Way::Forwarded, _) => ", led by another node",
            (Way::Any, Kind::TorcOne | Kind::RedisWait) => "",
        };
        println!(
            "| {mix} | {pipeline} | {}{way} | {:.0} | {:.2} | {:.0} / {:.0} | {} | {} |",
            deployments[cell.deployment].name(),
            middle(|sample| sample.requests_per_second),
            middle(|sample| sample.cpu_us),
            middle(|sample| sample.p50_us),
            middle(|sample| sample.p99_us),
            ratio(|sample| sample.cpu_us),
            ratio(|sample| sample.requests_per_second),
        );
    }
}
