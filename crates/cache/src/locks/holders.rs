//! Who holds one lock: in the order of their grants. A few are looked at one by one; many are found by who asked, by owner, by
//! fence and by when they end, so that who leaves a crowd costs no more for the crowd: thousands may leave at once.

use super::table::{Holder, LockOrigin, LockRequest};
use std::collections::{BTreeMap, BTreeSet};

/// So many are looked at one by one: of most locks there is one.
const FEW_MAX: usize = 8;
/// Bytes of a holder beside its owner's name: itself, and its places in five trees, which are two thirds full.
const HOLDER_BYTES: usize = size_of::<Holder>() + 192;

/// The holders of one lock.
///
/// Invariants:
/// - they are in `few` or in `many`, in neither only if there are none;
/// - a holder's place is above that of every one that came before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    few: Vec<(u64, Holder)>,
    many: Option<Box<Many>>,
    /// The place of who comes next. Places are no state of the shard, the order is.
    next_place: u64,
}

/// More than a few.
///
/// Invariant: the other trees have just the holders in `by_place`.
#[derive(Clone, Debug, Default)]
struct Many {
    by_place: BTreeMap<u64, Holder>,
    by_request: BTreeSet<(LockRequest, u64)>,
    by_owner: BTreeSet<(Box<[u8]>, u64)>,
    by_fence: BTreeSet<(u64, u64)>,
    /// Log time in ms, and place.
    ends: BTreeSet<(u64, u64)>,
}

impl Holders {
    /// What a holder of this owner takes, bytes.
    pub fn bytes_for(owner: &[u8]) -> usize {
        HOLDER_BYTES + 2 * owner.len()
    }

    pub fn len(&self) -> usize {
        self.few.len() + self.many.as_ref().map_or(0, |many| many.by_place.len())
    }

