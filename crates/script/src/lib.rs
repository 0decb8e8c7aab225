//! Lua scripts as Redis 7.0 runs them: the language, what a script sees of Redis, and the replies it gives.
//!
//! It knows no key, no shard and no clock. Whoever runs a script gives a [`Host`]: it executes one command, tells the
//! time that may be shown, and says when the script is to end.
//!
//! ```text
//!   Engine ── pool of ──▶ State (a Lua 5.1 state)  ── redis.call ──▶ Host
//!     │                     functions by SHA1 (lru)
//!     └─ Script: source, SHA1, flags of the shebang line
//! ```
//!
//! What is kept here:
//! - A script leaves nothing behind for the next one: what all share can only be read (`lua/sandbox.rs`), and a state
//!   that was stopped or tampered with is thrown away.
//! - A script ends: every loop of Lua looks at the host (an instruction hook), and so do the functions written in Rust
//!   that may take long; those of Lua's own library that cannot are replaced. The script's `pcall` does not catch it.
//! - The known holes of the vendored Lua 5.1.5 are closed: no collection while something is parsed (CVE-2025-49844), an
//!   `unpack` of our own (CVE-2025-46817), no writable metatable of a basic type (CVE-2025-46818), a bound on what is
//!   parsed (CVE-2025-46819), no bytecode in or out. `tests/holes.rs` has a test for each.
//!
//! What every script does, calls with bytes, goes over Lua's own stack (`luastack`); the rest through `mlua`.
//!
//! Reading order: `script`, `host`, `engine`, `state`; then `lua/{raise, protect, sandbox, redis, base, tables, strings,
//! pattern}`, `reply`, `formats`.

mod engine;
mod formats;
mod host;
mod lua;
mod random;
mod reply;
mod script;
mod state;

pub use engine::{Engine, Limits, Outcome, Request};
pub use host::{Host, LogLevel, Stop};
pub use script::{SCRIPT_BYTES_MAX, Script, ScriptError, Sha, sha_of};
