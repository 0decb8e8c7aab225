//! What the tests of the whole share: a server process and a raw client.
//!
//! [`Server`] starts one server on a free loopback port, waits until it answers and ends it again;
//! [`Cluster`] is several of them;
//! [`Client`] speaks RESP to it with nothing between the test and the bytes; [`Value`] is a reply,
//! kept as precisely as it came (`$-1`, `*-1` and `_` are three different values here).
//!
//! This package knows no crate of the server: it sees a process and a socket, as a user does. The
//! reply parser is therefore its own, so that a mistake in the server's crates cannot hide itself.
//!
//! Which server is tested is decided by the environment variable `TORC_TEST_SERVER`:
//!
//! | value | what is tested |
//! |---|---|
//! | unset | the `torc` binary of this build (built on demand in the same profile) |
//! | a path or name of a `redis-server` | Redis itself: proves that a test asks for true Redis behaviour |
//! | any other path | that binary, started as `torc` is |
//!
//! Reading order: `value`, `client`, `server`, `cluster`. Then `differential/` (the same seeded stream of
//! commands to Redis and to Torc), `process/` (bad input, clients that misbehave, the tools),
//! `tidy.rs` (the tree's own rules) and `clients/` (real clients in their own languages).

mod client;
mod cluster;
mod server;
mod value;

pub use client::{Client, encode};
pub use cluster::Cluster;
pub use server::{Kind, Server, free_port, torc_binary};
pub use value::Value;
