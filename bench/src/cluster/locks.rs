//! Locks: pairs of acquire and release one after another, and a lock that fifty clients hand on.
//!
//! Each client is a thread with a connection of its own that waits for every answer, so what is seen is latency, not how
//! much a server could do at once. A pair of the plain path is `SET key owner NX PX` and the script that all lock
//! libraries release by (`EVALSHA`), or `DELIFEQ`; Torc's own are `LOCK.ACQUIRE` and `LOCK.RELEASE`. Of three nodes one is
//! asked, which leads a third of the locks. etcd's are those of its lock service over HTTP, and are written to disk, as
//! ZooKeeper's are.
//!
//! A hand-over is the time from when a holder sends its release until the next one has its answer.

use super::deployment::{Deployment, Kind, Torc};
use super::{etcd, zookeeper};
use crate::compare::Placement;
use crate::requests::encode_request;
use crate::server_process::{ServerProcess, ServerSpec, connect};
use crate::statistics::median;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a lock lasts that nobody releases, ms.
const TTL_MS: &str = "60000";
/// By which lock libraries release.
const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

/// How much is measured.
#[derive(Debug, Args)]
pub struct LocksOptions {
    /// Rounds; each deployment runs each row once a round
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub rounds: usize,
    /// Length of one run
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub seconds: f64,
    /// Clients that take locks of their own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16], value_name = "N,...")]
    pub clients: Vec<usize>,
    /// Clients that wait for one lock; 0 leaves hand-overs out
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub waiters: usize,
    /// Threads that serve clients in each node, as a redis-server has one; 0 is Torc's default, one for each core
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub worker_threads: usize,
    /// Leave etcd out
    #[arg(long)]
    pub without_etcd: bool,
    /// Leave ZooKeeper out
    #[arg(long)]
    pub without_zookeeper: bool,
}

/// By which requests a lock is taken and released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// SET NX PX, the script.
    Script,
    /// SET NX PX, DELIFEQ.
    Compare,
    /// LOCK.ACQUIRE, LOCK.RELEASE.
    Own,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Script => "SET NX PX, EVALSHA",
            Form::Compare => "SET NX PX, DELIFEQ",
            Form::Own => "LOCK.ACQUIRE, LOCK.RELEASE",
        }
    }
}

/// Locks that a client takes in turn: of many shards.
const LOCKS_OF_A_CLIENT: usize = 97;

/// What is asked.
struct Target<'a> {
    name: &'static str,
    address: SocketAddr,
    forms: &'static [Form],
    /// Which keys are asked for.
    is_wanted: &'a (dyn Fn(&[u8]) -> bool + Sync),
}

/// How long both halves of pairs took, us.
pub(super) struct Pairs {
    acquire: Histogram<u64>,
    release: Histogram<u64>,
    elapsed: Duration,
}

/// One number of each round.
#[derive(Default)]
struct Row {
    pairs_per_second: Vec<f64>,
    /// p50 and p99 of the acquire, then of the release, us.
    latencies_us: [Vec<f64>; 4],
}

impl Row {
    fn add(&mut self, pairs: &Pairs) {
        let per_second = pairs.acquire.len() as f64 / pairs.elapsed.as_secs_f64();
        self.pairs_per_second.push(per_second);
        let halves = [&pairs.acquire, &pairs.release];
        let quantiles = halves
            .into_iter()
            .flat_map(|half| [0.5, 0.99].map(|quantile| half.value_at_quantile(quantile)));
        for (values, value) in self.latencies_us.iter_mut().zip(quantiles) {
            values.push(value as f64);
        }
    }

    /// Prints it; `base_us` is the acquire's p50 that it is held against.
    fn print(&self, clients: usize, form: &str, name: &str, base_us: Option<f64>) {
        let [acquire_p50, acquire_p99, release_p50, release_p99] =
            [0, 1, 2, 3].map(|nth| median(&self.latencies_us[nth]));
        let ratio = base_us.map_or(String::new(), |base_us| {
            format!("{:.2}", acquire_p50 / base_us)
        });
        println!(
            "| {clients} | {form} | {name} | {:.0} | {acquire_p50:.0} / {acquire_p99:.0} | {release_p50:.0} / {release_p99:.0} | {ratio} |",
            median(&self.pairs_per_second),
        );
    }
}

