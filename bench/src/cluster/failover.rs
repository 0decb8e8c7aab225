//! Kills of a leading node under load: how long each key's writes stand still.

use super::deployment::{Deployment, Kind, Torc, leaders, torc_command};
use crate::compare::Placement;
use crate::replies::{Expected, ReplyCounter};
use crate::requests::{encode_request, key_of};
use crate::server_process::{ServerProcess, ServerSpec};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use redis_protocol::redis_keyslot;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Keys that are written, each by a thread of its own, one write after the other.
const KEYS: u64 = 48;
/// Load before the kill and after it.
const BEFORE: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_millis(1500);
/// Between two writes of one thread: the machine is to be loaded, not drowned.
const PAUSE: Duration = Duration::from_millis(4);
/// A write that takes longer has failed.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Kills a leading node `kills` times and prints the histogram of the gaps.
///
/// # Errors
/// A write that fails, a cluster that does not become whole again.
pub fn run(torc: &Torc, placement: &Placement, kills: usize) -> Result<()> {
    let mut cluster = Deployment::start(Kind::TorcThree, torc, placement)?;
    let mut gaps_ms = Histogram::<u64>::new_with_bounds(1, 60_000, 3)?;
    for kill in 0..kills {
        let led = one_kill(&mut cluster, kill % 3, &mut gaps_ms)
            .with_context(|| format!("kill {}", kill + 1))?;
        eprintln!(
            "  kill {}: {led} keys led, longest gap so far {} ms",
            kill + 1,
            gaps_ms.max()
        );
        let join = cluster.members()[(kill + 1) % 3].address();
        let spec = ServerSpec {
            name: "torc again".to_owned(),
            command: torc_command(torc, Some(join)),
        };
        // At the same address it is the same node, in a new life.
        let port = cluster.members()[kill % 3].address().port();
        cluster.members()[kill % 3] = ServerProcess::start_at(port, &spec, &placement.server_cpus)?;
        cluster.wait_until_whole()?;
    }
    println!(
        "Gap in the writes of a key whose leader is killed, {kills} kills, {} gaps: p50 {} ms, p90 {} ms, p99 {} ms, longest {} ms\n",
        gaps_ms.len(),
        gaps_ms.value_at_quantile(0.5),
        gaps_ms.value_at_quantile(0.9),
        gaps_ms.value_at_quantile(0.99),
        gaps_ms.max()
    );
    println!("| gap, ms | share |\n|---|---:|");
    for step in gaps_ms.iter_linear(50) {
        if step.count_since_last_iteration() > 0 {
            let share = step.count_since_last_iteration() as f64 / gaps_ms.len() as f64;
            println!(
                "| up to {} | {:.1} % |",
                step.value_iterated_to(),
                share * 100.0
            );
        }
    }
    Ok(())
}

/// One kill of `victim`; notes the gap of each key that it led, and returns how many those were.
fn one_kill(
    cluster: &mut Deployment,
    victim: usize,
    gaps_ms: &mut Histogram<u64>,
) -> Result<usize> {
    let survivors: Vec<SocketAddr> = (0..3)
        .filter(|nth| *nth != victim)
        .map(|nth| cluster.members()[nth].address())
        .collect();
    let victims_address = cluster.members()[victim].address();
    let victims_port = cluster.cluster_port(victims_address);
    let leaders = leaders(&cluster.members()[victim])?;
    let led: Vec<bool> = (0..KEYS)
        .map(|key| leaders[usize::from(redis_keyslot(&key_of(key)))] == victims_port)
        .collect();
    let ending = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..KEYS)
        .map(|key| {
            let (address, ending) = (survivors[key as usize % 2], ending.clone());
            std::thread::spawn(move || longest_gap(address, key, &ending))
        })
        .collect();
    std::thread::sleep(BEFORE);
    cluster.members()[victim].kill()?;
    std::thread::sleep(AFTER);
    ending.store(true, Ordering::Relaxed);
    let mut count = 0;
    for (thread, led) in threads.into_iter().zip(led) {
        let gap = thread.join().expect("a writing thread does not panic")?;
        if led {
            gaps_ms.saturating_record(gap.as_millis() as u64);
            count += 1;
        }
    }
    ensure!(count > 0, "the killed node led none of the keys");
    Ok(count)
}

/// Writes one key again and again; the longest time between two answers.
fn longest_gap(address: SocketAddr, key: u64, ending: &AtomicBool) -> Result<Duration> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut request = Vec::new();
    encode_request(&[b"SET", &key_of(key), b"value"], &mut request);
    let mut replies = ReplyCounter::new(Expected::Ok);
    let mut buffer = [0; 512];
    let mut answered_at: Option<Instant> = None;
    let mut longest = Duration::ZERO;
    while !ending.load(Ordering::Relaxed) {
        stream.write_all(&request)?;
        let mut count = 0;
        while count == 0 {
            let read = stream.read(&mut buffer).context("no answer to a write")?;
            ensure!(read > 0, "the node closed a connection");
            count = replies.take(&buffer[..read])?;
        }
        let now = Instant::now();
        if let Some(before) = answered_at.replace(now) {
            longest = longest.max(now - before);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(longest)
}
