//! What time alone does to connections: idle ones end or give their buffers back, and who has not read its replies
//! for too long ends though nothing more is sent to it.

use crate::client::{Client, ClientFlag};
use crate::node::Node;
use std::sync::atomic::Ordering;

/// A connection that was idle for so long, microseconds, is asked to give its buffers back.
pub const REST_US_MIN: u64 = 2_000_000;
/// Time between two calls of [`Node::tend_clients`], microseconds; what is due in between may wait for the next.
const TENDING_US: u64 = 1_000_000;

impl Node {
    /// Looks at every connection; to be called once a second. O(connections), no lock is held for longer than one.
    pub fn tend_clients(&self) {
        let now_us = self.host.monotonic_us();
        let settings = self.settings.load();
        let timeout_us = u64::from(settings.timeout_s) * 1_000_000;
        for client in &self.clients {
            let client = client.value();
            let idle_us = now_us.saturating_sub(client.active_us.load(Ordering::Relaxed));
            if timeout_us != 0 && idle_us > timeout_us && !may_idle(client) {
                tracing::debug!(client = client.id, addr = client.addr, "closed for idling");
                client.kill();
                continue;
            }
            let unwritten = client.output_bytes.load(Ordering::Relaxed);
            let limit = self.output_limit(client.class());
            if client.is_over_limit(unwritten, limit, now_us) {
                tracing::warn!(
                    client = client.id,
                    addr = client.addr,
                    "closed for overcoming of output buffer limits"
                );
                client.kill();
            } else if (REST_US_MIN..REST_US_MIN + TENDING_US * 3 / 2).contains(&idle_us) {
                // Once or twice in each idle time.
                client.rouse();
            }
        }
    }
}

/// Whether a connection is exempt from the idle timeout: it waits for others, and rightly says nothing.
fn may_idle(client: &Client) -> bool {
    [ClientFlag::Pubsub, ClientFlag::Monitor, ClientFlag::Blocked]
        .into_iter()
        .any(|flag| client.has(flag))
}
