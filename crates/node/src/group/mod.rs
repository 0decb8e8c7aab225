//! A shard's group: what stands between a request and the shard's state when the shard has replicas.

pub(crate) mod apply;
pub(crate) mod op;
pub(crate) mod origins;