    pub fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_none()
    }

    /// All of them with their places, in order.
    pub fn places(&self) -> impl Iterator<Item = (u64, &Holder)> {
        let few = self.few.iter().map(|(place, holder)| (*place, holder));
        let many = self.many.iter().flat_map(|many| &many.by_place);
        few.chain(many.map(|(place, holder)| (*place, holder)))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Holder> {
        self.places().map(|(_, holder)| holder)
    }

    /// The first.
    pub fn first(&self) -> Option<&Holder> {
        self.iter().next()
    }

    /// The holder at a place.
    pub fn get(&self, place: u64) -> Option<&Holder> {
        match &self.many {
            Some(many) => many.by_place.get(&place),
            None => self.find(|holder_place, _| holder_place == place),
        }
    }

    fn find(&self, is_it: impl Fn(u64, &Holder) -> bool) -> Option<&Holder> {
        let mut few = self.few.iter();
        few.find(|(place, holder)| is_it(*place, holder))
            .map(|(_, holder)| holder)
    }

    fn place_where(&self, is_it: impl Fn(&Holder) -> bool) -> Option<u64> {
        let mut few = self.few.iter();
        few.find(|(_, holder)| is_it(holder))
            .map(|(place, _)| *place)
    }

    /// The first of this owner.
    pub fn of_owner(&self, owner: &[u8]) -> Option<u64> {
        match &self.many {
            Some(many) => {
                let first = many.by_owner.range((Box::from(owner), 0)..).next();
                first
                    .filter(|(of, _)| **of == *owner)
                    .map(|(_, place)| *place)
            }
            None => self.place_where(|holder| *holder.owner == *owner),
        }
    }

    /// Who got it for this request.
    pub fn of_request(&self, request: LockRequest) -> Option<u64> {
        match &self.many {
            Some(many) => {
                let first = many.by_request.range((request, 0)..).next();
                first
                    .filter(|(of, _)| *of == request)
                    .map(|(_, place)| *place)
            }
            None => self.place_where(|holder| holder.request == Some(request)),
        }
    }

    /// Whether somebody got it for a request of this origin.
    pub fn has_of(&self, origin: LockOrigin) -> bool {
        let is_its = |request: LockRequest| request.origin == origin;
        match &self.many {
            Some(many) => {
                let first = LockRequest { origin, number: 0 };
                let first = many.by_request.range((first, 0)..).next();
                first.is_some_and(|(request, _)| is_its(*request))
            }
            None => self.iter().any(|one| one.request.is_some_and(is_its)),
        }
    }

    /// Those who got it for a request of this origin, in order of the requests' numbers or of their grants.
    pub fn of_origin(&self, origin: LockOrigin) -> Vec<u64> {
        let at = |number| LockRequest { origin, number };
        match &self.many {
            Some(many) => {
                let its = many.by_request.range((at(0), 0)..=(at(u64::MAX), u64::MAX));
                its.map(|(_, place)| *place).collect()
            }
            None => {
                let is_its = |holder: &Holder| holder.request.is_some_and(|of| of.origin == origin);
                let its = self.places().filter(|(_, holder)| is_its(holder));
                its.map(|(place, _)| place).collect()
            }
        }
    }

    /// Who holds it under a fence.
    pub fn of_fence(&self, fence: u64) -> Option<&Holder> {
        match &self.many {
            Some(many) => {
                let first = many.by_fence.range((fence, 0)..).next();
                let place = first.filter(|(of, _)| *of == fence)?.1;
                many.by_place.get(&place)
            }
            None => self.find(|_, holder| holder.fence == fence),
        }
    }

    /// When the last of them ends, log time in ms; 0 if there are none.
    pub fn until_ms(&self) -> u64 {
        match &self.many {
            Some(many) => many.ends.last().map_or(0, |(end_ms, _)| *end_ms),
            None => self.iter().map(|one| one.expires_at).max().unwrap_or(0),
        }
    }

    /// Adds one behind the others.
    pub fn push(&mut self, holder: Holder) {
        let place = self.next_place;
        self.next_place += 1;
        if self.many.is_none() && self.few.len() < FEW_MAX {
            return self.few.push((place, holder));
        }
        let many = self.many.get_or_insert_default();
        for (place, holder) in self.few.drain(..) {
            many.insert(place, holder);
        }
        many.insert(place, holder);
    }

    /// Takes one out.
    pub fn remove(&mut self, place: u64) -> Option<Holder> {
        let Some(many) = &mut self.many else {
            let at = self.few.iter().position(|one| one.0 == place)?;
            return Some(self.few.remove(at).1);
        };
        let holder = many.remove(place);
        if many.by_place.is_empty() {
            self.many = None;
        }
        holder
    }

    /// Takes one out that has ended by `now_ms`.
    pub fn pop_late(&mut self, now_ms: u64) -> Option<Holder> {
        let place = match &self.many {
            Some(many) => many.ends.first().filter(|one| one.0 <= now_ms)?.1,
            None => self.place_where(|holder| holder.expires_at <= now_ms)?,
        };
        self.remove(place)
    }

    /// Changes one, but not its owner, request or fence.
    pub fn edit(&mut self, place: u64, change: impl FnOnce(&mut Holder)) {
        let Some(many) = &mut self.many else {
            let mut few = self.few.iter_mut();
            if let Some((_, holder)) = few.find(|one| one.0 == place) {
                change(holder);
            }
            return;
        };
        if let Some(holder) = many.by_place.get_mut(&place) {
            many.ends.remove(&(holder.expires_at, place));
            change(holder);
            many.ends.insert((holder.expires_at, place));
        }
    }
}

impl Many {
    fn insert(&mut self, place: u64, holder: Holder) {
        if let Some(request) = holder.request {
            self.by_request.insert((request, place));
        }
        self.by_owner.insert((holder.owner.clone(), place));
        self.by_fence.insert((holder.fence, place));
        self.ends.insert((holder.expires_at, place));
        self.by_place.insert(place, holder);
    }

