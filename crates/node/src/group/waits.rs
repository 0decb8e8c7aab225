//! Waiting for collections ([`crate::awaiting`]), where it meets the shard: solo or led here, those who wait here are called
//! on the spot; else the leader is told.

use super::{Mode, Work};
use crate::awaiting::EXPECTED_MAX;
use crate::shard::Shard;
use crate::slots::Ticket;
use crate::wire::{Expect, PeerMessage, Ready};
use bytes::Bytes;
use cache::Sought;
use paxos::ReplicaId;
use std::collections::BTreeMap;

impl Shard {
    /// Whether this replica is the one that calls.
    fn calls(&self) -> bool {
        match self.mode {
            Mode::Solo => true,
            Mode::Grouped => self.group.replica.is_leader() && self.group.shows,
        }
    }

    /// A connection of this node begins to wait at a key; returns the wait's number. Its ticket may be filled at once.
    pub(crate) fn begin_wait(
        &mut self,
        db: u8,
        sought: Sought,
        key: Bytes,
        ticket: Ticket,
        now_us: u64,
    ) -> u64 {
        let number = self.waits.begin(db, sought, key, ticket);
        self.tell_waits_here(now_us);
        number
    }

    /// It tried and got nothing.
    pub(crate) fn wait_again(&mut self, number: u64, ticket: Ticket, now_us: u64) {
        self.waits.again(number, ticket);
        self.tell_waits_here(now_us);
    }

    /// It waits no more.
    pub(crate) fn end_wait(&mut self, number: u64, now_us: u64) {
        self.waits.end(number);
        self.tell_waits_here(now_us);
    }

    /// Tells what is to be told if this replica is the one that is told. Others' callers are called with the next tick.
    fn tell_waits_here(&mut self, now_us: u64) {
        if !self.calls() {
            return;
        }
        let (origin, me) = (self.group.origin, self.group.me.node);
        let (waits, ended) = self.waits.take_untold(Some(me), now_us);
        for number in ended {
            let called = self.callers.end(&mut self.cache, origin, number, now_us);
            self.call_out_here(called);
        }
        for wait in waits {
            let called = self.callers.expect(&mut self.cache, origin, &wait, now_us);
            self.call_out_here(called);
        }
    }

    /// Calls those who wait at this node; the others' calls are kept until they can be sent.
    fn call_out_here(&mut self, called: Vec<(ReplicaId, u64)>) {
        for (origin, number) in called {
            if origin == self.group.origin {
                self.waits.ready(number);
            } else {
                self.calls_out.push((origin, number));
            }
        }
    }

    /// After a write: calls those who wait at this node for what it wrote.
    #[inline]
    pub(crate) fn call_written(&mut self, now_us: u64) {
        if self.cache.has_awaited() {
            let called = self.callers.written(&mut self.cache, now_us);
            self.call_out_here(called);
        }
    }

    /// The same at a leader: calls whoever waits.
    pub(super) fn call_out(&mut self, work: &mut Work<'_>) {
        self.call_written(work.now_us());
        let mut by_origin: BTreeMap<ReplicaId, Vec<u64>> = BTreeMap::new();
        for (origin, number) in std::mem::take(&mut self.calls_out) {
            by_origin.entry(origin).or_default().push(number);
        }
        for (to, numbers) in by_origin {
            let ready = PeerMessage::Ready(Ready {
                group: self.group.id,
                to,
                numbers,
            });
            work.cluster.peers.send(to.node, &ready);
        }
    }

    /// When a tick does something for those who wait, us.
    pub(super) fn waits_wake_us(&self) -> u64 {
        let calls_us = match self.calls_out.is_empty() {
            true => u64::MAX,
            false => 0,
        };
        let waits_us = self.waits.wake_us();
        waits_us.min(self.callers.wake_us()).min(calls_us)
    }

    /// Time went by.
    pub(super) fn tick_waits(&mut self, work: &mut Work<'_>) {
        let now_us = work.now_us();
        if !self.calls() {
            if !self.callers.is_empty() {
                self.callers.clear(&mut self.cache);
            }
            return self.tell_waits(work);
        }
        let called = self.callers.tick(&mut self.cache, now_us);
        self.call_out_here(called);
        self.tell_waits_here(now_us);
        self.call_out(work);
    }

    /// Tells the leader elsewhere.
    fn tell_waits(&mut self, work: &mut Work<'_>) {
        if self.waits.is_idle() {
            return;
        }
        let leader = self.leader_elsewhere(work);
        let (waits, ended) = self.waits.take_untold(leader, work.now_us());
        let Some(leader) = leader else {
            return;
        };
        let mut ended = Some(ended);
        let parts = waits.len().div_ceil(EXPECTED_MAX).max(1);
        let mut chunks = waits.chunks(EXPECTED_MAX);
        for _ in 0..parts {
            let expect = Expect {
                group: self.group.id,
                origin: self.group.origin,
                waits: chunks.next().unwrap_or_default().to_vec(),
                ended: ended.take().unwrap_or_default(),
            };
            if !expect.waits.is_empty() || !expect.ended.is_empty() {
                work.cluster
                    .peers
                    .send(leader, &PeerMessage::Expect(expect));
            }
        }
    }

    /// Another node tells what its connections wait for.
    pub(crate) fn on_expect(&mut self, expect: &Expect, work: &mut Work<'_>) {
        if !self.calls() {
            return;
        }
        let now_us = work.now_us();
        for number in &expect.ended {
            let called = self
                .callers
                .end(&mut self.cache, expect.origin, *number, now_us);
            self.call_out_here(called);
        }
        for wait in &expect.waits {
            let called = self
                .callers
                .expect(&mut self.cache, expect.origin, wait, now_us);
            self.call_out_here(called);
        }
        self.call_out(work);
    }

    /// The leader calls.
    pub(crate) fn on_ready(&mut self, ready: &Ready) {
        for number in &ready.numbers {
            self.waits.ready(*number);
        }
    }
}
