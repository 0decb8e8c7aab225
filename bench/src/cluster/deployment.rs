//! A deployment: one node, three nodes, or redis-server with two replicas.

use super::Way;
use super::source::Keys;
use crate::compare::Placement;
use crate::requests::key_of;
use crate::server_process::{ServerProcess, ServerSpec};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use redis_protocol::redis_keyslot;
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a deployment may take until all its members hold what they should.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Slots of the Redis Cluster specification.
const SLOTS: u16 = 16_384;

/// What is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One node of Torc
    #[value(name = "one")]
    TorcOne,
    /// Three nodes of Torc, quorum writes
    #[value(name = "three")]
    TorcThree,
    /// redis-server with two replicas, and WAIT
    #[value(name = "redis")]
    RedisWait,
}

/// Running processes that serve together.
pub struct Deployment {
    kind: Kind,
    members: Vec<ServerProcess>,
}

/// The program under test, and how it is run.
#[derive(Debug)]
pub struct Torc {
    /// Where it is.
    pub path: String,
    /// Threads that serve clients, in each node; 0 = one for each core.
    pub worker_threads: usize,
}

impl Deployment {
    /// Starts it and waits until it is whole.
    ///
    /// # Errors
    /// A process that does not start, a cluster that does not become whole in a minute.
    pub fn start(kind: Kind, torc: &Torc, placement: &Placement) -> Result<Deployment> {
        let mut members: Vec<ServerProcess> = Vec::new();
        let count = match kind {
            Kind::TorcOne => 1,
            Kind::TorcThree | Kind::RedisWait => 3,
        };
        for nth in 0..count {
            let first = members.first().map(ServerProcess::address);
            let command = match kind {
                Kind::TorcOne | Kind::TorcThree => torc_command(torc, first),
                Kind::RedisWait => redis_command(first),
            };
            let spec = ServerSpec {
                name: format!("{kind:?} {}", nth + 1),
                command,
            };
            members.push(ServerProcess::start(&spec, &placement.server_cpus)?);
        }
        let deployment = Deployment { kind, members };
        deployment.wait_until_whole()?;
        Ok(deployment)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::TorcOne => "torc, one node",
            Kind::TorcThree => "torc, three nodes",
            Kind::RedisWait => "redis, two replicas and WAIT 1",
        }
    }

    /// Whether it needs WAIT for a write to be on another process when it is answered.
    pub fn waits(&self) -> bool {
        self.kind == Kind::RedisWait
    }

    /// Where load goes.
    pub fn entry(&self) -> SocketAddr {
        self.members[0].address()
    }

    /// Its processes.
    pub fn members(&mut self) -> &mut Vec<ServerProcess> {
        &mut self.members
    }

    /// CPU time of all processes so far, nanoseconds.
    ///
    /// # Errors
    /// One is gone.
    pub fn cpu_ns(&self) -> Result<u64> {
        self.members.iter().map(ServerProcess::cpu_ns).sum()
    }

    /// The keys of `way`, seen from the entry.
    ///
    /// # Errors
    /// CLUSTER SLOTS is not answered as Redis answers it.
    pub fn keys(&self, way: Way, keys_count: u64) -> Result<Keys> {
        if way == Way::Any {
            return Ok(Keys::Below(keys_count));
        }
        let is_led_here = self.led_by_entry()?;
        let wanted =
            |number: u32| is_led_here(&key_of(u64::from(number))) == (way == Way::AtLeader);
        let numbers: Arc<[u32]> = (0..keys_count as u32).filter(|&n| wanted(n)).collect();
        ensure!(!numbers.is_empty(), "no key is led as {way:?} asks");
        Ok(Keys::Of(numbers))
    }

    /// Whether the entry leads a key, as it is now.
    ///
    /// # Errors
    /// CLUSTER SLOTS is not answered as Redis answers it.
    pub fn led_by_entry(&self) -> Result<impl Fn(&[u8]) -> bool + Sync + use<>> {
        let leaders = leaders(&self.members[0])?;
        let entry = self.cluster_port(self.entry());
        Ok(move |key: &[u8]| leaders[usize::from(redis_keyslot(key))] == entry)
    }

    /// The port that CLUSTER SLOTS names for a node with this client port.
    pub fn cluster_port(&self, address: SocketAddr) -> u16 {
        address.port() + 1000
    }

    /// Waits until every member sees a whole deployment.
    ///
    /// # Errors
    /// It does not become whole in time.
    pub fn wait_until_whole(&self) -> Result<()> {
        let deadline = Instant::now() + WHOLE_MAX;
        loop {
            let state = self.is_whole();
            if matches!(state, Ok(true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} did not become whole: {state:?}", self.name());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_whole(&self) -> Result<bool> {
        match self.kind {
            Kind::TorcOne => Ok(true),
            Kind::RedisWait => {
                let fields: BTreeMap<_, _> =
                    self.members[0].info("replication")?.into_iter().collect();
                let online = |n: usize| {
                    fields
                        .get(&format!("slave{n}"))
                        .is_some_and(|s| s.contains("state=online"))
                };
                Ok(online(0) && online(1))
            }
            Kind::TorcThree => {
                for member in &self.members {
                    let OwnedFrame::BulkString(status) = member.ask(&["TORC", "STATUS"])? else {
                        bail!("TORC STATUS did not answer a text");
                    };
                    let status: serde_json::Value = serde_json::from_slice(&status)?;
                    let nodes = status["nodes"].as_array().map_or(0, Vec::len);
                    let alive = status["nodes"].as_array().into_iter().flatten();
                    let alive = alive.filter(|node| node["alive"] == true).count();
                    let lacks = ["shards_without_leader", "groups_short", "shards_misled"];
                    if nodes != self.members.len()
                        || alive != nodes
                        || lacks.iter().any(|lack| status[lack] != 0)
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// One range of CLUSTER SLOTS: its ends, the leader's port, then the followers'.
struct SlotRange {
    first: u16,
    last: u16,
    ports: Vec<u16>,
}

impl SlotRange {
    fn slots(&self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.last
    }
}

fn slots(member: &ServerProcess) -> Result<Vec<SlotRange>> {
    let OwnedFrame::Array(ranges) = member.ask(&["CLUSTER", "SLOTS"])? else {
        bail!("CLUSTER SLOTS did not answer an array");
    };
    let number = |frame: &OwnedFrame| match frame {
        OwnedFrame::Integer(number) => u16::try_from(*number).context("a number out of range"),
        other => bail!("not a number: {other:?}"),
    };
    let range = |frame: &OwnedFrame| -> Result<SlotRange> {
        let OwnedFrame::Array(parts) = frame else {
            bail!("a range that is no array");
        };
        ensure!(parts.len() > 2, "a range without nodes");
        let port = |node: &OwnedFrame| match node {
            OwnedFrame::Array(fields) if fields.len() > 1 => number(&fields[1]),
            other => bail!("a node that is no array: {other:?}"),
        };
        Ok(SlotRange {
            first: number(&parts[0])?,
            last: number(&parts[1])?,
            ports: parts[2..].iter().map(port).collect::<Result<_>>()?,
        })
    };
    ranges.iter().map(range).collect()
}

/// The port of each slot's leader, by CLUSTER SLOTS of `member`; 0 where there is none.
///
/// # Errors
/// It is not answered as Redis answers it.
pub fn leaders(member: &ServerProcess) -> Result<Vec<u16>> {
    let mut leaders = vec![0; usize::from(SLOTS)];
    for range in slots(member)? {
        for slot in range.slots() {
            leaders[usize::from(slot)] = range.ports[0];
        }
    }
    Ok(leaders)
}

/// The command line of a node, alone or joining the one at `first`.
pub fn torc_command(torc: &Torc, first: Option<SocketAddr>) -> String {
    let Torc {
        path,
        worker_threads,
    } = torc;
    let join = first.map_or(String::new(), |first| format!(" --join {first}"));
    format!("'{path}' serve --port {{port}} --worker-threads {worker_threads}{join}")
}

fn redis_command(first: Option<SocketAddr>) -> String {
    let of = first.map_or(String::new(), |first| {
        format!(" --replicaof {} {}", first.ip(), first.port())
    });
    format!(
        "redis-server --port {{port}} --save '' --appendonly no --repl-diskless-sync-delay 0{of}"
    )
}
