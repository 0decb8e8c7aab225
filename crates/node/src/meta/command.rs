//! What the meta group's log holds, and what whoever asked for it is told: bytes in postcard behind a version.
//!
//! ```text
//! | version: 1 byte | postcard |
//! ```
//!
//! Postcard writes numbers as varints and an enum's variant as its place in the list: variants are only ever added at
//! the end, and a changed field is a new version. All nodes of a cluster apply the same commands, so whoever does not
//! know a version must not guess: it stops.

use super::lives::ShardTestimony;
use crate::view::Addresses;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the bytes here.
pub(super) const VERSION: u8 = 3;

/// Names a request over all its tries; drawn by whoever asks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RequestId(pub u128);

/// [`Addresses`] as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// Host.
    pub host: String,
    /// Ports: client, cluster client, peer, http.
    pub ports: [u16; 4],
}

impl From<Addresses> for NodeAddresses {
    fn from(addresses: Addresses) -> Self {
        NodeAddresses {
            host: addresses.host,
            ports: [
                addresses.client_port,
                addresses.cluster_port,
                addresses.peer_port,
                addresses.http_port,
            ],
        }
    }
}

impl From<NodeAddresses> for Addresses {
    fn from(addresses: NodeAddresses) -> Self {
        let [client_port, cluster_port, peer_port, http_port] = addresses.ports;
        Addresses {
            host: addresses.host,
            client_port,
            cluster_port,
            peer_port,
            http_port,
        }
    }
}

/// One change of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaCommand {
    /// The first of all: there is a cluster, of these nodes.
    Found {
        /// 32 hex digits, drawn.
        cluster_id: String,
        /// Drawn; secret.
        hash_seed: u64,
        /// Shards, for good.
        shards_count: u32,
        /// Replicas wanted of each.
        replicas_wanted: u32,
        /// The founders, who become nodes 1, 2 …: 40 hex digits and addresses. One, unless a test says otherwise.
        founders: Vec<(String, NodeAddresses)>,
    },
    /// A node comes, or comes back without its memory.
    Join {
        /// 40 hex digits that it drew, or had before if it remembers that.
        name: String,
        /// Where it is.
        addresses: NodeAddresses,
        /// Its share of replicas relative to others'; 0: none before it is given one.
        weight: u32,
        /// Where it stands; empty: nowhere in particular.
        zone: String,
    },
    /// A node that kept its memory says where it is now.
    Announce {
        /// Which.
        node: u32,
        /// In which life.
        incarnation: u64,
        /// Where it is.
        addresses: NodeAddresses,
    },
    /// Runtime configuration that holds on all nodes.
    Configure {
        /// Names, as CONFIG SET defines them, and values.
        pairs: Vec<(String, String)>,
    },
    /// A node's weight; 0 drains it.
    Weigh {
        /// Which.
        node: u32,
        /// Its share of replicas relative to others'.
        weight: u32,
    },
    /// A node is gone for good. Only one that holds nothing any more goes: one without a share, as of an epoch at which it
    /// was looked at.
    Remove {
        /// Which.
        node: u32,
        /// The epoch; another has come since: refused.
        epoch: u64,
    },
    /// How many replicas each shard is to have.
    SetReplicas {
        /// How many.
        replicas_wanted: u32,
    },
    /// Where a node stands: replicas of a shard are to lie in distinct zones.
    Zone {
        /// Which.
        node: u32,
        /// The zone's name; empty: none in particular.
        zone: String,
    },
    /// A node has been silent for long: others are to hold what it held.
    Lose {
        /// Which.
        node: u32,
        /// In which life.
        incarnation: u64,
    },
    /// A node that counted as lost is back.
    Find {
        /// Which.
        node: u32,
    },
    /// A node that was removed has ended: nobody need tell it any more.
    Forget {
        /// Which.
        node: u32,
    },
    /// A shard is to be held by these nodes, whatever the ring says; by those that the ring names if there are none.
    Place {
        /// Which shard.
        shard: u32,
        /// Their numbers.
        nodes: Vec<u32>,
    },
    /// Shards are to be led by this node as long as it holds them; by whom the placement prefers if it is none.
    Lead {
        /// Which shards.
        shards: Vec<u32>,
        /// Its number.
        node: Option<u32>,
    },
    /// The ring alone says again who holds and leads what; on the way some weights change.
    Rebalance {
        /// Nodes and their weights.
        weights: Vec<(u32, u32)>,
    },
    /// Changes of the scripts that all nodes know, in order. None at all: whoever has applied it knows every script that
    /// was loaded before it was asked for.
    Scripts {
        /// The changes.
        changes: Vec<ScriptChange>,
    },
    /// As Weigh, unless too few nodes were left for as many replicas as are wanted.
    WeighSafely {
        /// Which.
        node: u32,
        /// Its share of replicas relative to others'.
        weight: u32,
    },
    /// As Rebalance, with the same condition.
    RebalanceSafely {
        /// Nodes and their weights.
        weights: Vec<(u32, u32)>,
    },
    /// It is to be found out whether somebody can lead these shards: nobody takes part in them until that is known.
    Seal {
        /// Which, and in which generation they are.
        shards: Vec<(u32, u32)>,
    },
    /// It is not to be found out any more.
    Unseal {
        /// Of which, and in which generation they are.
        shards: Vec<(u32, u32)>,
    },
    /// What a node has of shards that are sealed.
    Testify {
        /// Which node.
        node: u32,
        /// What it has.
        shards: Vec<ShardTestimony>,
    },
    /// Locks of these shards may be granted for so long, ms.
    CoverLocks {
        /// Which, and how long.
        shards: Vec<(u32, u64)>,
    },
}

