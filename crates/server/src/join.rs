//! Joining a cluster: the nodes that were named are asked in turn until one lets this process in.

use crate::listener;
use crate::peer::{HandshakeError, Identity, Purpose, ask_to_join, connect, greet};
use anyhow::{Context, bail};
use node::meta::{JoinRequest, NodeAddresses, RequestId, Welcome};
use node::settings::{JoinAddress, PEER_PORT_ABOVE};
use node::{NodeId, ReplicaId, Settings};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Pause after all nodes were asked in vain.
const PAUSE: Duration = Duration::from_millis(200);
/// Time between two lines that say so.
const TOLD_EVERY: Duration = Duration::from_secs(3);
/// How long nodes may refuse this process before it gives up: one that was just killed still counts as alive for a
/// moment when it comes back.
const REFUSED_MAX: Duration = Duration::from_secs(15);
/// How long a node may take to answer: the cluster has to agree.
const ANSWER_MAX: Duration = Duration::from_secs(12);

/// Has this process let in by one of `settings.join`. Tries until one answers.
///
/// # Errors
/// Another secret, or a refusal that stays.
pub async fn join(
    settings: &Settings,
    addresses: NodeAddresses,
    identity: &Identity,
    name: String,
) -> anyhow::Result<Welcome> {
    let request = JoinRequest {
        id: RequestId(rand::random()),
        name,
        addresses: addresses.clone(),
        weight: settings.weight,
        zone: settings.zone.clone(),
    };
    let bytes = request.encode();
    let targets: Vec<&JoinAddress> = settings
        .join
        .iter()
        .filter(|target| !is_self(target, &addresses, settings))
        .collect();
    if targets.is_empty() {
        bail!("--join names no node but this one; leave it out to found a cluster");
    }
    let (mut told, mut refused_since): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let mut errors = Vec::new();
        for target in &targets {
            match ask(target, identity, &bytes).await {
                Ok(welcome) => return Ok(welcome),
                Err(HandshakeError::Secret) => {
                    bail!("cannot join by {target}: {}", HandshakeError::Secret)
                }
                Err(error) => {
                    if let HandshakeError::Refused(_) = error {
                        let since = *refused_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > REFUSED_MAX {
                            bail!("cannot join by {}: {error}", named(target));
                        }
                    }
                    errors.push(format!("{}: {error}", named(target)));
                }
            }
        }
        if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            tracing::warn!(
                errors = errors.join("; "),
                "no node of the cluster to join lets this one in yet, trying again"
            );
            told = Some(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A node to join with the port that is really asked: a node's clients' port is often the only one that people know.
fn named(target: &JoinAddress) -> String {
    match target.port.checked_add(PEER_PORT_ABOVE) {
        Some(above) if above == target.peer_port => {
            format!("{target} (asked at port {})", target.peer_port)
        }
        _ => target.to_string(),
    }
}

async fn ask(
    target: &JoinAddress,
    identity: &Identity,
    request: &[u8],
) -> Result<Welcome, HandshakeError> {
    let mut stream = connect(&target.peer_address()).await?;
    greet(&mut stream, identity, Purpose::Join, NodeId(0)).await?;
    let answer = tokio::time::timeout(ANSWER_MAX, ask_to_join(&mut stream, request))
        .await
        .map_err(|_| HandshakeError::Slow)??;
    Welcome::decode(&answer).map_err(|error| HandshakeError::Refused(error.to_string()))
}

/// Whether an address is this process: its peer port on this machine.
fn is_self(target: &JoinAddress, addresses: &NodeAddresses, settings: &Settings) -> bool {
    let [client_port, _, peer_port, _] = addresses.ports;
    if target.port != client_port || target.peer_port != peer_port {
        return false;
    }
    let address: Option<IpAddr> = target.host.parse().ok();
    target.host == addresses.host
        || target.host == "localhost"
        || address.is_some_and(|address| address.is_loopback() || settings.bind.contains(&address))
}

/// Where others reach the ports of `listeners`.
///
/// # Errors
/// Bound to every address, and none of them is found out.
pub fn addresses(
    settings: &Settings,
    listeners: &listener::Listeners,
) -> anyhow::Result<NodeAddresses> {
    let port = |listeners| listener::port_of(listeners).unwrap_or(0);
    Ok(NodeAddresses {
        host: host(settings)?,
        ports: [
            port(&listeners.clients),
            port(&listeners.cluster),
            port(&listeners.peers),
            0,
        ],
    })
}

/// The name or address by which others reach this node.
fn host(settings: &Settings) -> anyhow::Result<String> {
    if !settings.advertise.is_empty() {
        return Ok(settings.advertise.clone());
    }
    let bound = settings
        .bind
        .iter()
        .find(|address| !address.is_unspecified());
    if let Some(bound) = bound {
        return Ok(bound.to_string());
    }
    outgoing_address()
        .context(
            "cannot find out by which address others reach this node: name it with --advertise",
        )
        .map(|address| address.to_string())
}

/// The address that this machine uses towards others. Nothing is sent: connecting a UDP socket only asks the system for
/// the route. The address asked for is reserved for documentation (RFC 5737).
fn outgoing_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(SocketAddr::from(([192, 0, 2, 1], 9)))?;
    Ok(socket.local_addr()?.ip())
}

/// Nobody yet: what a process is while it joins.
pub fn nobody(settings: &Settings) -> Identity {
    Identity {
        me: ReplicaId::default(),
        cluster_id: String::new(),
        process: rand::random(),
        secret: secret(settings),
    }
}

/// What nodes prove to each other that they know.
pub fn secret(settings: &Settings) -> String {
    match settings.cluster_secret.as_str() {
        "" => settings.requirepass.clone(),
        secret => secret.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that names itself first in `--join`, as all of them may do with one list, would wait for itself.
    #[test]
    fn a_node_does_not_join_itself() {
        let mut settings = Settings::default();
        let addresses = NodeAddresses {
            host: "10.0.0.7".into(),
            ports: [7001, 8001, 17001, 0],
        };
        for (target, own) in [
            ("127.0.0.1:7001", true),
            ("localhost:7001", true),
            ("10.0.0.7:7001", true),
            ("10.0.0.8:7001", false),
            ("127.0.0.1:7002", false),
        ] {
            settings.configure("join", target).expect("well written");
            let target = &settings.join[0];
            assert_eq!(is_self(target, &addresses, &settings), own, "{target}");
        }
    }

    /// Whose node listens for peers elsewhere is told "connection refused" of a port that is open.
    #[test]
    fn an_error_tells_the_port_that_was_asked() {
        let mut settings = Settings::default();
        for (target, told) in [
            ("127.0.0.1:7001", "127.0.0.1:7001 (asked at port 17001)"),
            ("127.0.0.1:7001@7100", "127.0.0.1:7001@7100"),
        ] {
            settings.configure("join", target).expect("well written");
            assert_eq!(named(&settings.join[0]), told);
        }
    }

    /// Nodes behind a wildcard would tell each other addresses that lead nowhere.
    #[test]
    fn what_is_advertised_means_something_to_others() {
        let mut settings = Settings::default();
        assert_eq!(host(&settings).expect("bound to it"), "127.0.0.1");
        settings
            .configure("advertise", "node-1.example.org")
            .expect("well written");
        assert_eq!(host(&settings).expect("named"), "node-1.example.org");
    }
}