/// Runs everything and prints the tables.
///
/// # Errors
/// A server that does not start, ends or answers wrongly.
pub fn run(options: &LocksOptions, torc: &Torc, placement: &Placement) -> Result<()> {
    let spec = ServerSpec {
        name: "redis".to_owned(),
        command: "redis-server --port {port} --save '' --appendonly no".to_owned(),
    };
    let redis = ServerProcess::start(&spec, &placement.server_cpus)?;
    let one = Deployment::start(Kind::TorcOne, torc, placement)?;
    let three = Deployment::start(Kind::TorcThree, torc, placement)?;
    let is_led_here = three.led_by_entry()?;
    let any = |_: &[u8]| true;
    let target = |name, address| Target {
        name,
        address,
        forms: &[Form::Script, Form::Compare, Form::Own],
        is_wanted: &any,
    };
    let targets = [
        Target {
            forms: &[Form::Script],
            ..target("redis-server", redis.address())
        },
        target(one.name(), one.entry()),
        // Of three nodes the one that is asked leads a third of all keys.
        target(three.name(), three.entry()),
        Target {
            is_wanted: &is_led_here,
            ..target("torc, three nodes, asked at the leader", three.entry())
        },
    ];
    println!(
        "| clients | form | deployment | pairs/s | acquire p50 / p99 µs | release p50 / p99 µs | acquire p50 to redis |"
    );
    println!("|---:|---|---|---:|---:|---:|---:|");
    for &clients in &options.clients {
        rows(options, clients, &targets)?;
    }
    println!();
    if options.waiters > 0 {
        print_hand_over_head(options.waiters);
        for target in &targets[1..3] {
            let round_trips = round_trips(target.address)?;
            let times = hand_overs(options, &|| Contender::open(target.address))?;
            print_hand_overs(target.name, &times, Some(&round_trips));
        }
        println!();
    }
    if !options.without_etcd {
        etcd::run_locks(options.seconds, &options.clients, placement)?;
        if options.waiters > 0 {
            etcd::run_hand_overs(options, placement)?;
        }
    }
    if !options.without_zookeeper {
        zookeeper::run_locks(options, placement)?;
    }
    Ok(())
}

fn rows(options: &LocksOptions, clients: usize, targets: &[Target]) -> Result<()> {
    let cells: Vec<(&Target, Form)> = targets
        .iter()
        .flat_map(|target| target.forms.iter().map(move |form| (target, *form)))
        .collect();
    let mut rows: Vec<Row> = cells.iter().map(|_| Row::default()).collect();
    for _ in 0..options.rounds {
        for ((target, form), row) in cells.iter().zip(&mut rows) {
            let pairs = on_threads(clients, options.seconds, |client, ending| {
                pairs_of_one(target, *form, client, ending)
            })
            .with_context(|| format!("{} on {}", form.name(), target.name))?;
            row.add(&pairs);
        }
    }
    let base_us = median(&rows[0].latencies_us[0]);
    for ((target, form), row) in cells.iter().zip(&rows) {
        row.print(clients, form.name(), target.name, Some(base_us));
    }
    Ok(())
}

/// Runs `one` on so many threads for so long; adds up what each saw of both halves.
pub(super) fn on_threads(
    clients: usize,
    seconds: f64,
    one: impl Fn(usize, &AtomicBool) -> Result<[Histogram<u64>; 2]> + Sync,
) -> Result<Pairs> {
    let ending = AtomicBool::new(false);
    let begun = Instant::now();
    let mut all = [Histogram::new(3)?, Histogram::new(3)?];
    std::thread::scope(|scope| {
        let (one, ending) = (&one, &ending);
        let threads: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || one(client, ending)))
            .collect();
        std::thread::sleep(Duration::from_secs_f64(seconds));
        ending.store(true, Ordering::Relaxed);
        for thread in threads {
            let halves = thread.join().expect("a loading thread does not panic")?;
            for (all, half) in all.iter_mut().zip(halves) {
                all.add(half)?;
            }
        }
        anyhow::Ok(())
    })?;
    let [acquire, release] = all;
    Ok(Pairs {
        acquire,
        release,
        elapsed: begun.elapsed(),
    })
}

/// The same for `etcd`, a row of its own.
pub(super) fn print_pairs(
    name: &str,
    form: &str,
    clients: usize,
    seconds: f64,
    one: impl Fn(usize, &AtomicBool) -> Result<[Histogram<u64>; 2]> + Sync,
) -> Result<()> {
    let mut row = Row::default();
    row.add(&on_threads(clients, seconds, one)?);
    row.print(clients, form, name, None);
    Ok(())
}

fn pairs_of_one(
    target: &Target,
    form: Form,
    client: usize,
    ending: &AtomicBool,
) -> Result<[Histogram<u64>; 2]> {
    let mut connection = Connection::open(target.address)?;
    let OwnedFrame::BulkString(digest) = connection.ask(&["SCRIPT", "LOAD", RELEASE])? else {
        bail!("SCRIPT LOAD does not answer a digest");
    };
    let digest = String::from_utf8(digest)?;
    let owner = format!("owner:{client}");
    let mut halves = [Histogram::new(3)?, Histogram::new(3)?];
    let keys: Vec<String> = (0u64..)
        .map(|nth| format!("lock:{client}:{nth}"))
        .filter(|key| (target.is_wanted)(key.as_bytes()))
        .take(LOCKS_OF_A_CLIENT)
        .collect();
    for key in keys.iter().cycle() {
        if ending.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let answer = match form {
            Form::Script | Form::Compare => {
                connection.ask(&["SET", key, &owner, "NX", "PX", TTL_MS])?
            }
            Form::Own => connection.ask(&["LOCK.ACQUIRE", key, &owner, TTL_MS])?,
        };
        let is_granted = match &answer {
            OwnedFrame::SimpleString(word) => word == b"OK",
            OwnedFrame::Integer(fence) => *fence > 0,
            _ => false,
        };
        ensure!(is_granted, "a free lock is not given: {answer:?}");
        halves[0].record(begun.elapsed().as_micros() as u64)?;
        let begun = Instant::now();
        let answer = match form {
            Form::Script => connection.ask(&["EVALSHA", &digest, "1", key, &owner])?,
            Form::Compare => connection.ask(&["DELIFEQ", key, &owner])?,
            Form::Own => connection.ask(&["LOCK.RELEASE", key, &owner])?,
        };
        ensure!(
            answer == OwnedFrame::Integer(1),
            "a lock is not released: {answer:?}"
        );
        halves[1].record(begun.elapsed().as_micros() as u64)?;
    }
    Ok(halves)
}

