//! States of clusters for tests.

use super::{MetaCommand, MetaRequest, MetaState, NodeAddresses, RequestId};

/// Where node `id` of [`state_of`] is.
pub(crate) fn addresses_of(id: u32) -> NodeAddresses {
    let port = 7000 + id as u16;
    NodeAddresses {
        host: "127.0.0.1".into(),
        ports: [port, port + 1000, port + 10_000, 0],
    }
}

/// The name of node `id` of [`state_of`].
pub(crate) fn name_of(id: u32) -> String {
    format!("{id:040x}")
}

/// A cluster of 8 shards and 3 wanted replicas that nodes 1 to `nodes` belong to.
pub(crate) fn state_of(nodes: u32) -> MetaState {
    let mut state = MetaState::default();
    for id in 1..=nodes {
        let (name, addresses) = (name_of(id), addresses_of(id));
        let command = if id == 1 {
            MetaCommand::Found {
                cluster_id: "c".repeat(32),
                hash_seed: 11,
                shards_count: 8,
                replicas_wanted: 3,
                founders: vec![(name, addresses)],
            }
        } else {
            MetaCommand::Join {
                name,
                addresses,
                weight: 1,
                zone: String::new(),
            }
        };
        let id = RequestId(id.into());
        state.apply(&MetaRequest { id, command });
    }
    state
}
