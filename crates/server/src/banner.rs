//! What is printed at start: a few lines that a person can read.

use crate::config::{Config, MaxmemorySource};
use crate::listener::Listeners;
use anyhow::Context;
use node::Node;
use node::settings::{PEER_PORT_ABOVE, host_and_port, policy_name};
use std::fmt::Write;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Where a node's sockets are.
pub struct Ports {
    /// For any client.
    pub clients: Vec<SocketAddr>,
    cluster: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
}

impl Ports {
    /// Those of `listeners`.
    ///
    /// # Errors
    /// A socket that has no address.
    pub fn of(listeners: &Listeners) -> anyhow::Result<Ports> {
        let addresses = |listeners: &[TcpListener]| {
            let addresses = listeners.iter().map(TcpListener::local_addr);
            addresses.collect::<Result<Vec<_>, _>>()
        };
        let ports = || {
            std::io::Result::Ok(Ports {
                clients: addresses(&listeners.clients)?,
                cluster: addresses(&listeners.cluster)?,
                peers: addresses(&listeners.peers)?,
            })
        };
        ports().context("a socket has no address")
    }
}

/// The banner of a node with these sockets.
pub fn banner(config: &Config, ports: &Ports, node: &Node) -> String {
    let settings = &config.settings;
    let addresses = &ports.clients;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Torc {}, process {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    let listed = |addresses: &[SocketAddr]| {
        let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        if texts.is_empty() {
            "none".into()
        } else {
            texts.join(", ")
        }
    };
    let source = match config.maxmemory_source {
        MaxmemorySource::Configured => "",
        MaxmemorySource::Automatic => "; 60 % of this machine's, set it with --maxmemory",
    };
    let memory = format!(
        "{} ({}{source})",
        human_bytes(settings.maxmemory_bytes),
        policy_name(settings.maxmemory_policy)
    );
    let password = match (
        settings.requirepass.is_empty(),
        settings.bind_is_loopback() || settings.protected_mode,
    ) {
        (false, _) => "set",
        (true, true) => "none, so only this machine may connect",
        (true, false) => "none, and anybody may connect",
    };
    let port = addresses.first().map_or(settings.port, SocketAddr::port);
    let view = node.view();
    let member = format!(
        "{} of {} in cluster {}",
        node.cluster.me.node.0,
        view.nodes.len(),
        view.cluster_id
    );
    let join = view
        .node(node.cluster.me.node)
        .map_or_else(String::new, |me| {
            let address = host_and_port(&me.addresses.host, me.addresses.client_port);
            match me.addresses.client_port.checked_add(PEER_PORT_ABOVE) {
                Some(above) if above == me.addresses.peer_port => address,
                _ => format!("{address}@{}", me.addresses.peer_port),
            }
        });
    let taken = [&ports.clients, &ports.cluster, &ports.peers];
    let taken: Vec<u16> = taken.into_iter().flatten().map(SocketAddr::port).collect();
    let joining_port = port_beside(port, &taken);
    let rows = [
        ("clients", listed(addresses)),
        (
            "cluster",
            format!("{} (for cluster-aware clients)", listed(&ports.cluster)),
        ),
        ("nodes", listed(&ports.peers)),
        ("node", member),
        ("memory", memory),
        ("shards", node.shards_count().to_string()),
        ("password", password.into()),
        (
            "join it",
            format!("torc --port {joining_port} --join {join}"),
        ),
        ("try it", format!("redis-cli -p {port} ping")),
        ("stop it", "Ctrl-C".into()),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<10}{value}");
    }
    text
}

/// The next port above one, or below it at the end of ports, that is none of those taken.
fn port_beside(port: u16, taken: &[u16]) -> u16 {
    let others = (port..=u16::MAX).chain((1..port).rev());
    let mut free = others.filter(|port| !taken.contains(port));
    free.next().unwrap_or(port)
}

/// An amount as a person reads it: 15140000000 is `14.1 GiB`.
fn human_bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        if bytes >= 1 << shift {
            let amount = bytes as f64 / (1u64 << shift) as f64;
            let text = format!("{amount:.1}");
            return format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text));
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_for_another_node_is_none_of_this_nodes() {
        // Breaks if what the banner says is tried and the port is in use.
        assert_eq!(port_beside(6379, &[6379, 7379, 16379]), 6380);
        assert_eq!(port_beside(7000, &[7000, 7001, 7002]), 7003);
        assert_eq!(port_beside(65535, &[65535, 65534]), 65533);
    }

    #[test]
    fn amounts_are_short() {
        // Breaks if a person has to count digits.
        assert_eq!(human_bytes(15_140_000_000), "14.1 GiB");
        assert_eq!(human_bytes(2 << 30), "2 GiB");
        assert_eq!(human_bytes(512 << 20), "512 MiB");
        assert_eq!(human_bytes(100_000_000), "95.4 MiB");
        assert_eq!(human_bytes(1000), "1000 bytes");
    }
}
