//! Tests against a started server process: errors in Redis's own words, clients that misbehave,
//! conversations of several connections, Redis's own tools, starting and stopping.
//!
//! Each test starts its own server on a port that the system picked. With
//! `TORC_TEST_SERVER=redis-server` they run against Redis, which proves what they ask for.

mod bad_input;
mod cluster;
mod conversations;
mod durability;
mod joining;
mod limits;
mod memory;
mod operator;
mod peers;
mod protocol_errors;
mod scripts;
mod startup;
mod streams;
mod tools;
mod waiters;

use std::time::{Duration, Instant};

/// Asks again until `condition` holds; panics after ten seconds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
