//! ZooKeeper beside the other locks, for orientation: three members with their journals on disk, and the usual recipe.
//!
//! A lock is a folder. Who wants it makes an ephemeral sequential node in it and has it when no lower one is there; else it
//! watches the one before its own. Who gives it back deletes its node. Unlike the client crate's own recipe, which deletes in
//! the background, the answer to that is waited for.

use super::locks::{self, Contends, LocksOptions};
use crate::compare::Placement;
use crate::server_process::{ServerProcess, ServerSpec, free_port};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// What Debian's package `zookeeper` installs; it names the libraries that it needs.
const JAR: &str = "/usr/share/java/zookeeper.jar";
/// How long its members may take to agree on a leader.
const START_MAX: Duration = Duration::from_secs(30);
/// Load before it is measured: its code is compiled while it runs.
const WARM_UP_CLIENTS: usize = 16;
const WARM_UP_SECONDS: f64 = 8.0;
/// How long a session outlives its connection.
const SESSION_MAX: Duration = Duration::from_secs(20);

/// Prints a table for locks that clients take and release in turn, as [`super::locks`] does, and one for a lock that is
/// handed on; a line that says so if ZooKeeper is not there.
///
/// # Errors
/// Its members do not start or answer otherwise than ZooKeeper does.
pub fn run_locks(options: &LocksOptions, placement: &Placement) -> Result<()> {
    if !Path::new(JAR).exists() {
        println!("ZooKeeper is not installed (package zookeeper): left out\n");
        return Ok(());
    }
    let members = start(&placement.server_cpus)?;
    let address = members[0].address();
    locks::on_threads(WARM_UP_CLIENTS, WARM_UP_SECONDS, |client, ending| {
        pairs_of_one(address, client, ending)
    })?;
    println!("ZooKeeper, three members, an ephemeral sequential node a lock, for orientation:\n");
    println!(
        "| clients | form | deployment | pairs/s | acquire p50 / p99 µs | release p50 / p99 µs | |"
    );
    println!("|---:|---|---|---:|---:|---:|---:|");
    let one = |client: usize, ending: &AtomicBool| pairs_of_one(address, client, ending);
    for &clients in &options.clients {
        locks::print_pairs("ZooKeeper", "create, delete", clients, options.seconds, one)?;
    }
    println!();
    if options.waiters > 0 {
        let times = locks::hand_overs(options, &|| Holder::open(address, "/one"))?;
        locks::print_hand_over_head(options.waiters);
        locks::print_hand_overs("ZooKeeper, three members", &times, None);
        println!();
    }
    Ok(())
}

fn pairs_of_one(
    address: SocketAddr,
    client: usize,
    ending: &AtomicBool,
) -> Result<[Histogram<u64>; 2]> {
    let mut holder = Holder::open(address, &format!("/lock{client}"))?;
    let mut halves = [Histogram::new(3)?, Histogram::new(3)?];
    while !ending.load(Ordering::Relaxed) {
        let begun = Instant::now();
        holder.acquire()?;
        halves[0].record(begun.elapsed().as_micros() as u64)?;
        let begun = Instant::now();
        holder.release()?;
        halves[1].record(begun.elapsed().as_micros() as u64)?;
    }
    Ok(halves)
}

/// Somebody with a session who takes a lock.
struct Holder {
    runtime: Runtime,
    client: Client,
    /// The lock: the folder of its contenders' nodes.
    folder: String,
    /// What it holds the lock by.
    node: String,
}

impl Holder {
    fn open(address: SocketAddr, folder: &str) -> Result<Holder> {
        // One thread does it all: the session is driven whenever an answer is waited for.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let connector = Client::connector().with_session_timeout(SESSION_MAX);
            let client = connector.connect(&address.to_string()).await?;
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            match client.create(folder, b"", &options).await {
                Ok(_) | Err(Error::NodeExists) => Ok(client),
                Err(error) => Err(error),
            }
        })?;
        Ok(Holder {
            runtime,
            client,
            folder: folder.to_owned(),
            node: String::new(),
        })
    }
}

impl Contends for Holder {
    fn acquire(&mut self) -> Result<()> {
        let (client, folder) = (&self.client, &self.folder);
        self.node = self.runtime.block_on(async {
            let prefix = format!("{folder}/n-");
            let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
            let (_, sequence) = client.create(&prefix, b"", &options).await?;
            let own = format!("n-{sequence}");
            loop {
                let mut nodes = client.list_children(folder).await?;
                nodes.sort();
                let place = nodes.binary_search(&own).ok();
                let place = place.with_context(|| format!("{own} is not among {nodes:?}"))?;
                if place == 0 {
                    break;
                }
                let before = format!("{folder}/{}", nodes[place - 1]);
                let (stat, watcher) = client.check_and_watch_stat(&before).await?;
                if stat.is_some() {
                    watcher.changed().await;
                }
            }
            anyhow::Ok(format!("{folder}/{own}"))
        })?;
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let deleted = self.client.delete(&self.node, None);
        Ok(self.runtime.block_on(deleted)?)
    }
}

/// Three members that agree.
fn start(cpus: &[usize]) -> Result<Vec<ServerProcess>> {
    let ports: Vec<[u16; 3]> = (0..3)
        .map(|_| Ok([free_port()?, free_port()?, free_port()?]))
        .collect::<Result<_>>()?;
    let peers: String = (ports.iter().enumerate())
        .map(|(nth, [_, peer, election])| {
            format!("server.{}=127.0.0.1:{peer}:{election}\\n", nth + 1)
        })
        .collect();
    let mut members = Vec::new();
    for (nth, [port, _, _]) in ports.into_iter().enumerate() {
        let settings = format!(
            "tickTime=2000\\ninitLimit=10\\nsyncLimit=5\\ndataDir=data\\nadmin.enableServer=false\\nmaxClientCnxns=0\\n\
             clientPortAddress=127.0.0.1\\nclientPort={port}\\n4lw.commands.whitelist=srvr\\n{peers}"
        );
        let spec = ServerSpec {
            name: format!("ZooKeeper {}", nth + 1),
            command: format!(
                "sh -c 'mkdir data && echo {} > data/myid && printf \"{settings}\" > zoo.cfg && \
                 exec java -Xmx512m -cp {JAR} org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg'",
                nth + 1
            ),
        };
        let listens = |server: &ServerProcess| Ok(TcpStream::connect(server.address()).is_ok());
        members.push(ServerProcess::start_until(port, &spec, cpus, listens)?);
    }
    let deadline = Instant::now() + START_MAX;
    while !members.iter().all(|member| serves(member.address())) {
        ensure!(
            Instant::now() < deadline,
            "ZooKeeper's members do not agree"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(members)
}

/// Whether a member leads or follows: until then it answers no questions of sessions.
fn serves(address: SocketAddr) -> bool {
    let ask = || -> Result<String> {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("Mode: "))
}
