//! Links to other nodes.
//!
//! ```text
//!   node A                                         node B
//!   Peers ─ outbox ─▶ Link ══ dialed by A ══▶ reader ─▶ Ear::on_messages, then one turn
//!   Ear   ◀─ reader ◀══════ dialed by B ══════ Link ◀─ outbox ─ Peers
//! ```
//!
//! A link carries one way: who wants to speak dials. A pair of nodes so has two connections for each class of
//! traffic, fast and bulk. Whatever gathered in an outbox leaves as one frame with one write, on the thread of
//! whoever made it; only when a socket is full the link's own task takes over.
//!
//! What is bounded: an outbox by bytes, a frame by its length, a handshake by bytes and time, handshakes by count,
//! silence by [`SILENCE_MAX`], a read buffer by twice of what has arrived.
//!
//! What this does not know: what the messages say.
//!
//! Reading order: `handshake`, `link` (writing), `dial`, `accept` (reading), `turns`.

mod accept;
mod dial;
mod handshake;
mod link;
#[cfg(test)]
mod tests;
mod turns;

pub use accept::{Door, accept};
pub use dial::{Dialers, connect};
pub use handshake::{HandshakeError, Identity, Purpose, ask_to_join, greet};
pub use link::Links;
pub use turns::{Member, flush, tick};

use node::{Misbehaviour, NodeId, PeerMessage, ReplicaId};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A node that says nothing for so long is not connected any more, whatever the system believes. Nodes say something
/// every 50 ms.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Whom the links serve.
pub trait Ear: Send + Sync + 'static {
    /// A node said what `next` gives, until it gives nothing. Messages of one link come in order.
    ///
    /// # Errors
    /// No sound node says this: its link is closed.
    fn on_messages(
        &self,
        from: ReplicaId,
        next: &mut dyn FnMut() -> Option<PeerMessage>,
    ) -> Result<(), Misbehaviour>;
    /// What follows from all that was told is to be done and sent now.
    fn turn(&self);
    /// All that one read brought was told: a turn is to come soon, with what others bring meanwhile.
    fn ask_for_turn(&self);
    /// There is a link to this node.
    fn on_up(&self, node: NodeId);
    /// The link to this node broke, or it refuses to have one.
    fn on_down(&self, node: NodeId);
    /// Whether this life of a node may say something: it is not over, as far as is known, or has yet to hear that it is.
    fn is_heard(&self, replica: ReplicaId) -> bool;
    /// A process that knows the secret wants to join and sent this; the answer is for it, an error a sentence for
    /// people.
    fn join(
        &self,
        request: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + '_>>;
    /// The clock, us.
    fn now_us(&self) -> u64;
}
