//! Bytes to requests, and replies to bytes: the Redis protocol as a server sees it (RESP2, RESP3
//! and inline commands), and a client's side of it for tools and tests.
//!
//! It does not know any command, key or connection: it reads no socket, keeps no time, and decides
//! nothing about a request but where its arguments lie. A frame that breaks the protocol is an
//! error with Redis's own words; what to do with the client is the caller's business.
//!
//! A request's arguments are *spans* of the read buffer and are never copied here. A reply is
//! written once, into the connection's [`Output`]; a large value goes into it as a shared chunk.
//!
//! Reading order: `args` (what a request is), `scanner` (where requests come from) with `batch`,
//! `inline` and `error`, `number` (numbers in text), `output` and `reply` (what goes
//! back), `tree` (replies as values), `client` (the other side).

mod args;
mod batch;
mod client;
mod error;
mod inline;
mod number;
mod output;
mod reply;
mod scanner;
mod tree;

pub use args::{Args, ArgsBuffer, OwnedArgs, Span};
pub use batch::{Batch, Request, Source};
pub use client::{ReplyDecoder, ReplyError, encode_request, split_array, split_reply};
pub use error::ProtocolError;
pub use number::{DoubleText, parse_f64, parse_i64, parse_u64, write_i64, write_u64};
pub use output::{Mark, Output};
pub use reply::{Protocol, Reply, SHARED_BYTES_MIN};
pub use scanner::{Access, Limits, Scan, Scanner};
pub use tree::{TREE_DEPTH_MAX, Tree};
