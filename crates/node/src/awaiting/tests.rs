//! Who waits is called in the order in which they came, and nobody is called for nothing.

use super::*;
use cache::{List, Vacant};
use paxos::Incarnation;
use proptest::prelude::*;

fn of(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

fn wait(number: u64) -> Expected {
    Expected {
        number,
        db: 0,
        sought: Sought::Any(CollectionType::List),
        key: Bytes::from_static(b"k"),
    }
}

fn push(cache: &mut Cache) {
    let key = Key::new(cache.seed(), 0, b"k");
    let change = |list: &mut List| (list.push_back(b"x"), cache::Changed::Yes);
    cache
        .edit_collection(key, Vacant::Make, change)
        .expect("a list");
}

// Breaks if a caller that does not come, as its node is gone, is called again and again while others wait behind it.
#[test]
fn who_does_not_come_lets_the_next_one_pass() {
    let (mut cache, mut callers) = (Cache::new(1), Callers::default());
    for node in [1, 2, 3] {
        let called = callers.expect(&mut cache, of(node), &wait(7), 10);
        assert_eq!(called, []);
    }
    push(&mut cache);
    assert_eq!(callers.written(&mut cache, 20), [(of(1), 7)]);
    let mut now_us = 20;
    for next in [2, 3, 1] {
        now_us += CALLED_US + 20;
        assert_eq!(callers.tick(&mut cache, now_us), [(of(next), 7)]);
    }
    // Who says that it is there has its old place.
    assert_eq!(
        callers.expect(&mut cache, of(1), &wait(7), now_us),
        [(of(1), 7)]
    );
}

/// What happens to those who wait at two keys.
#[derive(Clone, Debug)]
enum Event {
    /// Node, number, key.
    Expect(u32, u64, usize),
    End(u32, u64),
    Push(usize),
    Pop(usize),
    Tick,
    /// Us.
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1..4u32, 0..5u64).prop_map(|(node, number)| Event::Expect(node, number, number as usize % 2)),
        2 => (1..4u32, 0..5u64).prop_map(|(node, number)| Event::End(node, number)),
        3 => (0..2usize).prop_map(Event::Push),
        1 => (0..2usize).prop_map(Event::Pop),
        1 => Just(Event::Tick),
        2 => prop_oneof![Just(1_000u64), Just(400_000), Just(CALLED_US)].prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 0..60)
}

/// Those who wait at one key, looked at one by one.
#[derive(Default)]
struct NaiveQueue {
    /// Who, and when it was called, us.
    callers: Vec<((ReplicaId, u64), Option<u64>)>,
    items: usize,
}

impl NaiveQueue {
    fn has_fresh(&self) -> bool {
        self.callers
            .iter()
            .any(|(_, called_us)| called_us.is_none())
    }

    fn call(&mut self, now_us: u64) -> Vec<(ReplicaId, u64)> {
        let is_coming =
            |called_us: &Option<u64>| called_us.is_some_and(|at| now_us - at < CALLED_US);
        let coming = self.callers.iter().filter(|one| is_coming(&one.1)).count();
        let mut others: Vec<_> = self
            .callers
            .iter_mut()
            .filter(|one| !is_coming(&one.1))
            .collect();
        others.sort_by_key(|one| one.1);
        let called = others.into_iter().take(self.items.saturating_sub(coming));
        called
            .map(|one| {
                one.1 = Some(now_us);
                one.0
            })
            .collect()
    }
}

proptest! {
    #[test]
    fn those_are_called_whom_a_look_at_all_finds(events in events()) {
        // Breaks if the order of those who wait, or who of them is on the way, is kept wrongly where not all are looked at.
        let (mut cache, mut callers) = (Cache::new(1), Callers::default());
        let mut naive = [NaiveQueue::default(), NaiveQueue::default()];
        let keys: [&'static [u8]; 2] = [b"a", b"b"];
        let mut now_us = 10;
        // A tick looks once in a while.
        let mut look_at_us = 0;
        for event in events {
            let (called, expected) = match event {
                Event::Expect(node, number, key) => {
                    let id = (of(node), number);
                    let queue = &mut naive[key];
                    if naive_is_empty(&callers) {
                        look_at_us = now_us + CALLED_US;
                    }
                    match queue.callers.iter_mut().find(|one| one.0 == id) {
                        Some(one) => one.1 = None,
                        None => queue.callers.push((id, None)),
                    }
                    let wait = Expected { key: Bytes::from_static(keys[key]), ..wait(number) };
                    (callers.expect(&mut cache, of(node), &wait, now_us), queue.call(now_us))
                }
                Event::End(node, number) => {
                    let called = callers.end(&mut cache, of(node), number, now_us);
                    let id = (of(node), number);
                    let queue = naive.iter_mut().find(|queue| queue.callers.iter().any(|one| one.0 == id));
                    let expected = queue.map(|queue| {
                        queue.callers.retain(|one| one.0 != id);
                        queue.call(now_us)
                    });
                    (called, expected.unwrap_or_default())
                }
                Event::Push(key) => {
                    let change = |list: &mut List| (list.push_back(b"x"), cache::Changed::Yes);
                    let place = Key::new(cache.seed(), 0, keys[key]);
                    cache.edit_collection(place, Vacant::Make, change).expect("a list");
                    let queue = &mut naive[key];
                    queue.items += 1;
                    let expected = match queue.has_fresh() {
                        true => queue.call(now_us),
                        false => Vec::new(),
                    };
                    (callers.written(&mut cache, now_us), expected)
                }
                Event::Pop(key) => {
                    let queue = &mut naive[key];
                    if queue.items > 0 {
                        queue.items -= 1;
                        let change = |list: &mut List| (list.remove(0), cache::Changed::Yes);
                        let place = Key::new(cache.seed(), 0, keys[key]);
                        cache.edit_collection(place, Vacant::Make, change).expect("a list");
                    }
                    cache.take_awaited();
                    continue;
                }
                Event::Tick => {
                    let is_due = !naive_is_empty(&callers) && now_us >= look_at_us;
                    let mut expected = Vec::new();
                    if is_due {
                        look_at_us = now_us + CALLED_US;
                        expected = naive.iter_mut().flat_map(|queue| queue.call(now_us)).collect();
                    }
                    (callers.tick(&mut cache, now_us), expected)
                }
                Event::Pass(us) => {
                    now_us += us;
                    // Nobody is silent for long here.
                    for caller in callers.queues.values_mut().flat_map(|queue| queue.callers.values_mut()) {
                        caller.heard_us = now_us;
                    }
                    continue;
                }
            };
            prop_assert_eq!(called, expected);
            let fresh = callers.queues.iter().filter(|(_, queue)| !queue.fresh.is_empty());
            let fresh: BTreeSet<Place> = fresh.map(|(place, _)| place.clone()).collect();
            prop_assert_eq!(&callers.fresh, &fresh);
            for queue in callers.queues.values() {
                let sets = queue.fresh.len() + queue.coming.len() + queue.late.len();
                prop_assert_eq!(sets, queue.callers.len());
            }
        }
    }
}

fn naive_is_empty(callers: &Callers) -> bool {
    callers.places.is_empty()
}

// Breaks if the room for waits is not given back, or more than that is taken.
#[test]
fn waits_have_a_bound_for_the_node() {
    let count = WaitsCount::default();
    assert!(count.admit(WAITS_MAX - 1));
    assert!(!count.admit(2));
    assert!(count.admit(1));
    count.release(WAITS_MAX);
    assert!(count.admit(WAITS_MAX));
    assert_eq!(weight_of(b"key"), 1);
    assert_eq!(weight_of(&[0; 5000]), 5);
}
