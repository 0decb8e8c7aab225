//! Whether `maxmemory` holds: values of all sizes come and go, the sizes shift, memory is watched.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::compare::Placement;
use crate::load::{Connections, Until};
use crate::memory::settled_rss_bytes;
use crate::requests::MixedSizes;
use crate::server_process::{ServerProcess, ServerSpec, pin_self};

/// Resident memory above the idle server's may exceed `maxmemory` by this factor.
const RSS_FACTOR_MAX: f64 = 1.15;
/// Connections that write.
const CLIENTS: usize = 8;
/// Bounds of the values' sizes in bytes, phase after phase: a mix of all, then a shift to small
/// ones, which must be made of what large ones left, then to large ones, which must find room
/// between small ones.
const PHASES: [(&str, (usize, usize)); 3] = [
    ("mixed 16 B - 64 KiB", (16, 65_536)),
    ("small 16 B - 256 B", (16, 256)),
    ("large 8 KiB - 64 KiB", (8_192, 65_536)),
];

/// Writes to a server of `maxmemory_bytes` for `duration` and prints a line a second.
///
/// # Errors
/// A server that does not start or answers wrongly; memory that does not hold.
pub fn run(
    spec: &ServerSpec,
    maxmemory_bytes: u64,
    duration: Duration,
    placement: &Placement,
    seed: u64,
) -> Result<()> {
    pin_self(&placement.client_cpus)?;
    let spec = ServerSpec {
        name: spec.name.clone(),
        command: format!(
            "{} --maxmemory {maxmemory_bytes} --maxmemory-policy allkeys-lru",
            spec.command
        ),
    };
    let server = ServerProcess::start(&spec, &placement.server_cpus)?;
    let idle_bytes = settled_rss_bytes(&server)?;
    println!(
        "{} {}, maxmemory {} MiB, idle resident memory {:.1} MiB, seed {seed}",
        spec.name,
        server.version(),
        maxmemory_bytes >> 20,
        mib(idle_bytes),
    );
    println!(
        "\n| s | sizes | writes | used_memory MiB | resident MiB | (resident - idle) / maxmemory |"
    );
    println!("|---:|---|---:|---:|---:|---:|");
    // Far more keys than ever fit: almost every write makes a new one and evicts others.
    let keys_count = (maxmemory_bytes / 64).max(1_000);
    let mut connections = Connections::open(server.address(), CLIENTS)?;
    let started_at = Instant::now();
    let mut highest = (0.0_f64, "");
    let mut used_highest_bytes = 0;
    for (nth, (phase, sizes_bytes)) in PHASES.into_iter().enumerate() {
        let phase_end = duration * (nth as u32 + 1) / PHASES.len() as u32;
        let mut source = MixedSizes::new(sizes_bytes, keys_count, seed + nth as u64);
        while started_at.elapsed() < phase_end {
            let left = phase_end.saturating_sub(started_at.elapsed());
            let until = Until::Elapsed(left.min(Duration::from_secs(1)));
            let load = connections.run(&mut source, until)?;
            let used_bytes = memory_field(&server, "used_memory")?;
            let rss_bytes = server.rss_bytes()?;
            let factor = rss_bytes.saturating_sub(idle_bytes) as f64 / maxmemory_bytes as f64;
            used_highest_bytes = used_highest_bytes.max(used_bytes);
            if factor > highest.0 {
                highest = (factor, phase);
            }
            println!(
                "| {} | {phase} | {} | {:.1} | {:.1} | {factor:.3} |",
                started_at.elapsed().as_secs(),
                load.requests_count,
                mib(used_bytes),
                mib(rss_bytes),
            );
        }
    }
    println!(
        "\nhighest: {:.3} ({}), allowed {RSS_FACTOR_MAX}; used_memory at most {:.1} MiB of {:.1}",
        highest.0,
        highest.1,
        mib(used_highest_bytes),
        mib(maxmemory_bytes),
    );
    if used_highest_bytes < maxmemory_bytes / 10 * 9 {
        bail!("memory never filled: the run was too short to show anything");
    }
    if highest.0 > RSS_FACTOR_MAX {
        bail!("resident memory does not hold");
    }
    Ok(())
}

fn memory_field(server: &ServerProcess, name: &str) -> Result<u64> {
    server
        .info("memory")?
        .iter()
        .find(|(field, _)| field == name)
        .and_then(|(_, value)| value.parse().ok())
        .with_context(|| format!("no {name} in INFO memory"))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// `256mb` in bytes, with Redis's units (`k` is 1000, `kb` 1024 …).
///
/// # Errors
/// Anything else.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits_end = lower
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(digits_end);
    let factor: u64 = match unit {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit of memory (kb, mb, gb)")),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is no amount of memory (like 256mb)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_redis_reads_it() {
        // 256m taken for 256mb would judge the server by a limit that it does not have.
        assert_eq!(parse_memory("256mb"), Ok(256 << 20));
        assert_eq!(parse_memory("1K"), Ok(1_000));
        assert_eq!(parse_memory("7"), Ok(7));
        for bad in ["", "mb", "1tb", "-1mb", "1.5gb", "99999999999999999999gb"] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
    }
}
