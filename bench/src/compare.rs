//! Rows over several servers, in interleaved rounds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::load::{Connections, Until};
use crate::process;
use crate::requests::{AllKeys, Expiry, RandomKeys, ScriptLoad};
use crate::server_process::{ServerProcess, ServerSpec, pin_self};
use crate::workload::{Command, Keyspace, Row};

/// Load before each measurement, not counted: caches, buffers and threads get into their stride.
const WARM_UP: Duration = Duration::from_millis(200);
/// Connections that fill a keyspace.
const FILL_CLIENTS: usize = 8;

/// Which CPUs the server and the load loop run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The server's.
    pub server_cpus: Vec<usize>,
    /// The load loop's.
    pub client_cpus: Vec<usize>,
}

impl Placement {
    /// Server and client on a core each: neither takes the other's time or cache.
    ///
    /// # Errors
    /// Fewer than two CPUs.
    pub fn apart(cpus: &[usize]) -> Result<Self> {
        ensure!(
            cpus.len() >= 2,
            "pinning server and client apart needs two CPUs"
        );
        Ok(Self {
            server_cpus: vec![cpus[0]],
            client_cpus: vec![cpus[1]],
        })
    }

    /// Both may use every CPU, as when nobody pins anything.
    pub fn shared(cpus: &[usize]) -> Self {
        Self {
            server_cpus: cpus.to_vec(),
            client_cpus: cpus.to_vec(),
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Rows, those of one stage together.
    pub rows: Vec<Row>,
    /// Keys of a keyspace.
    pub keys_count: u64,
    /// Rounds; in each, every server runs the row once.
    pub rounds_count: usize,
    /// The end of one run.
    pub until: Until,
    /// Seed of the keys' order.
    pub seed: u64,
}

/// One server's run of one row.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Requests answered in a second.
    pub requests_per_second: f64,
    /// CPU time of all the server's threads, user and system, in microseconds.
    pub server_cpu_us_per_request: f64,
    /// Part of a core that the load loop used: near 1, it and not the server is the limit.
    pub client_busy: f64,
    /// Round trip of a batch, median, in microseconds.
    pub p50_us: f64,
    /// The same, 99th percentile.
    pub p99_us: f64,
    /// The same, 99.9th percentile.
    pub p999_us: f64,
}

/// All rounds of one server in one row.
#[derive(Debug, Clone, Serialize)]
pub struct ServerSamples {
    /// The server's name.
    pub server: String,
    /// A sample a round, in the order of the rounds.
    pub samples: Vec<Sample>,
}

impl ServerSamples {
    /// One number of every round.
    pub fn values(&self, number: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(number).collect()
    }
}

/// A row with what it came to.
#[derive(Debug, Clone, Serialize)]
pub struct RowResult {
    /// The row.
    pub row: Row,
    /// Servers in the order in which they were given.
    pub servers: Vec<ServerSamples>,
}

/// Runs every row of `plan` on every server, round by round in turn, so that what disturbs the
/// machine for a while disturbs all of them.
///
/// # Errors
/// A server that does not start, ends, or answers wrongly: with the row.
pub fn run(plan: &Plan, specs: &[ServerSpec], placement: &Placement) -> Result<Vec<RowResult>> {
    pin_self(&placement.client_cpus)?;
    let mut results = Vec::new();
    for stage_rows in plan.rows.chunk_by(|a, b| a.stage() == b.stage()) {
        let (keyspace, value_bytes) = stage_rows[0].stage();
        let mut servers = Vec::new();
        for spec in specs {
            let server = ServerProcess::start(spec, &placement.server_cpus)?;
            fill(
                server.address(),
                keyspace,
                value_bytes,
                plan.keys_count,
                Expiry::Without,
            )
            .with_context(|| format!("filling {}", spec.name))?;
            for row in stage_rows {
                prepare(server.address(), row)?;
            }
            servers.push(server);
        }
        for row in stage_rows {
            results.push(run_row(plan, row, specs, &servers)?);
        }
    }
    Ok(results)
}

/// Sets every key of a keyspace on the server at `address`, on connections that are closed again.
///
/// # Errors
/// A reply that is not as expected.
pub fn fill(
    address: SocketAddr,
    keyspace: Keyspace,
    value_bytes: usize,
    keys_count: u64,
    expiry: Expiry,
) -> Result<()> {
    let mut source = AllKeys::new(keyspace, value_bytes, keys_count, expiry);
    Connections::open(address, FILL_CLIENTS)?.run(&mut source, Until::SourceEnds)?;
    Ok(())
}

/// Gives the server at `address` what a row needs beside keys: its script.
///
/// # Errors
/// A reply that is not as expected.
pub fn prepare(address: SocketAddr, row: &Row) -> Result<()> {
    if row.command == Command::Evalsha {
        Connections::open(address, 1)?.run(&mut ScriptLoad::new(), Until::SourceEnds)?;
    }
    Ok(())
}

fn run_row(
    plan: &Plan,
    row: &Row,
    specs: &[ServerSpec],
    servers: &[ServerProcess],
) -> Result<RowResult> {
    let mut result = RowResult {
        row: *row,
        servers: specs
            .iter()
            .map(|spec| ServerSamples {
                server: spec.name.clone(),
                samples: Vec::new(),
            })
            .collect(),
    };
    for round in 0..plan.rounds_count {
        for (server, samples) in servers.iter().zip(&mut result.servers) {
            // Equal keys for every server of a round, others in the next.
            let mut source = RandomKeys::new(row, plan.keys_count, plan.seed + round as u64);
            let sample = measure(server, row.clients, &mut source, plan.until)
                .with_context(|| format!("{row} on {}", samples.server))?;
            samples.samples.push(sample);
        }
    }
    let summary: Vec<_> = result
        .servers
        .iter()
        .map(|server| {
            let cpu_us = server.values(|sample| sample.server_cpu_us_per_request);
            format!(
                "{} {:.3}",
                server.server,
                crate::statistics::median(&cpu_us)
            )
        })
        .collect();
    eprintln!("  {row}: CPU µs per request: {}", summary.join(", "));
    Ok(result)
}

/// One run: connections of its own, a warm-up, and the load with the clocks read around it.
///
/// # Errors
/// A reply that is not as expected, a server that ends.
pub fn measure(
    server: &ServerProcess,
    clients: usize,
    source: &mut RandomKeys,
    until: Until,
) -> Result<Sample> {
    let mut connections = Connections::open(server.address(), clients)?;
    connections.run(source, Until::Elapsed(WARM_UP))?;
    let client_before_ns = process::cpu_ns(std::process::id())?;
    let server_before_ns = server.cpu_ns()?;
    let load = connections.run(source, until)?;
    let server_ns = server.cpu_ns()?.saturating_sub(server_before_ns);
    let client_ns = process::cpu_ns(std::process::id())?.saturating_sub(client_before_ns);
    let latency_us = |quantile| load.batch_latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Sample {
        requests_per_second: load.requests_per_second(),
        server_cpu_us_per_request: server_ns as f64 / 1e3 / load.requests_count as f64,
        client_busy: client_ns as f64 / load.elapsed.as_nanos() as f64,
        p50_us: latency_us(0.5),
        p99_us: latency_us(0.99),
        p999_us: latency_us(0.999),
    })
}
