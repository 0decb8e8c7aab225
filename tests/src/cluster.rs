//! A cluster of several server processes on loopback ports.

use std::time::{Duration, Instant};

use crate::server::{Kind, Server, free_port};
use crate::{Client, Value};

/// How long a cluster may take until every node sees all shards led and replicated.
const WHOLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Distance of the ports that a node derives from its client port.
const CLUSTER_PORT_OFFSET: u16 = 1000;
/// Tries to find ports whose neighbours are free too.
const START_TRIES_MAX: usize = 5;

/// Running nodes, numbered from 1; dropping it ends them.
pub struct Cluster {
    nodes: Vec<Option<Server>>,
    ports: Vec<u16>,
}

impl Cluster {
    /// Starts `count` nodes with their defaults; the later ones join the first. Waits until the cluster is whole.
    pub fn start(count: usize) -> Cluster {
        Cluster::start_with(count, &[])
    }

    /// Starts `count` nodes with further flags. Panics with the logs if they form no cluster.
    pub fn start_with(count: usize, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            ports: Vec::new(),
        };
        for _ in 0..count {
            cluster.add(flags);
        }
        cluster.wait_until_whole();
        cluster
    }

    /// Starts one more node, which joins the first.
    pub fn add(&mut self, flags: &[&str]) {
        for _ in 0..START_TRIES_MAX {
            let port = free_port();
            if let Some(server) = self.try_start(port, flags) {
                self.nodes.push(Some(server));
                self.ports.push(port);
                return;
            }
        }
        panic!("no node could be started:\n{}", self.logs());
    }

    /// Starts node `number` again at its old address, after it was killed.
    pub fn restart(&mut self, number: usize, flags: &[&str]) {
        assert!(self.nodes[number - 1].is_none(), "node {number} runs");
        let server = self.try_start(self.ports[number - 1], flags);
        self.nodes[number - 1] = Some(server.expect("its old ports are free"));
    }

    /// A node that answers PING; none if another process has one of its ports.
    fn try_start(&self, port: u16, flags: &[&str]) -> Option<Server> {
        let join: Vec<String> = self
            .live()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let mut all = flags.to_vec();
        let join = join.join(",");
        if !join.is_empty() {
            all.extend(["--join", &join]);
        }
        let mut server = Server::spawn(Kind::Tested, port, &all);
        match server.wait_until_ready() {
            Ok(()) => Some(server),
            Err(log) if log.contains("in use") => None,
            Err(log) => panic!("a node did not start:\n{log}"),
        }
    }

    fn live(&self) -> impl Iterator<Item = u16> {
        let nodes = self.nodes.iter().zip(&self.ports);
        nodes.filter_map(|(node, port)| node.as_ref().map(|_| *port))
    }

    /// The client port of node `number`.
    pub fn port(&self, number: usize) -> u16 {
        self.ports[number - 1]
    }

    /// The port of node `number` for cluster-aware clients.
    pub fn cluster_port(&self, number: usize) -> u16 {
        self.ports[number - 1] + CLUSTER_PORT_OFFSET
    }

    /// A connection to node `number`.
    pub fn client(&self, number: usize) -> Client {
        self.node(number).client()
    }

    /// A node that runs.
    pub fn node(&self, number: usize) -> &Server {
        self.nodes[number - 1]
            .as_ref()
            .unwrap_or_else(|| panic!("node {number} was killed"))
    }

    /// Ends node `number` as SIGKILL does.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number - 1] = None;
    }

    /// Waits until every live node sees all shards led, has all voters of those that it leads, and leads what it should.
    pub fn wait_until_whole(&self) {
        let end = Instant::now() + WHOLE_WAIT_MAX;
        let ports: Vec<u16> = self.live().collect();
        for &port in &ports {
            loop {
                let status = Client::connect(port).map(|mut client| client.ask("TORC STATUS"));
                if status
                    .as_ref()
                    .is_ok_and(|status| is_whole(status, ports.len(), self.ports.len()))
                {
                    break;
                }
                assert!(
                    Instant::now() < end,
                    "the cluster did not become whole; node on port {port} says {status:?}\n{}",
                    self.logs()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// The ends of all live nodes' logs.
    pub fn logs(&self) -> String {
        let logs = self.nodes.iter().flatten();
        logs.map(|node| format!("--- node on port {} ---\n{}\n", node.port(), node.log()))
            .collect()
    }
}

/// Whether TORC STATUS says that so many nodes live, that all shards are led, and that the groups led by this node lack
/// nothing but the dead among all its nodes.
fn is_whole(status: &Value, live: usize, all: usize) -> bool {
    let Value::Bulk(json) = status else {
        return false;
    };
    let Ok(status) = serde_json::from_slice::<serde_json::Value>(json) else {
        return false;
    };
    let nodes = status["nodes"].as_array().map_or(0, |nodes| {
        nodes.iter().filter(|node| node["alive"] == true).count()
    });
    let is_settled = status["groups_short"] == 0 && status["shards_misled"] == 0;
    nodes == live && status["shards_without_leader"] == 0 && (is_settled || live < all)
}
