//! A request that gave way: what it waits for, and how it goes on.

use super::{Session, Step, Turn, walk};
use crate::client::ClientFlag;
use resp::{Output, Reply};

/// A request that gave way.
pub(super) enum Pending {
    /// KEYS or a long SCAN, half done.
    Walk(walk::HalfWalk),
    /// DEBUG SLEEP: until then, then `+OK`.
    Sleep { until_us: u64 },
    /// WAIT, WAITAOF: until then (never, if none), then what `reply` is.
    Replicas {
        until_us: Option<u64>,
        reply: ReplicasReply,
    },
}

/// What a wait for replicas answers at its end on a node without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplicasReply {
    /// `:0`
    Wait,
    /// `*2 :0 :0`
    WaitAof,
}
impl Session {
    /// Goes on with a request that gave way.
    pub(super) fn go_on(&mut self, turn: Turn<'_>, output: &mut Output) -> Step {
        let mark = output.mark();
        let step = match self.pending.take().expect("the caller saw it") {
            Pending::Walk(walk) => self.go_on_walk(turn, walk, output),
            Pending::Sleep { until_us } if turn.now.monotonic_us >= until_us => {
                Reply::new(output, self.protocol).ok();
                Step::Done
            }
            Pending::Sleep { until_us } => {
                self.pending = Some(Pending::Sleep { until_us });
                Step::Wait {
                    until_us: Some(until_us),
                }
            }
            Pending::Replicas { until_us, reply }
                if until_us.is_some_and(|until| turn.now.monotonic_us >= until) =>
            {
                self.no_replicas(reply, output);
                Step::Done
            }
            Pending::Replicas { until_us, reply } => {
                self.pending = Some(Pending::Replicas { until_us, reply });
                Step::Wait { until_us }
            }
        };
        if self.pending.is_none() {
            self.client.clear(ClientFlag::Blocked);
            self.finish_reply(self.replies, mark, output);
        }
        step
    }
}
