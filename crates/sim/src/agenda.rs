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
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Agenda {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
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
