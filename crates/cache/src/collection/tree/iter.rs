//! Walks over a tree's items, one way or the other.

use super::Item;
use super::node::{Inner, Node};
use super::pack::Pack;
use smallvec::SmallVec;

/// What a walk holds without allocation; trees of more levels do not come up.
const HEIGHT: usize = 8;

/// A place in a tree: the way down to a pack, and an index in that.
struct Spot<'a> {
    way: SmallVec<[(&'a Inner, usize); HEIGHT]>,
    pack: &'a Pack,
    index: usize,
}

impl<'a> Spot<'a> {
    /// Of the item at `index`, which must be there.
    fn of(root: &'a Node, mut index: usize) -> Self {
        let mut way = SmallVec::new();
        let mut node = root;
        loop {
            match node {
                Node::Pack(pack) => return Spot { way, pack, index },
                Node::Inner(inner) => {
                    let (child, within) = inner.child_at(index);
                    way.push((&**inner, child));
                    (node, index) = (&inner.children()[child], within);
                }
            }
        }
    }

    fn item(&self) -> Item<'a> {
        self.pack.item(self.index)
    }

    /// To the next item, which must be there.
    fn step(&mut self) {
        self.index += 1;
        if self.index == self.pack.len() {
            self.turn(|child, len| (child + 1 < len).then_some(child + 1), |_| 0);
            self.index = 0;
        }
    }

    /// To the item before, which must be there.
    fn step_back(&mut self) {
        if self.index == 0 {
            self.turn(|child, _| child.checked_sub(1), |len| len - 1);
            self.index = self.pack.len();
        }
        self.index -= 1;
    }

    /// To another pack: up to where there is a child beside, then down by `entry` of each node's children.
    fn turn(
        &mut self,
        beside: impl Fn(usize, usize) -> Option<usize>,
        entry: impl Fn(usize) -> usize,
    ) {
        let mut node = loop {
            let (inner, child) = self.way.pop().expect("there is a further item");
            if let Some(child) = beside(child, inner.children().len()) {
                self.way.push((inner, child));
                break &inner.children()[child];
            }
        };
        loop {
            match node {
                Node::Pack(pack) => {
                    self.pack = pack;
                    return;
                }
                Node::Inner(inner) => {
                    let child = entry(inner.children().len());
                    self.way.push((&**inner, child));
                    node = &inner.children()[child];
                }
            }
        }
    }
}

/// Items in their order.
pub(super) struct Forward<'a> {
    /// The next item, if any is left.
    spot: Option<Spot<'a>>,
    left: usize,
}

impl<'a> Forward<'a> {
    /// From `index` on.
    pub(super) fn new(root: Option<&'a Node>, index: usize) -> Self {
        let left = root.map_or(0, Node::count).saturating_sub(index);
        let spot = root.filter(|_| left > 0).map(|root| Spot::of(root, index));
        Forward { spot, left }
    }
}

impl<'a> Iterator for Forward<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let spot = self.spot.as_mut().filter(|_| self.left > 0)?;
        let item = spot.item();
        self.left -= 1;
        if self.left > 0 {
            spot.step();
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Items, the last first.
pub(super) struct Backward<'a> {
    /// The next item, if any is left.
    spot: Option<Spot<'a>>,
    left: usize,
}

impl<'a> Backward<'a> {
    /// From the one before `index` on, or the last one.
    pub(super) fn new(root: Option<&'a Node>, index: usize) -> Self {
        let left = index.min(root.map_or(0, Node::count));
        let spot = root
            .filter(|_| left > 0)
            .map(|root| Spot::of(root, left - 1));
        Backward { spot, left }
    }
}

impl<'a> Iterator for Backward<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let spot = self.spot.as_mut().filter(|_| self.left > 0)?;
        let item = spot.item();
        self.left -= 1;
        if self.left > 0 {
            spot.step_back();
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