/// One change of the scripts that all nodes know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptChange {
    /// This source is known from now on, by its SHA1.
    Load(Vec<u8>),
    /// None is known any more.
    Flush,
}

/// A command with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaRequest {
    /// Names it: however often it is proposed, it is applied once.
    pub id: RequestId,
    /// What is to change.
    pub command: MetaCommand,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaAnswer {
    /// It is done, as of this epoch.
    Done {
        /// The epoch.
        epoch: u64,
    },
    /// The node belongs to the cluster under this name.
    Joined {
        /// Its number.
        node: u32,
        /// Its life.
        incarnation: u64,
    },
    /// It was not done, and why; a sentence for people.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Bytes that are none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MetaError {
    /// Another version.
    #[error("version {0} of the cluster's state is not known to this build, which knows {VERSION}")]
    Version(u8),
    /// Broken.
    #[error("the cluster's state is unreadable")]
    Malformed,
}

/// The bytes of a value that is written here.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let bytes = vec![VERSION];
    postcard::to_extend(value, bytes).expect("plain data is written to memory")
}

/// [`encode`] under another version.
pub(super) fn encode_as<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = encode(value);
    bytes[0] = version;
    bytes
}

/// The value of bytes that [`encode`] wrote.
///
/// # Errors
/// Another version, broken bytes, or bytes left over.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MetaError> {
    let (&version, rest) = bytes.split_first().ok_or(MetaError::Malformed)?;
    if version != VERSION {
        return Err(MetaError::Version(version));
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        _ => Err(MetaError::Malformed),
    }
}

impl MetaRequest {
    /// As it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn decode(bytes: &[u8]) -> Result<MetaRequest, MetaError> {
        decode(bytes)
    }
}

impl MetaAnswer {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn decode(bytes: &[u8]) -> Result<MetaAnswer, MetaError> {
        decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Testimony;

    fn addresses() -> NodeAddresses {
        NodeAddresses {
            host: "h".into(),
            ports: [6379, 7379, 16379, 0],
        }
    }