    fn remove(&mut self, place: u64) -> Option<Holder> {
        let holder = self.by_place.remove(&place)?;
        if let Some(request) = holder.request {
            self.by_request.remove(&(request, place));
        }
        let owner = (holder.owner, place);
        self.by_owner.remove(&owner);
        self.by_fence.remove(&(holder.fence, place));
        self.ends.remove(&(holder.expires_at, place));
        Some(Holder {
            owner: owner.0,
            ..holder
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(node: u32, number: u64) -> LockRequest {
        let origin = LockOrigin { node, life: 1 };
        LockRequest { origin, number }
    }

    /// What happens to the holders of a lock.
    #[derive(Clone, Debug)]
    enum Deed {
        /// Node and number of the request, number of the owner, end.
        Push(u32, u64, u8, u64),
        RemoveOwner(u8),
        RemoveRequest(u32, u64),
        PopLate(u64),
        /// Number of the owner, end.
        Extend(u8, u64),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let end = 0..100u64;
        let deed = prop_oneof![
            6 => (0..3u32, 0..40u64, 0..20u8, end.clone())
                .prop_map(|(node, number, owner, end)| Deed::Push(node, number, owner, end)),
            1 => (0..20u8).prop_map(Deed::RemoveOwner),
            1 => (0..3u32, 0..40u64).prop_map(|(node, number)| Deed::RemoveRequest(node, number)),
            1 => (0..20u64).prop_map(Deed::PopLate),
            1 => (0..20u8, end).prop_map(|(owner, end)| Deed::Extend(owner, end)),
        ];
        proptest::collection::vec(deed, 0..80)
    }

    proptest! {
        #[test]
        fn many_are_found_as_if_looked_at_one_by_one(deeds in deeds()) {
            // Breaks if a holder of a crowd is found under what is another's, or the crowd's end is not its last one's.
            let mut holders = Holders::default();
            let mut naive: Vec<Holder> = Vec::new();
            for (fence, deed) in (1..).zip(deeds) {
                match deed {
                    Deed::Push(node, number, owner, expires_at) => {
                        let holder = Holder {
                            request: Some(request(node, number)),
                            owner: Box::from([owner]),
                            fence,
                            expires_at,
                            ttl_ms: 1,
                            is_session: false,
                        };
                        naive.push(holder.clone());
                        holders.push(holder);
                    }
                    Deed::RemoveOwner(owner) => {
                        let place = holders.of_owner(&[owner]);
                        let removed = place.and_then(|place| holders.remove(place));
                        let at = naive.iter().position(|one| *one.owner == [owner]);
                        prop_assert_eq!(removed, at.map(|at| naive.remove(at)));
                    }
                    Deed::RemoveRequest(node, number) => {
                        let place = holders.of_request(request(node, number));
                        let removed = place.and_then(|place| holders.remove(place));
                        let is_its = |one: &Holder| one.request == Some(request(node, number));
                        let at = naive.iter().position(is_its);
                        prop_assert_eq!(removed, at.map(|at| naive.remove(at)));
                    }
                    Deed::PopLate(now_ms) => {
                        while holders.pop_late(now_ms).is_some() {}
                        naive.retain(|one| one.expires_at > now_ms);
                    }
                    Deed::Extend(owner, expires_at) => {
                        if let Some(place) = holders.of_owner(&[owner]) {
                            holders.edit(place, |one| one.expires_at = expires_at);
                        }
                        let found = naive.iter_mut().find(|one| *one.owner == [owner]);
                        found.into_iter().for_each(|one| one.expires_at = expires_at);
                    }
                }
                prop_assert!(holders.iter().eq(&naive));
                prop_assert_eq!(holders.len(), naive.len());
                prop_assert_eq!(holders.is_empty(), naive.is_empty());
                let until_ms = naive.iter().map(|one| one.expires_at).max();
                prop_assert_eq!(holders.until_ms(), until_ms.unwrap_or(0));
                for one in &naive {
                    prop_assert_eq!(holders.of_fence(one.fence), Some(one));
                }
                for node in 0..3 {
                    let origin = request(node, 0).origin;
                    let is_its = |one: &&Holder| one.request.is_some_and(|of| of.origin == origin);
                    let count = naive.iter().filter(is_its).count();
                    prop_assert_eq!(holders.of_origin(origin).len(), count);
                    prop_assert_eq!(holders.has_of(origin), count > 0);
                }
            }
        }
    }
}
