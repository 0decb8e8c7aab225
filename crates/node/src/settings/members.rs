//! Values about a node among others: its further ports, and whom it joins.

use super::values::{Refusal, integer_within};
use std::fmt;

/// Cluster-aware clients' port above the clients' port.
pub const CLUSTER_PORT_ABOVE: u16 = 1000;
/// Nodes' port above the clients' port.
pub const PEER_PORT_ABOVE: u16 = 10_000;
/// Addresses in `join` at most.
const JOIN_MAX: usize = 64;
/// Bytes of a host name at most (RFC 1035).
pub(super) const HOST_BYTES_MAX: usize = 255;

/// A port beside the clients' port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortChoice {
    /// So much above the clients' port.
    #[default]
    Derived,
    /// Not offered.
    Closed,
    /// This one; 0 lets the system choose.
    Port(u16),
}

impl PortChoice {
    /// The port to open; none if it is closed. Where the clients' port was chosen by the system, or leaves no room
    /// above it, the system chooses (0).
    pub fn port(self, client_port: u16, above: u16) -> Option<u16> {
        match self {
            PortChoice::Derived if client_port == 0 => Some(0),
            PortChoice::Derived => Some(client_port.checked_add(above).unwrap_or(0)),
            PortChoice::Closed => None,
            PortChoice::Port(port) => Some(port),
        }
    }

    /// Reads a port, `auto` or `no`.
    pub(super) fn parse(text: &str) -> Result<PortChoice, Refusal> {
        match text {
            "auto" => Ok(PortChoice::Derived),
            "no" => Ok(PortChoice::Closed),
            _ => integer_within(text, 0..=65535).map(PortChoice::Port),
        }
    }

    /// Reads a port or `auto`: one that must be there.
    pub(super) fn parse_open(text: &str) -> Result<PortChoice, Refusal> {
        match PortChoice::parse(text)? {
            PortChoice::Closed => Err("argument must be a port, or 'auto'".into()),
            open @ (PortChoice::Derived | PortChoice::Port(_)) => Ok(open),
        }
    }
}

impl fmt::Display for PortChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortChoice::Derived => f.write_str("auto"),
            PortChoice::Closed => f.write_str("no"),
            PortChoice::Port(port) => port.fmt(f),
        }
    }
}

/// A node of a cluster to join, as somebody writes it: `HOST:PORT` with its clients' port, and `@PEERPORT` behind it if
/// its nodes' port is another than that far above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// Its clients' port.
    pub port: u16,
    /// Its nodes' port.
    pub peer_port: u16,
}

impl JoinAddress {
    fn parse(text: &str) -> Result<JoinAddress, Refusal> {
        let refusal = || format!("'{text}' is not HOST:PORT (nor HOST:PORT@PEERPORT)");
        let (rest, peer_port) = match text.split_once('@') {
            Some((rest, port)) => (rest, Some(port.parse().map_err(|_| refusal())?)),
            None => (text, None),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(refusal)?;
        let port: u16 = port.parse().map_err(|_| refusal())?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(refusal)?,
            None if host.contains(':') => return Err(refusal()),
            None => host,
        };
        if host.is_empty() || host.len() > HOST_BYTES_MAX || port == 0 || peer_port == Some(0) {
            return Err(refusal());
        }
        let peer_port = match peer_port {
            Some(port) => port,
            None => port.checked_add(PEER_PORT_ABOVE).ok_or_else(|| {
                format!("'{text}': no port is {PEER_PORT_ABOVE} above it, add @PEERPORT")
            })?,
        };
        Ok(JoinAddress {
            host: host.into(),
            port,
            peer_port,
        })
    }

    /// Reads addresses with commas between them.
    pub(super) fn parse_all(text: &str) -> Result<Vec<JoinAddress>, Refusal> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let addresses = words
            .map(JoinAddress::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if addresses.len() > JOIN_MAX {
            return Err(format!("argument must be at most {JOIN_MAX} addresses"));
        }
        Ok(addresses)
    }

    /// Where its nodes' port is.
    pub fn peer_address(&self) -> String {
        host_and_port(&self.host, self.peer_port)
    }
}

impl fmt::Display for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_and_port(&self.host, self.port))?;
        match self.port.checked_add(PEER_PORT_ABOVE) {
            Some(derived) if derived == self.peer_port => Ok(()),
            _ => write!(f, "@{}", self.peer_port),
        }
    }
}

/// `host:port`, in brackets where the host is an IPv6 address.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_join_are_read_as_they_are_written() {
        // Breaks if a node dials another port than the one that was meant.
        let text = "a:7001,[::1]:7002,10.0.0.1:60000@60001";
        let addresses = JoinAddress::parse_all(text).expect("well written");
        let dialed: Vec<String> = addresses.iter().map(JoinAddress::peer_address).collect();
        assert_eq!(dialed, ["a:17001", "[::1]:17002", "10.0.0.1:60001"]);
        let written: Vec<String> = addresses.iter().map(JoinAddress::to_string).collect();
        assert_eq!(written.join(","), text);
        assert_eq!(JoinAddress::parse_all("").expect("nobody"), []);
        for bad in [
            "a",
            ":1",
            "a:0",
            "a:b",
            "::1:7001",
            "[::1:7001",
            "a:1@0",
            "a:70000",
            "a:1@",
        ] {
            assert!(JoinAddress::parse_all(bad).is_err(), "{bad}");
        }
        let refusal = JoinAddress::parse_all("a:60000").expect_err("no such port");
        assert!(refusal.contains("@PEERPORT"), "{refusal}");
    }

    #[test]
    fn further_ports_follow_the_clients_port() {
        // Breaks if two nodes on one machine take each other's ports, or a high port keeps a node from starting.
        let port = |text: &str, client| {
            PortChoice::parse(text)
                .expect("well written")
                .port(client, PEER_PORT_ABOVE)
        };
        assert_eq!(port("auto", 6379), Some(16379));
        assert_eq!(port("auto", 0), Some(0));
        assert_eq!(port("auto", 60000), Some(0));
        assert_eq!(port("7", 6379), Some(7));
        assert_eq!(port("no", 6379), None);
        assert!(PortChoice::parse_open("no").is_err());
        assert!(PortChoice::parse("65536").is_err());
    }
}
