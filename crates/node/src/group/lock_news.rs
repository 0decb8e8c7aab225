//! What became of locks by itself: who waited got one, who held one is gone. Those who asked are told, and those who listen
//! to keys.

use super::apply::Applied;
use super::locks::lock_origin;
use crate::shard::{Events, Shard};
use cache::{Cache, Grant};
use commands::lock::GRANT_EVENTS;
use commands::{Event, EventClass};

/// The news of one shard since they were taken last.
#[derive(Debug, Default)]
pub(crate) struct LockNews {
    /// Database and key of each lock that somebody held who is gone.
    ended: Vec<(u8, Box<[u8]>)>,
    /// Grants to who waited: what ended may have been theirs to wait for.
    granted: Vec<Grant>,
}

impl LockNews {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.granted.is_empty()
    }

    fn take(cache: &mut Cache) -> Self {
        LockNews {
            ended: cache.take_ended_locks(),
            granted: cache.take_grants(),
        }
    }

    /// The keyspace events: of an end those of a release, of a grant those of one to somebody who did not have to wait.
    fn events(&self, event_mask: u16) -> impl Iterator<Item = Event> {
        let ended = self.ended.iter().map(|(db, key)| {
            let event = (EventClass::Generic, "del");
            (event, *db, key)
        });
        let granted = self.granted.iter().flat_map(|grant| {
            let events = GRANT_EVENTS.into_iter();
            events.map(|event| (event, grant.db, &grant.key))
        });
        let wanted = ended
            .chain(granted)
            .filter(move |((class, _), ..)| event_mask & *class as u16 != 0);
        wanted.map(|((class, name), db, key)| Event {
            class,
            name,
            db,
            key: key.clone(),
            payload: Box::default(),
        })
    }
}

impl Shard {
    /// On a shard that nobody else holds: tells who waited that they got what they waited for; all of them wait at this node.
    pub(crate) fn hand_out_here(&mut self) {
        if !self.cache.has_lock_news() {
            return;
        }
        let own = lock_origin(self.group.origin);
        let news = LockNews::take(&mut self.cache);
        for grant in &news.granted {
            if grant.request.origin == own {
                self.blocked.grant(grant.request.number, grant.fence);
            }
        }
        self.lock_news.ended.extend(news.ended);
        self.lock_news.granted.extend(news.granted);
    }

    /// The keyspace events of what became of locks here since the last call.
    pub(crate) fn take_lock_events(&mut self, event_mask: u16) -> Events {
        std::mem::take(&mut self.lock_news)
            .events(event_mask)
            .collect()
    }

    /// Takes note of what has just been granted to who waited, for [`Shard::hand_out`], and of all events.
    pub(super) fn collect_grants(&mut self, event_mask: u16, out: &mut Applied) {
        if self.cache.has_lock_news() {
            let news = LockNews::take(&mut self.cache);
            out.events.extend(news.events(event_mask));
            out.grants.extend(news.granted);
        }
    }
}
