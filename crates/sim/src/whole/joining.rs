//! How machines get a node: the first founds a cluster, the others ask to join it, and so does whoever lost its memory.

use super::world::{Event, World};
use node::meta::{JoinRequest, MetaAnswer, NoAnswer, NodeAddresses, RequestId};
use node::{Membership, Node};
use std::sync::{Arc, Mutex};

/// The hash seed of every cluster: what it is matters to nobody here.
const HASH_SEED: u64 = 77;
/// Between two looks at whether an answer is there, us.
const LOOK_US: u64 = 5_000;
/// After so long without an answer another node is asked, us.
const PATIENCE_US: u64 = 2_000_000;

/// A process that asks to join.
#[derive(Debug)]
pub struct Joining {
    request: JoinRequest,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    node: Arc<Node>,
    since_us: u64,
    answer: Arc<Mutex<Option<Result<MetaAnswer, NoAnswer>>>>,
}

fn addresses_of(number: usize) -> NodeAddresses {
    NodeAddresses {
        host: format!("10.0.0.{}", number + 1),
        ports: [6379, 6380, 16379, 8080],
    }
}

impl World {
    /// The first machine founds a cluster, the others come by and by.
    pub(super) fn found(&mut self) {
        let founder = Membership {
            seed: HASH_SEED,
            addresses: addresses_of(0).into(),
            ..Membership::founder()
        };
        self.start(0, founder);
        for number in 1..self.plan.nodes {
            let soon_us = self.random.below(1_000_000);
            self.after(soon_us, Event::Join(number));
        }
    }

    /// A process on a machine without a node goes on with joining, or begins to.
    pub(super) fn on_join(&mut self, number: usize) {
        if self.machines[number].process.is_some() {
            return;
        }
        self.after(LOOK_US, Event::Join(number));
        let mut joining = match self.machines[number].joining.take() {
            Some(joining) => joining,
            None => self.begin_joining(number),
        };
        if joining.asked.is_none() {
            joining.asked = self.ask_to_join(number, &joining.request);
        }
        if let Some(asked) = &joining.asked {
            let answer = asked.answer.lock().expect("one thread").take();
            match answer.map(|answer| asked.node.welcome(answer)) {
                Some(Ok(welcome)) => return self.start(number, Membership::joined(welcome)),
                Some(Err(reason)) => {
                    self.note(|| format!("n{number} may not join: {reason}"));
                    joining.asked = None;
                }
                None if self.now_us >= asked.since_us + PATIENCE_US => joining.asked = None,
                None => {}
            }
        }
        self.machines[number].joining = Some(joining);
    }

    fn begin_joining(&mut self, number: usize) -> Joining {
        let mut bits = || u128::from(self.random.bits()) << 64 | u128::from(self.random.bits());
        let request = JoinRequest {
            id: RequestId(bits()),
            name: format!("{:040x}", bits()),
            addresses: addresses_of(number),
            weight: 1,
            zone: String::new(),
        };
        Joining {
            request,
            asked: None,
        }
    }

    fn ask_to_join(&mut self, number: usize, request: &JoinRequest) -> Option<Asked> {
        let at = self.random.below(self.plan.nodes as u64) as usize;
        let is_cut = self.network.is_cut(number, at) || self.network.is_cut(at, number);
        let node = self.begin_turn(at).filter(|_| !is_cut)?;
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        let done = Box::new(move |answer| {
            *slot.lock().expect("one thread") = Some(answer);
        });
        self.note(|| format!("n{number} asks n{at} to join"));
        node.join_request(request.clone(), done);
        node.flush(node.now());
        self.end_turn(at);
        Some(Asked {
            node,
            since_us: self.now_us,
            answer,
        })
    }
}
