//! Bytes per key: how much a fresh server grows by a million keys.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::compare::{Placement, fill};
use crate::requests::{Expiry, KEY_BYTES};
use crate::server_process::{ServerProcess, ServerSpec, pin_self};
use crate::workload::Keyspace;

/// Bytes of a value.
const VALUE_BYTES: usize = 64;
/// Resident memory counts as settled when it stayed equal for this long.
const SETTLED: Duration = Duration::from_millis(500);
/// Longest wait for it to settle; what stands then is taken.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What one server needed.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryResult {
    /// The server's name.
    pub server: String,
    /// Whether the keys had a time to live.
    pub with_expiry: bool,
    /// Keys set.
    pub keys_count: u64,
    /// Resident memory before the first key, in bytes.
    pub idle_rss_bytes: u64,
    /// Growth of resident memory per key, in bytes.
    pub bytes_per_key: f64,
    /// The same without the key's and the value's own bytes.
    pub overhead_per_key: f64,
}

/// Fills a fresh server of each kind, without and with expiry.
///
/// # Errors
/// A server that does not start, or answers wrongly.
pub fn run(
    specs: &[ServerSpec],
    placement: &Placement,
    keys_count: u64,
) -> Result<Vec<MemoryResult>> {
    pin_self(&placement.client_cpus)?;
    let mut results = Vec::new();
    for expiry in [Expiry::Without, Expiry::OneDay] {
        for spec in specs {
            let server = ServerProcess::start(spec, &placement.server_cpus)?;
            let idle_rss_bytes = settled_rss_bytes(&server)?;
            fill(
                server.address(),
                Keyspace::Strings,
                VALUE_BYTES,
                keys_count,
                expiry,
            )
            .with_context(|| format!("filling {}", spec.name))?;
            let growth_bytes = settled_rss_bytes(&server)?.saturating_sub(idle_rss_bytes);
            let bytes_per_key = growth_bytes as f64 / keys_count as f64;
            eprintln!(
                "  {} {expiry:?}: {bytes_per_key:.1} bytes per key",
                spec.name
            );
            results.push(MemoryResult {
                server: spec.name.clone(),
                with_expiry: expiry == Expiry::OneDay,
                keys_count,
                idle_rss_bytes,
                bytes_per_key,
                overhead_per_key: bytes_per_key - (KEY_BYTES + VALUE_BYTES) as f64,
            });
        }
    }
    Ok(results)
}

/// Resident memory once it no longer moves: tables are still being rehashed, and buffers of closed
/// connections freed, for a moment after the last reply.
///
/// # Errors
/// The server is gone.
pub fn settled_rss_bytes(server: &ServerProcess) -> Result<u64> {
    let started_at = Instant::now();
    let mut last_bytes = server.rss_bytes()?;
    let mut equal_since = Instant::now();
    while equal_since.elapsed() < SETTLED && started_at.elapsed() < SETTLE_MAX {
        thread::sleep(Duration::from_millis(50));
        let now_bytes = server.rss_bytes()?;
        if now_bytes != last_bytes {
            last_bytes = now_bytes;
            equal_since = Instant::now();
        }
    }
    Ok(last_bytes)
}
