//! The torc binary: the shell around the node. Sockets, files, the clock, threads and the environment are here and
//! nowhere else.
//!
//! Reading order: `cli` and `config` (what it is started with), `host` (clocks and draws), `listener`, `connection`,
//! and `serve` below, which starts them.

mod banner;
mod cli;
mod config;
mod connection;
mod host;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "no group hands its records over yet")
)]
mod journal;
mod listener;
mod logs;
#[allow(dead_code, unused_imports, reason = "the node speaks to others next")]
mod peer;

use anyhow::Context;
use config::{Command, Config};
use node::{Housework, Manner, Node};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Chosen for its small overhead per allocation and a build of seconds; see ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time between two turns of the node's housekeeping.
const TURN_MS: u64 = 100;
/// Time that housekeeping works before others run.
const STEPS_MAX: Duration = Duration::from_micros(500);
/// Turns between two looks at all clients: one a second.
const TURNS_PER_TENDING: u64 = 10;
/// Tasks between two looks at the runtime's shared queue. Fixed, because tuning it by measured times costs a
/// floating point power now and then and wins nothing for tasks as short as ours.
const GLOBAL_QUEUE_INTERVAL: u32 = 61;
/// Descriptors beside the clients': listeners, the runtime's, the logs'.
const OTHER_DESCRIPTORS: u64 = 64;

fn main() -> ExitCode {
    let command = match config::load(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Print(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Command::Serve(config) => match start(*config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("torc: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Builds the runtime and serves until somebody ends it.
fn start(mut config: Config) -> anyhow::Result<()> {
    let logs = logs::start(&config.settings)?;
    anyhow::ensure!(
        !config.settings.appendonly,
        "appendonly: the shards are not connected to the log yet; start without it"
    );
    raise_descriptors(&mut config);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.settings.worker_threads > 0 {
        builder.worker_threads(config.settings.worker_threads as usize);
    }
    let runtime = builder
        .enable_all()
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .build()
        .context("cannot start threads")?;
    runtime.block_on(serve(config, logs))?;
    // Connections end where they wait; whoever still holds a thread does not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(TURN_MS));
    Ok(())
}

async fn serve(config: Config, logs: logs::Logs) -> anyhow::Result<()> {
    // Ahead of the sockets: who was answered once may count on a clean end.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let listeners = listener::Listeners::open(&config.settings)?;
    let addresses: Vec<SocketAddr> = listeners
        .clients
        .iter()
        .map(|listener| listener.local_addr())
        .collect::<Result<_, _>>()
        .context("a socket has no address")?;
    let mut settings = config.settings.clone();
    settings.port = addresses.first().map_or(settings.port, SocketAddr::port);
    let host = host::SystemHost::new(config.config_file.clone());
    let node = Arc::new(Node::new(settings, Box::new(host)).context("cannot divide the slots")?);
    let (stop, mut stopped) = watch::channel(false);
    let clients = listeners
        .clients
        .into_iter()
        .map(|listener| (listener, Manner::Plain));
    let cluster = listeners
        .cluster
        .into_iter()
        .map(|listener| (listener, Manner::Cluster));
    for (listener, manner) in clients.chain(cluster) {
        tokio::spawn(listener::accept(
            listener,
            node.clone(),
            manner,
            stop.clone(),
        ));
    }
    tokio::spawn(keep_house(node.clone(), logs));
    // Never dropped: taking a large cache apart key by key would only hold up the end of the process.
    std::mem::forget(node.clone());
    // Whoever started us may have closed our output; that is no reason to stop.
    let mut output = std::io::stdout();
    let _ = output.write_all(banner::banner(&config, &addresses).as_bytes());
    let _ = output.flush();
    tracing::info!(?addresses, "ready to accept connections");

    tokio::select! {
        _ = interrupt.recv() => tracing::info!("interrupted, stopping"),
        _ = terminate.recv() => tracing::info!("terminated, stopping"),
        _ = stopped.wait_for(|stopped| *stopped) => tracing::info!("stopping"),
    }
    stop.send_replace(true);
    Ok(())
}

/// Gives the node its turns, and the logs their level.
async fn keep_house(node: Arc<Node>, logs: logs::Logs) {
    let mut turns = tokio::time::interval(Duration::from_millis(TURN_MS));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0u64.. {
        turns.tick().await;
        let mut since = Instant::now();
        for () in Housework::new(&node) {
            if since.elapsed() > STEPS_MAX {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
        }
        if turn % TURNS_PER_TENDING == 0 {
            node.tend_clients();
        }
        logs.set_level(node.settings.load().loglevel);
    }
}

/// Asks the system for as many descriptors as clients may need; if it gives fewer, fewer clients are admitted.
fn raise_descriptors(config: &mut Config) {
    let wanted = u64::from(config.settings.maxclients) + OTHER_DESCRIPTORS;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(given) if given < wanted => {
            let clients = given.saturating_sub(OTHER_DESCRIPTORS).max(1) as u32;
            tracing::warn!(
                given,
                maxclients = clients,
                "the system gives too few file descriptors; maxclients is lowered"
            );
            config.settings.maxclients = clients;
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot learn the limit of file descriptors"),
    }
}
