//! What happens next in a simulated world: events by their time, those of one time in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The place of a stored event: it stays while the event waits for something else than its time.
pub type Slot = usize;

/// Events of a world that are to come.
#[derive(Debug)]
pub struct Agenda<E> {
    heap: BinaryHeap<Reverse<(u64, u64, Slot)>>,
    slots: Vec<Option<E>>,
    free: Vec<Slot>,
    sequence: u64,
    /// The same of those that go before all others of their time.
    sequence_first: u64,
}

/// Where the sequence of those begins that wait their turn.
const SEQUENCE_BASE: u64 = 1 << 63;

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Agenda {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: SEQUENCE_BASE,
            sequence_first: 0,
        }
    }
}

impl<E> Agenda<E> {
    /// Puts an event in that happens at `at_us`.
    pub fn put(&mut self, at_us: u64, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        self.put_again(at_us, slot);
    }

    /// A stored event happens at `at_us`.
    pub fn put_again(&mut self, at_us: u64, slot: Slot) {
        self.sequence += 1;
        self.heap.push(Reverse((at_us, self.sequence, slot)));
    }

    /// A stored event, whose time has been, happens at `at_us`, behind those of which this was said before and in front of
    /// all others of that time: those come later.
    pub fn put_first(&mut self, at_us: u64, slot: Slot) {
        self.sequence_first += 1;
        self.heap.push(Reverse((at_us, self.sequence_first, slot)));
    }

    /// When the next event happens, and where it is stored; it stays there until it is taken.
    pub fn pop(&mut self) -> Option<(u64, Slot)> {
        let Reverse((at_us, _, slot)) = self.heap.pop()?;
        Some((at_us, slot))
    }

    /// A stored event.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, slot: Slot) -> &E {
        self.slots[slot].as_ref().expect("an event is stored there")
    }

    /// Takes a stored event out.
    ///
    /// # Panics
    /// If there is none.
    pub fn take(&mut self, slot: Slot) -> E {
        self.free.push(slot);
        self.slots[slot].take().expect("an event is stored there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_a_machine_happens_before_what_came_later() {
        // Breaks if a frame that arrived while its machine stood still is overtaken by one that arrives as it goes on.
        let mut agenda = Agenda::default();
        for event in ["first", "second", "resume", "third"] {
            agenda.put(7, event);
        }
        let (_, first) = agenda.pop().unwrap();
        let (_, second) = agenda.pop().unwrap();
        let (_, resume) = agenda.pop().unwrap();
        assert_eq!(agenda.take(resume), "resume");
        agenda.put_first(7, first);
        agenda.put_first(7, second);
        let order = std::iter::from_fn(|| {
            let (at_us, slot) = agenda.pop()?;
            assert_eq!(at_us, 7);
            Some(agenda.take(slot))
        });
        assert_eq!(order.collect::<Vec<_>>(), ["first", "second", "third"]);
    }
}
