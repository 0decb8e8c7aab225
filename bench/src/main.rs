//! Benchmarks of Torc beside redis-server and other servers that speak the same protocol.
//!
//! One command starts every server itself on free loopback ports, loads them in interleaved rounds,
//! and prints tables in Markdown: server CPU per request with server and client pinned apart,
//! requests/s and latency with both on all cores, bytes per key. `profile` holds one row under
//! load for a profiler; `churn` watches whether `maxmemory` holds; `ring` places shards on paper.
//!
//! It knows nothing of Torc's insides but `placement` (for `ring`): a server is a command line, a port and a process id. CPU
//! and memory are read from `/proc`, so Linux is needed, and `taskset` and `setpriv` (util-linux).
//!
//! What the numbers rest on:
//! - The load loop is one thread; with both on two cores, what it costs the server does not get.
//!   So requests are encoded ahead and only keys' digits change, replies are compared, not parsed.
//! - Every reply is checked. An error, a miss or a wrong length ends the run.
//! - It is a closed loop: a connection sends a batch when the last is answered. A latency is that
//!   of a batch, and at full load it is mostly the waiting for the other connections' turn.
//! - Keys are uniformly random over a keyspace that was filled before, so caches of the processor
//!   miss as they do in earnest, and no GET misses.
//!
//! Reading order: `workload` (rows and reach), `random`, `requests`, `replies`, `load` (the loop),
//! `process` (`/proc`), `server_process`, `statistics`, `compare` (rounds), `memory`, `profile`,
//! `churn`, `cluster`, `ring`, `report` (tables), `options` (command line), and `main` here.

mod workload;

mod random;
mod replies;
mod requests;

mod load;
mod process;
mod server_process;

mod compare;
mod memory;
mod statistics;

mod churn;
mod cluster;
mod profile;
mod ring;

mod options;
mod report;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;

use compare::{Placement, Plan, RowResult};
use load::Until;
use memory::MemoryResult;
use options::{Action, CompareOptions, Options, Section, ServerOptions};
use server_process::{ServerProcess, ServerSpec};
use workload::{Command, Row};

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes in one line; a backtrace would bury it.
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let cpus = process::allowed_cpus()?;
    match options.action {
        None => compare_all(&options.compare, &options.servers, &cpus),
        Some(Action::Profile {
            command,
            pipeline,
            value,
            clients,
            seconds,
        }) => {
            let row = Row {
                command,
                pipeline,
                value_bytes: value,
                clients,
            };
            profile::run(
                &single_spec(&options.servers)?,
                &row,
                &Placement::apart(&cpus)?,
                options.servers.keys,
                Duration::from_secs(seconds),
                options.servers.seed,
            )
        }
        Some(Action::Cluster(cluster)) => cluster::run(&cluster, &options.servers, &cpus),
        Some(Action::Locks(locks)) => cluster::run_locks(&locks, &options.servers, &cpus),
        Some(Action::Moves(moves)) => cluster::run_moves(&moves, &options.servers, &cpus),
        Some(Action::Ring(ring)) => ring::run(&ring),
        Some(Action::Churn { maxmemory, seconds }) => churn::run(
            &single_spec(&options.servers)?,
            maxmemory,
            Duration::from_secs(seconds),
            &Placement::shared(&cpus),
            options.servers.seed,
        ),
    }
}

/// The one server of `profile` and `churn`: Torc unless another is named.
fn single_spec(servers: &ServerOptions) -> Result<ServerSpec> {
    let specs = match servers.servers.is_empty() {
        true => servers.specs(&["torc"])?,
        false => servers.specs(&[])?,
    };
    specs.into_iter().next().context("no server is named")
}

/// All that was measured, as `--json` writes it.
#[derive(Debug, Default, Serialize)]
struct Measured {
    machine: String,
    servers: Vec<String>,
    seed: u64,
    keys_count: u64,
    pinned: Vec<RowResult>,
    shared: Vec<RowResult>,
    memory: Vec<MemoryResult>,
}

fn plan(options: &CompareOptions, servers: &ServerOptions) -> Result<(Plan, Vec<Section>)> {
    ensure!(
        options.seconds.is_finite() && options.seconds > 0.0,
        "--seconds must be above 0"
    );
    let (rows, sections, rounds_count) = if options.quick {
        let rows = Row::all(&[Command::Get, Command::Set], &[1, 16, 64], &[64], &[50]);
        (rows, vec![Section::Pinned], options.rounds.unwrap_or(3))
    } else {
        let rows = Row::all(
            &options.rows,
            &options.pipelines,
            &options.values,
            &options.clients,
        );
        let sections = match options.pin {
            true => vec![Section::Pinned],
            false => options.sections.clone(),
        };
        (rows, sections, options.rounds.unwrap_or(5))
    };
    ensure!(rounds_count > 0, "--rounds must be above 0");
    let until = match options.requests {
        Some(count) => Until::Requests(count.max(1)),
        None => Until::Elapsed(Duration::from_secs_f64(options.seconds)),
    };
    let plan = Plan {
        rows,
        keys_count: servers.keys,
        rounds_count,
        until,
        seed: servers.seed,
    };
    Ok((plan, sections))
}

fn compare_all(options: &CompareOptions, servers: &ServerOptions, cpus: &[usize]) -> Result<()> {
    let (plan, sections) = plan(options, servers)?;
    let specs = servers.specs(&[report::BASE, report::TORC])?;
    let mut measured = Measured {
        machine: process::describe_machine(cpus),
        seed: plan.seed,
        keys_count: plan.keys_count,
        ..Measured::default()
    };
    for spec in &specs {
        let version = ServerProcess::start(spec, cpus)?.version();
        measured.servers.push(format!("{} {version}", spec.name));
    }
    println!("{}  ", measured.machine);
    println!(
        "{}; {} keys, {} rounds, seed {}\n",
        measured.servers.join(", "),
        plan.keys_count,
        plan.rounds_count,
        plan.seed
    );
    for section in sections {
        eprintln!("{section:?}:");
        match section {
            Section::Pinned => {
                measured.pinned = compare::run(&plan, &specs, &Placement::apart(cpus)?)?;
                println!("### Server CPU per request, server and client on a core each\n");
                println!("{}", report::cpu_table(&measured.pinned));
            }
            Section::Shared => {
                measured.shared = compare::run(&plan, &specs, &Placement::shared(cpus))?;
                println!("### Requests per second, server and client on all cores\n");
                println!("{}", report::throughput_table(&measured.shared));
                println!("### Round trip of a batch, server and client on all cores\n");
                println!("{}", report::latency_table(&measured.shared));
                println!("{}", report::client_bound_note(&measured.shared));
            }
            Section::Memory => {
                let placement = Placement::shared(cpus);
                measured.memory = memory::run(&specs, &placement, plan.keys_count)?;
                println!("### Memory per key: keys of 16 bytes, values of 64\n");
                println!("{}", report::memory_table(&measured.memory));
            }
        }
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&measured)?;
        fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
