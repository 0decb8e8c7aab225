//! RANDOMKEY over shards of which some have replicas: how many keys each has, then a key of one that is drawn in
//! proportion; the next in turn if all of its keys have expired.

use super::pending::Pending;
use super::{Session, Step, Turn};
use crate::questions;
use commands::walk::shards_by_lot;
use resp::{Output, OwnedArgs, Reply};

/// A RANDOMKEY, half done.
pub(super) struct HalfRandom {
    draw: u64,
    /// Shards to ask for a key, the next one last; none before their sizes are known.
    shards: Option<Vec<usize>>,
}

impl Session {
    pub(super) fn random_of_all(&mut self, turn: Turn<'_>, output: &mut Output) -> Step {
        let question = OwnedArgs::from_slices(&[questions::LEN]);
        for shard in 0..turn.node.shards_count() {
            if let Err(refusal) = self.ask(turn, shard, self.db, &question) {
                return self.give_up(&refusal, output);
            }
        }
        let half = HalfRandom {
            draw: turn.node.host.random(),
            shards: None,
        };
        self.wait_alone(turn, Pending::Random(half), output)
    }

    pub(super) fn go_on_random(
        &mut self,
        turn: Turn<'_>,
        mut half: HalfRandom,
        output: &mut Output,
    ) -> Step {
        loop {
            let replies = self.take_replies(|slots| {
                let replies = (0..).map_while(|slot| slots.get(slot));
                replies.map(<[u8]>::to_vec).collect::<Vec<_>>()
            });
            let Some(replies) = replies else {
                self.pending = Some(Pending::Random(half));
                return Step::Replies;
            };
            if let Some(error) = replies.iter().find(|reply| reply.starts_with(b"-")) {
                output.tail_mut().extend_from_slice(error);
                return Step::Done;
            }
            let shards = match &mut half.shards {
                Some(_) if replies[0] != b"$-1\r\n" => {
                    output.tail_mut().extend_from_slice(&replies[0]);
                    return Step::Done;
                }
                Some(shards) => shards,
                None => {
                    let len = |reply: &Vec<u8>| super::holes::integer_of(reply).unwrap_or(0);
                    let lens: Vec<usize> =
                        replies.iter().map(|reply| len(reply) as usize).collect();
                    let mut shards: Vec<usize> = shards_by_lot(&lens, half.draw).collect();
                    shards.reverse();
                    half.shards.insert(shards)
                }
            };
            let Some(shard) = shards.pop() else {
                Reply::new(output, self.protocol).null();
                return Step::Done;
            };
            let draw = half.draw.to_string();
            let question = OwnedArgs::from_slices(&[questions::RANDOM, draw.as_bytes()]);
            if let Err(refusal) = self.ask(turn, shard, self.db, &question) {
                return self.give_up(&refusal, output);
            }
            turn.node.request_flush();
        }
    }

    /// A request that asked others for parts ends with a refusal; what they answer is dropped.
    pub(super) fn give_up(&mut self, refusal: &str, output: &mut Output) -> Step {
        self.void_tickets();
        Reply::new(output, self.protocol).error(refusal);
        Step::Done
    }
}
