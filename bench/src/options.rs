//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::churn::parse_memory;
use crate::cluster::{ClusterOptions, LocksOptions, MovesOptions};
use crate::ring::RingOptions;
use crate::server_process::ServerSpec;
use crate::workload::Command;

/// Benchmarks Torc beside redis-server and other servers of the same protocol.
///
/// Without a subcommand: every row on every server, in interleaved rounds, as tables in Markdown.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
pub struct Options {
    /// What else to do.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Which rows, and how long.
    #[command(flatten)]
    pub compare: CompareOptions,
    /// Which servers.
    #[command(flatten)]
    pub servers: ServerOptions,
}

/// The servers and what is common to all ways to load them.
#[derive(Debug, Args)]
pub struct ServerOptions {
    /// Servers to measure, of redis, torc and the peers' names [default: redis, torc, every peer]
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAME,...")]
    pub servers: Vec<String>,
    /// One more server; {port} in COMMAND is replaced; it must stay in the foreground
    #[arg(long = "peer", global = true, value_name = "NAME=COMMAND")]
    pub peers: Vec<String>,
    /// Torc's binary [default: beside this one]
    #[arg(long, global = true, value_name = "PATH")]
    pub torc: Option<PathBuf>,
    /// Keys in the keyspace
    #[arg(long, global = true, default_value_t = 1_000_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=crate::requests::KEYS_COUNT_MAX))]
    pub keys: u64,
    /// Seed of the keys' order
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub seed: u64,
}

/// What the tables hold.
#[derive(Debug, Args)]
pub struct CompareOptions {
    /// GET and SET of 64 B at 50 clients, pinned, 3 rounds of a second: under a minute
    #[arg(long)]
    pub quick: bool,
    /// The pinned section alone (server and client on a core each): CPU per request
    #[arg(long)]
    pub pin: bool,
    /// Sections to run
    #[arg(long, value_delimiter = ',', value_name = "SECTION,...",
          default_values = ["pinned", "shared", "memory"])]
    pub sections: Vec<Section>,
    /// Commands to measure
    #[arg(long, value_delimiter = ',', value_name = "COMMAND,...",
          default_values = ["get", "set", "incr", "mset", "evalsha"])]
    pub rows: Vec<Command>,
    /// Requests that a connection sends before it waits for the replies
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64], value_name = "N,...",
          value_parser = parse_count)]
    pub pipelines: Vec<usize>,
    /// Sizes of values, in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024], value_name = "N,...",
          value_parser = parse_count)]
    pub values: Vec<usize>,
    /// Connections
    #[arg(long, value_delimiter = ',', default_values_t = [50, 500], value_name = "N,...",
          value_parser = parse_count)]
    pub clients: Vec<usize>,
    /// Rounds; each server runs each row once a round [default: 5, quick: 3]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Length of one run
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    pub seconds: f64,
    /// Requests of one run, in place of a length in seconds
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub requests: Option<u64>,
    /// Write every round's numbers here too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A section of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Server and client on a core each: CPU per request.
    Pinned,
    /// Both on all cores: requests/s and latency.
    Shared,
    /// Bytes per key.
    Memory,
}

/// What to do other than compare.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// One row on one server, pinned, for a profiler to attach to
    Profile {
        /// The command
        command: Command,
        /// Requests in a batch
        #[arg(value_parser = parse_count)]
        pipeline: usize,
        /// Size of a value, in bytes
        #[arg(long, default_value_t = 64, value_name = "N", value_parser = parse_count)]
        value: usize,
        /// Connections
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = parse_count)]
        clients: usize,
        /// How long
        #[arg(long, default_value_t = 30, value_name = "S")]
        seconds: u64,
    },
    /// Three nodes beside one node and redis-server with two replicas, and kills under load
    Cluster(ClusterOptions),
    /// Locks taken and released, and one that is handed on, beside redis-server, etcd and ZooKeeper
    Locks(LocksOptions),
    /// A fourth node joins three that hold data: how fast its share moves, and what clients notice
    Moves(MovesOptions),
    /// Shards on many nodes, on paper: balance, what one change moves, and the time that takes to know
    Ring(RingOptions),
    /// Values of mixed and shifting sizes against a memory limit: resident memory must hold
    Churn {
        /// The limit, as redis.conf writes it
        #[arg(long, default_value = "256mb", value_parser = parse_memory, value_name = "BYTES")]
        maxmemory: u64,
        /// How long, over all phases
        #[arg(long, default_value_t = 60, value_name = "S")]
        seconds: u64,
    },
}