    #[test]
    fn bytes_are_fixed_for_good() {
        // Breaks if nodes of two builds read each other's log as something else.
        let request = MetaRequest {
            id: RequestId(0x1234),
            command: MetaCommand::Join {
                name: "ab".into(),
                addresses: addresses(),
                weight: 1,
                zone: String::new(),
            },
        };
        let hex = |bytes: Vec<u8>| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            hex(request.encode()),
            "03b42401026162016".to_string() + "8eb31d339fb7f000100"
        );
        let configure = MetaRequest {
            id: RequestId(1),
            command: MetaCommand::Configure {
                pairs: vec![("a".into(), "b".into())],
            },
        };
        assert_eq!(hex(configure.encode()), "0301030101610162");
        let joined = MetaAnswer::Joined {
            node: 3,
            incarnation: 300,
        };
        assert_eq!(hex(joined.encode()), "030103ac02");
        assert_eq!(hex(MetaAnswer::Done { epoch: 5 }.encode()), "030005");
    }

    #[test]
    fn whatever_is_written_is_read() {
        // Breaks if a command cannot be read back from the log.
        let found = MetaCommand::Found {
            cluster_id: "c".repeat(40),
            hash_seed: u64::MAX,
            shards_count: 64,
            replicas_wanted: 3,
            founders: vec![("n".repeat(40), addresses())],
        };
        let announce = MetaCommand::Announce {
            node: 2,
            incarnation: 3,
            addresses: addresses(),
        };
        let commands = [
            found,
            announce,
            MetaCommand::Weigh { node: 1, weight: 0 },
            MetaCommand::Remove { node: 1, epoch: 9 },
            MetaCommand::SetReplicas { replicas_wanted: 5 },
            MetaCommand::Zone {
                node: 1,
                zone: "east".into(),
            },
            MetaCommand::Lose {
                node: 1,
                incarnation: 2,
            },
            MetaCommand::Find { node: 1 },
            MetaCommand::Forget { node: 1 },
            MetaCommand::Place {
                shard: 7,
                nodes: vec![1, 2, 300],
            },
            MetaCommand::Lead {
                shards: vec![7, 8],
                node: Some(3),
            },
            MetaCommand::Rebalance {
                weights: vec![(1, 2)],
            },
            MetaCommand::WeighSafely { node: 1, weight: 0 },
            MetaCommand::RebalanceSafely {
                weights: vec![(1, 2)],
            },
            MetaCommand::Seal {
                shards: vec![(7, 1)],
            },
            MetaCommand::Unseal {
                shards: vec![(7, 1)],
            },
            MetaCommand::Testify {
                node: 2,
                shards: vec![ShardTestimony {
                    shard: 7,
                    generation: 1,
                    inquiry: 4,
                    testimony: Testimony {
                        incarnation: 3,
                        config_number: 9,
                        voters: vec![(1, 2)],
                        chosen: Some(300),
                    },
                }],
            },
            MetaCommand::CoverLocks {
                shards: vec![(7, 90_000)],
            },
            MetaCommand::Scripts {
                changes: vec![
                    ScriptChange::Load(b"return 1".to_vec()),
                    ScriptChange::Flush,
                ],
            },
        ];
        for command in commands {
            let request = MetaRequest {
                id: RequestId(u128::MAX),
                command,
            };
            assert_eq!(MetaRequest::decode(&request.encode()), Ok(request));
        }
        let refused = MetaAnswer::Refused {
            reason: "no".into(),
        };
        assert_eq!(MetaAnswer::decode(&refused.encode()), Ok(refused));
    }

    #[test]
    fn bad_bytes_are_refused() {
        // Breaks if garbage from a peer, or a newer build's command, is taken for one of ours, or panics.
        assert_eq!(MetaRequest::decode(b""), Err(MetaError::Malformed));
        assert_eq!(MetaRequest::decode(&[1, 0, 0]), Err(MetaError::Version(1)));
        let mut bytes = MetaAnswer::Done { epoch: 5 }.encode();
        bytes.push(0);
        assert_eq!(MetaAnswer::decode(&bytes), Err(MetaError::Malformed));
        let request = MetaRequest {
            id: RequestId(7),
            command: MetaCommand::Configure {
                pairs: vec![("a".into(), "b".into())],
            },
        };
        let bytes = request.encode();
        for end in 0..bytes.len() {
            assert!(MetaRequest::decode(&bytes[..end]).is_err(), "{end}");
        }
        // A count of pairs that no bytes stand behind.
        assert!(MetaRequest::decode(&[1, 1, 3, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }
}
