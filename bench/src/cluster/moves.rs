//! A fourth node joins three that hold data: how fast its share moves, and what clients notice of that.
//!
//! Under load, one set of connections writes as fast as it can (its rate is looked at in windows of 100 ms), and
//! another writes single keys one after the other (its latencies are the pauses that a key's writes see).

use super::deployment::{Deployment, Kind, Torc, torc_command};
use crate::compare::Placement;
use crate::random::Xorshift;
use crate::replies::{Expected, ReplyCounter};
use crate::requests::{encode_request, key_of, value};
use crate::server_process::{ServerProcess, ServerSpec, connect};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use redis_protocol::resp2::types::OwnedFrame;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a value.
const VALUE_BYTES: usize = 1024;
/// Connections that fill, and those that write as fast as they can; their requests in one batch.
const WRITERS: usize = 4;
const PIPELINE: usize = 16;
/// Keys that are written one write after the other.
const SINGLES: u64 = 16;
/// Between two writes of one of them.
const PAUSE: Duration = Duration::from_millis(4);
/// One window of the rate.
const WINDOW: Duration = Duration::from_millis(100);
/// Load before the node joins, the first part of it not counted.
const BEFORE: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);
/// A write that takes longer has failed; so has a move.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const MOVE_MAX: Duration = Duration::from_secs(300);

/// How much is moved.
#[derive(Debug, Args)]
pub struct MovesOptions {
    /// Gigabytes of keys and values, before they are replicated
    #[arg(long, default_value_t = 1.0, value_name = "GB")]
    pub gigabytes: f64,
    /// Bytes a second that a node may send of moving shards, as --move-bandwidth takes it [default: no limit to speak of]
    #[arg(long, default_value = "10gb", value_name = "BYTES")]
    pub move_bandwidth: String,
    /// Threads that serve clients in each node; 0 is Torc's default, one for each core
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub worker_threads: usize,
}

/// Who votes in each shard, and how many bytes it has.
type Shards = BTreeMap<u64, (Vec<u64>, u64)>;

/// Moves idle and under load, and prints what was seen.
///
/// # Errors
/// A node that does not start, a write that fails, a move that does not end.
pub fn run(options: &MovesOptions, torc: &Torc, placement: &Placement) -> Result<()> {
    let keys = (options.gigabytes * 1e9 / VALUE_BYTES as f64) as u64;
    println!(
        "{keys} values of {VALUE_BYTES} bytes on three nodes, a fourth joins; --move-bandwidth {}\n",
        options.move_bandwidth
    );
    println!(
        "| load | moved, of the ideal | took | rate | writes/s before | during | worst 100 ms | of what the cores left | a key's write p50 / p99.9 / longest |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for loaded in [false, true] {
        println!("{}", one(options, torc, placement, keys, loaded)?);
    }
    Ok(())
}