/// A positive count, bounded so that a slip of the finger does not take all memory.
fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("a number of 1 to 1000000 is wanted".to_owned()),
    }
}

impl ServerOptions {
    /// The servers named, in their order; `default_names` (and the peers) when none are.
    ///
    /// # Errors
    /// A name that nothing stands for, a peer without a command, Torc not built.
    pub fn specs(&self, default_names: &[&str]) -> Result<Vec<ServerSpec>> {
        let peers = self
            .peers
            .iter()
            .map(|peer| {
                let (name, command) = peer
                    .split_once('=')
                    .with_context(|| format!("--peer {peer}: NAME=COMMAND is wanted"))?;
                ensure!(
                    command.contains("{port}"),
                    "--peer {name}: its command must take {{port}}"
                );
                Ok(ServerSpec {
                    name: name.to_owned(),
                    command: command.to_owned(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut names = self.servers.clone();
        if names.is_empty() {
            names.extend(default_names.iter().map(|name| (*name).to_owned()));
            names.extend(peers.iter().map(|peer| peer.name.clone()));
        }
        names
            .iter()
            .map(|name| match name.as_str() {
                "redis" => Ok(ServerSpec {
                    name: name.clone(),
                    command: "redis-server --port {port} --save '' --appendonly no".to_owned(),
                }),
                "torc" => self.torc_spec(),
                _ => peers
                    .iter()
                    .find(|peer| peer.name == *name)
                    .cloned()
                    .with_context(|| format!("no server is called {name}: name it by --peer")),
            })
            .collect()
    }

    /// Torc's binary, to be put between single quotes.
    ///
    /// # Errors
    /// It is not built, or its path cannot be quoted.
    pub fn torc_path(&self) -> Result<String> {
        let path = match &self.torc {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("torc"),
        };
        let path = path.canonicalize().with_context(|| {
            format!(
                "no Torc at {}: build it (cargo build --release) or leave it out (--servers redis)",
                path.display()
            )
        })?;
        let path = path.to_str().context("Torc's path is not UTF-8")?;
        ensure!(!path.contains('\''), "Torc's path holds a quote");
        Ok(path.to_owned())
    }

    fn torc_spec(&self) -> Result<ServerSpec> {
        let path = self.torc_path()?;
        Ok(ServerSpec {
            name: "torc".to_owned(),
            command: format!("'{path}' --port {{port}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::try_parse_from([&["bench"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_command_line_holds_together() {
        // Clap finds contradictions between arguments only when the parser is built.
        use clap::CommandFactory;
        Options::command().debug_assert();
        let options = parse(&["--rows", "get,mset", "--pipelines", "1,2", "--quick"]);
        assert_eq!(options.compare.rows, [Command::Get, Command::Mset]);
        assert_eq!(options.compare.pipelines, [1, 2]);
        assert!(Options::try_parse_from(["bench", "--pipelines", "0"]).is_err());
        assert!(Options::try_parse_from(["bench", "--keys", "0"]).is_err());
    }

    #[test]
    fn peers_are_named_servers() {
        // A peer that is silently left out makes a table without its column.
        let options = parse(&["--peer", "valkey=valkey-server --port {port} --save ''"]);
        let specs = options.servers.specs(&["redis"]).unwrap();
        let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["redis", "valkey"]);
        for bad in [
            &["--peer", "valkey"][..],
            &["--peer", "valkey=valkey-server"],
            &["--servers", "valkey"],
        ] {
            assert!(parse(bad).servers.specs(&["redis"]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_torc_that_is_not_built_is_named_as_such() {
        // The most frequent mistake gets the words that mend it.
        let options = parse(&["--torc", "/nonexistent/torc", "--servers", "torc"]);
        let error = options.servers.specs(&[]).unwrap_err();
        assert!(format!("{error:#}").contains("cargo build --release"));
    }
}