/// Somebody who takes one lock over and over.
pub(super) trait Contends: Send {
    /// Waits until it holds the lock.
    fn acquire(&mut self) -> Result<()>;
    /// Lets go of it.
    fn release(&mut self) -> Result<()>;
}

struct Contender {
    connection: Connection,
    owner: String,
}

impl Contender {
    fn open(address: SocketAddr) -> Result<Contender> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Contender {
            connection: Connection::open(address)?,
            owner: format!("owner:{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        })
    }
}

impl Contends for Contender {
    fn acquire(&mut self) -> Result<()> {
        let line = ["LOCK.ACQUIRE", "one", &self.owner, TTL_MS, "WAIT", "0"];
        let answer = self.connection.ask(&line)?;
        ensure!(matches!(answer, OwnedFrame::Integer(_)), "{answer:?}");
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let answer = self.connection.ask(&["LOCK.RELEASE", "one", &self.owner])?;
        ensure!(answer == OwnedFrame::Integer(1), "{answer:?}");
        Ok(())
    }
}

/// Has many contend for one lock; how long each hand-over took, us.
pub(super) fn hand_overs<C: Contends>(
    options: &LocksOptions,
    open: &(impl Fn() -> Result<C> + Sync),
) -> Result<Histogram<u64>> {
    let begun = Instant::now();
    // When the last holder sent its release, ns; 0 = nobody did yet.
    let released_ns = AtomicU64::new(0);
    let pairs = on_threads(options.waiters, options.seconds, |_, ending| {
        let mut contender = open()?;
        let mut times = Histogram::new(3)?;
        while !ending.load(Ordering::Relaxed) {
            contender.acquire()?;
            let now_ns = begun.elapsed().as_nanos() as u64;
            let before_ns = released_ns.load(Ordering::Relaxed);
            if before_ns > 0 {
                times.record(now_ns.saturating_sub(before_ns) / 1000)?;
            }
            released_ns.store(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
            contender.release()?;
        }
        Ok([times, Histogram::new(3)?])
    })?;
    Ok(pairs.acquire)
}

/// How long a PING takes while nothing else is asked, us.
fn round_trips(address: SocketAddr) -> Result<Histogram<u64>> {
    let mut connection = Connection::open(address)?;
    let mut times = Histogram::new(3)?;
    for _ in 0..2000 {
        let begun = Instant::now();
        connection.ask(&["PING"])?;
        times.record(begun.elapsed().as_micros() as u64)?;
    }
    Ok(times)
}

pub(super) fn print_hand_over_head(waiters: usize) {
    println!("One lock, {waiters} clients that wait for it in turn:\n");
    println!("| deployment | hand-overs | p50 / p99 µs | PING p50 / p99 µs |");
    println!("|---|---:|---:|---:|");
}

pub(super) fn print_hand_overs(
    name: &str,
    times: &Histogram<u64>,
    round_trips: Option<&Histogram<u64>>,
) {
    let quantiles = |times: &Histogram<u64>| {
        let [p50, p99] = [0.5, 0.99].map(|quantile| times.value_at_quantile(quantile));
        format!("{p50} / {p99}")
    };
    println!(
        "| {name} | {} | {} | {} |",
        times.len(),
        quantiles(times),
        round_trips.map_or(String::new(), quantiles),
    );
}

/// A connection that asks one thing at a time.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Connection> {
        let stream = connect(address, ANSWER_MAX)?;
        Ok(Connection {
            stream,
            request: Vec::new(),
            reply: Vec::new(),
        })
    }

    fn ask(&mut self, arguments: &[&str]) -> Result<OwnedFrame> {
        self.request.clear();
        let arguments: Vec<&[u8]> = arguments.iter().map(|word| word.as_bytes()).collect();
        encode_request(&arguments, &mut self.request);
        self.stream.write_all(&self.request)?;
        self.reply.clear();
        let mut chunk = [0; 4096];
        loop {
            let read = self.stream.read(&mut chunk)?;
            ensure!(read > 0, "the connection was closed");
            self.reply.extend_from_slice(&chunk[..read]);
            match decode(&self.reply) {
                Ok(Some((frame, _))) => return Ok(frame),
                Ok(None) => {}
                Err(error) => bail!("not RESP2: {error}"),
            }
        }
    }
}