fn one(
    options: &MovesOptions,
    torc: &Torc,
    placement: &Placement,
    keys: u64,
    loaded: bool,
) -> Result<String> {
    let mut cluster = Deployment::start(Kind::TorcThree, torc, placement)?;
    let entry = cluster.entry();
    let limit = ["CONFIG", "SET", "move-bandwidth", &options.move_bandwidth];
    cluster.members()[0].ask(&limit)?;
    fill(entry, keys)?;
    let before = shards(&cluster.members()[0], 3)?.context("three nodes hold everything")?;
    let load = loaded.then(|| Load::start(entry, keys));
    std::thread::sleep(if loaded { BEFORE } else { WINDOW });
    let begun = Instant::now();
    let spec = ServerSpec {
        name: "the fourth".to_owned(),
        command: torc_command(torc, Some(entry)),
    };
    let fourth = ServerProcess::start(&spec, &placement.server_cpus)?;
    let after = loop {
        if let Some(after) = shards(&cluster.members()[0], 4)? {
            break after;
        }
        ensure!(begun.elapsed() < MOVE_MAX, "the move does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    let took = begun.elapsed();
    let seen = load.map(|load| load.end(begun, took)).transpose()?;
    drop(fourth);
    let moved: u64 = after
        .iter()
        .map(|(shard, (voters, bytes))| {
            let held = &before[shard].0;
            bytes * voters.iter().filter(|id| !held.contains(id)).count() as u64
        })
        .sum();
    let ideal = after.values().map(|(_, bytes)| bytes).sum::<u64>() * 3 / 4;
    let gigabytes = moved as f64 / 1e9;
    let seconds = took.as_secs_f64();
    let seen = seen.map_or("– | – | – | – | –".to_owned(), |seen| {
        seen.cells()
    });
    Ok(format!(
        "| {} | {gigabytes:.2} GB, {:.2} | {seconds:.1} s | {:.3} GB/s | {seen} |",
        if loaded { "SET, 64 at once" } else { "none" },
        moved as f64 / ideal as f64,
        gigabytes / seconds,
    ))
}

/// The shards by the word of one node, if so many nodes are there and nothing is to move any more.
fn shards(member: &ServerProcess, nodes: usize) -> Result<Option<Shards>> {
    let OwnedFrame::BulkString(status) = member.ask(&["TORC", "STATUS"])? else {
        bail!("TORC STATUS did not answer a text");
    };
    let status: Value = serde_json::from_slice(&status)?;
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let is_settled = status["replicas_to_move"] == 0 && status["shards_without_leader"] == 0;
    if list("nodes").len() != nodes || !is_settled {
        return Ok(None);
    }
    let mut shards = Shards::new();
    for shard in list("shards") {
        let voters = shard["voters"].as_array().cloned().unwrap_or_default();
        let voters: Vec<u64> = voters.iter().filter_map(Value::as_u64).collect();
        let bytes = shard["bytes"].as_u64().unwrap_or(0);
        if voters.len() != 3 || bytes == 0 {
            // Its leader has not reported yet.
            return Ok(None);
        }
        shards.insert(shard["shard"].as_u64().unwrap_or(0), (voters, bytes));
    }
    let holders: std::collections::BTreeSet<u64> = shards
        .values()
        .flat_map(|(voters, _)| voters.iter().copied())
        .collect();
    Ok((holders.len() == nodes).then_some(shards))
}

/// A connection that sends batches of SETs and waits for their replies.
struct Writer {
    stream: TcpStream,
    replies: ReplyCounter,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Writer {
    fn connect(address: SocketAddr) -> Result<Writer> {
        let stream = connect(address, SILENCE_MAX)?;
        Ok(Writer {
            stream,
            replies: ReplyCounter::new(Expected::Ok),
            request: Vec::new(),
            buffer: vec![0; 4096],
        })
    }

    fn write(&mut self, keys: impl Iterator<Item = u64>, value: &[u8]) -> Result<()> {
        self.request.clear();
        let mut left = 0;
        for key in keys {
            encode_request(&[b"SET", &key_of(key), value], &mut self.request);
            left += 1;
        }
        self.stream.write_all(&self.request)?;
        while left > 0 {
            let read = self
                .stream
                .read(&mut self.buffer)
                .context("no answer to a write")?;
            ensure!(read > 0, "the node closed a connection");
            left -= self.replies.take(&self.buffer[..read])?;
        }
        Ok(())
    }
}

fn fill(address: SocketAddr, keys: u64) -> Result<()> {
    let threads = (0..WRITERS as u64).map(|part| {
        std::thread::spawn(move || -> Result<()> {
            let mut writer = Writer::connect(address)?;
            let value = value(VALUE_BYTES);
            let end = keys * (part + 1) / WRITERS as u64;
            let mut next = keys * part / WRITERS as u64;
            while next < end {
                let batch = next..end.min(next + PIPELINE as u64);
                next = batch.end;
                writer.write(batch, &value)?;
            }
            Ok(())
        })
    });
    let threads: Vec<JoinHandle<Result<()>>> = threads.collect();
    threads
        .into_iter()
        .try_for_each(|thread| thread.join().expect("no panic"))
}

/// When one key's writes were asked for, and how long each took.
type Asked = Vec<(Instant, Duration)>;

/// Writers at work.
struct Load {
    ending: Arc<AtomicBool>,
    begun: Instant,
    writers: Vec<JoinHandle<Result<()>>>,
    singles: Vec<JoinHandle<Result<Asked>>>,
    windows: JoinHandle<Vec<Window>>,
}

/// What happened in one [`WINDOW`].
struct Window {
    end: Instant,
    writes: u64,
    /// Time of all cores, in which none of them had work, s.
    idle_s: f64,
}

/// What clients saw.
struct Seen {
    before_per_s: f64,
    during_per_s: f64,
    /// The worst window, as a share of the rate before.
    worst: f64,
    /// The same, as a share of the rate that the cores left: what they spent on the move itself does not count, what they
    /// were idle does.
    worst_of_left: f64,
    pauses_us: Histogram<u64>,
}

impl Load {
    fn start(address: SocketAddr, keys: u64) -> Load {
        let ending = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let writers = (0..WRITERS as u64).map(|seed| {
            let (ending, count) = (ending.clone(), count.clone());
            std::thread::spawn(move || -> Result<()> {
                let mut writer = Writer::connect(address)?;
                let (value, mut random) = (value(VALUE_BYTES), Xorshift::new(seed + 1));
                while !ending.load(Ordering::Relaxed) {
                    writer.write((0..PIPELINE).map(|_| random.below(keys)), &value)?;
                    count.fetch_add(PIPELINE as u64, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let singles = (0..SINGLES).map(|key| {
            let ending = ending.clone();
            std::thread::spawn(move || {
                let mut writer = Writer::connect(address)?;
                let mut took = Vec::new();
                while !ending.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    writer.write(std::iter::once(key * keys / SINGLES), b"value")?;
                    took.push((asked, asked.elapsed()));
                    std::thread::sleep(PAUSE);
                }
                Ok(took)
            })
        });
        let (writers, singles) = (writers.collect(), singles.collect());
        let watched = ending.clone();
        let windows = std::thread::spawn(move || {
            let mut windows = Vec::new();
            let mut last = (0, idle_s());
            while !watched.load(Ordering::Relaxed) {
                std::thread::sleep(WINDOW);
                let now = (count.load(Ordering::Relaxed), idle_s());
                windows.push(Window {
                    end: Instant::now(),
                    writes: now.0 - last.0,
                    idle_s: now.1 - last.1,
                });
                last = now;
            }
            windows
        });
        Load {
            ending,
            begun: Instant::now(),
            writers,
            singles,
            windows,
        }
    }

    /// Ends it. The move began at `moved` and took so long.
    fn end(self, moved: Instant, took: Duration) -> Result<Seen> {
        self.ending.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.join().expect("no panic")?;
        }
        let windows = self.windows.join().expect("no panic");
        let within = |from: Instant, to: Instant| -> Vec<&Window> {
            let is_within = |window: &&Window| window.end > from + WINDOW && window.end <= to;
            windows.iter().filter(is_within).collect()
        };
        let per_s = |windows: &[&Window]| {
            let writes: u64 = windows.iter().map(|window| window.writes).sum();
            writes as f64 / (windows.len().max(1) as f64 * WINDOW.as_secs_f64())
        };
        let (before, during) = (
            within(self.begun + WARM_UP, moved),
            within(moved, moved + took),
        );
        let before_per_s = per_s(&before);
        // What a write costs when nothing moves, with all that clients and nodes do for it.
        let cores = std::thread::available_parallelism()?.get() as f64;
        let idle_before_s = before.iter().map(|window| window.idle_s).sum::<f64>();
        let idle_share =
            idle_before_s / (before.len().max(1) as f64 * WINDOW.as_secs_f64() * cores);
        let write_s = cores * (1.0 - idle_share) / before_per_s;
        let of_left = |window: &&Window| {
            let useful_s = window.writes as f64 * write_s;
            useful_s / (useful_s + window.idle_s) / (1.0 - idle_share)
        };
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let mut pauses_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
        for single in self.singles {
            let took_all = single.join().expect("no panic")?;
            let within = took_all.iter().filter(|(asked, _)| *asked >= moved);
            within.for_each(|(_, took)| pauses_us.saturating_record(took.as_micros() as u64));
        }
        Ok(Seen {
            before_per_s,
            during_per_s: per_s(&during),
            worst: least(&mut during.iter().map(|window| per_s(&[window]))) / before_per_s,
            worst_of_left: least(&mut during.iter().map(of_left)),
            pauses_us,
        })
    }
}

/// Time that the cores had no work since the machine began, s, in steps of a hundredth; 0 where nobody tells.
fn idle_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = |nth| {
        let field = stat.split_ascii_whitespace().nth(nth);
        field
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    // "cpu user nice system idle iowait …", in hundredths of a second.
    (ticks(4) + ticks(5)) / 100.0
}

impl Seen {
    fn cells(&self) -> String {
        let ms = |quantile: f64| self.pauses_us.value_at_quantile(quantile) as f64 / 1000.0;
        format!(
            "{:.0} | {:.0} | {:.0} % | {:.0} % | {:.1} / {:.1} / {:.1} ms",
            self.before_per_s,
            self.during_per_s,
            self.worst * 100.0,
            self.worst_of_left * 100.0,
            ms(0.5),
            ms(0.999),
            self.pauses_us.max() as f64 / 1000.0
        )
    }
}
