//! One row on one server for as long as a profiler wants to watch it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::compare::{Placement, fill, measure, prepare};
use crate::load::Until;
use crate::requests::{Expiry, RandomKeys};
use crate::server_process::{ServerProcess, ServerSpec, pin_self};
use crate::workload::Row;

/// Runs `row` on `spec` for `duration` and prints a line every two seconds.
///
/// # Errors
/// A server that does not start, or answers wrongly.
pub fn run(
    spec: &ServerSpec,
    row: &Row,
    placement: &Placement,
    keys_count: u64,
    duration: Duration,
    seed: u64,
) -> Result<()> {
    ensure!(!duration.is_zero(), "a profile needs a second at least");
    pin_self(&placement.client_cpus)?;
    let server = ServerProcess::start(spec, &placement.server_cpus)?;
    let (keyspace, value_bytes) = row.stage();
    fill(
        server.address(),
        keyspace,
        value_bytes,
        keys_count,
        Expiry::Without,
    )?;
    prepare(server.address(), row)?;
    let pid = server.pid();
    println!("{row} on {} {}, pid {pid}", spec.name, server.version());
    println!("attach with: perf record -g -p {pid} -- sleep 5");
    let mut source = RandomKeys::new(row, keys_count, seed);
    let started_at = Instant::now();
    while started_at.elapsed() < duration {
        let left = duration.saturating_sub(started_at.elapsed());
        let until = Until::Elapsed(left.min(Duration::from_secs(2)));
        let sample = measure(&server, row.clients, &mut source, until)?;
        println!(
            "{:>4} s  {:>9.0} requests/s  {:.3} µs server CPU per request  p50 {:.0} µs  \
             p99 {:.0} µs  client {:.0} % busy",
            started_at.elapsed().as_secs(),
            sample.requests_per_second,
            sample.server_cpu_us_per_request,
            sample.p50_us,
            sample.p99_us,
            sample.client_busy * 100.0,
        );
    }
    Ok(())
}
