//! A sequence of items with a position each: what every collection is made of.
//!
//! It is a balanced tree. Its leaves are packs ([`pack`]): up to 128 items and 2 KiB in one piece of memory, so that a
//! small collection is one allocation. Above them are nodes ([`node`]) of up to 64 children that know how many items each
//! child has, and the order word of its first. Nodes and packs are shared between clones and copied when one of them
//! changes: a clone costs O(1), a change after it one pack and the nodes above.
//!
//! It does not know what a key, a value or an order word is, nor whether the items are sorted: its user inserts at
//! positions, and searches only what it has kept in order.

mod iter;
mod node;
mod pack;
#[cfg(test)]
mod tests;

use iter::{Backward, Forward};
use node::{Inner, Left, Node, Nodes, Place};
use pack::Pack;
use std::ops::Range;

/// At most so many items are cut off an end one by one, which leaves packs as they are.
const CUT_SINGLY_MAX: usize = 16;

/// One item of a tree. What `order` is, the tree's user says: a hash, a score's bits, or 0 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// What the items are sorted by, if they are sorted, ties by `key`.
    pub order: u64,
    /// A field, a member or an element.
    pub key: &'a [u8],
    /// A field's value; empty for what has none.
    pub value: &'a [u8],
}

/// A sequence of items. A clone costs O(1) and shares what neither changes.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    /// None if there is no item.
    root: Option<Node>,
}

impl Tree {
    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.root.as_ref().map_or(0, Node::count)
    }

    /// Memory in bytes, as if nothing were shared with a clone. O(1).
    pub(crate) fn bytes(&self) -> usize {
        self.root.as_ref().map_or(0, Node::bytes)
    }

    /// The item at `index`, if there are so many. O(log n), as are all the others of which nothing else is said.
    pub(crate) fn get(&self, index: usize) -> Option<Item<'_>> {
        let mut node = self.root.as_ref().filter(|root| index < root.count())?;
        let mut index = index;
        loop {
            match node {
                Node::Pack(pack) => return Some(pack.item(index)),
                Node::Inner(inner) => {
                    let (child, within) = inner.child_at(index);
                    (node, index) = (&inner.children()[child], within);
                }
            }
        }
    }

    /// Puts an item before the one at `index`, which is at most the length.
    pub(crate) fn insert(&mut self, index: usize, item: Item<'_>) {
        let len = self.len();
        assert!(index <= len, "inserted at {index} of {len}");
        let Some(root) = &mut self.root else {
            self.root = Some(Node::Pack(Pack::of(std::iter::once(item))));
            return;
        };
        let place = match index {
            _ if index == len => Place::Back,
            0 => Place::Front,
            _ => Place::Within,
        };
        let after = root.put(index, 0, &item, place);
        self.grow(after);
    }

    /// Puts an item in place of the one at `index`, which must be there.
    pub(crate) fn replace(&mut self, index: usize, item: Item<'_>) {
        let len = self.len();
        assert!(index < len, "replaced at {index} of {len}");
        let root = self.root.as_mut().expect("there is an item");
        let after = root.put(index, 1, &item, Place::Within);
        self.grow(after);
        self.shrink();
    }

    /// Removes the item at `index`, which must be there.
    pub(crate) fn remove(&mut self, index: usize) {
        let len = self.len();
        assert!(index < len, "removed at {index} of {len}");
        let root = self.root.as_mut().expect("there is an item");
        match root.remove(index) {
            Left::Nothing => self.root = None,
            Left::Something => self.shrink(),
        }
    }

    /// Keeps the items at `range` alone, which must be within the length; returns others, to be let go of in steps
    /// ([`Tree::dismantle`]): a few are gone at once.
    pub(crate) fn keep(&mut self, range: Range<usize>) -> Tree {
        let len = self.len();
        assert!(
            range.start <= range.end && range.end <= len,
            "kept {range:?} of {len}"
        );
        if range.is_empty() {
            return std::mem::take(self);
        }
        let mut gone = Nodes::new();
        if len - range.end <= CUT_SINGLY_MAX {
            (range.end..len).rev().for_each(|last| self.remove(last));
        } else {
            gone.extend(self.split_off(range.end).root);
        }
        if range.start <= CUT_SINGLY_MAX {
            (0..range.start).for_each(|_| self.remove(0));
        } else {
            let kept = self.split_off(range.start);
            gone.extend(std::mem::replace(self, kept).root);
        }
        let root = match gone.len() {
            0 | 1 => gone.pop(),
            _ => Some(Inner::of(gone).into_node()),
        };
        Tree { root }
    }

    /// How many items at the beginning `is_before` is true of; it must be true of some first ones and of no other.
    pub(crate) fn partition_point(&self, mut is_before: impl FnMut(Item<'_>) -> bool) -> usize {
        let Some(mut node) = self.root.as_ref() else {
            return 0;
        };
        let mut before = 0;
        loop {
            match node {
                Node::Pack(pack) => return before + pack.partition_point(is_before),
                Node::Inner(inner) => {
                    let child = inner.child_by(&mut is_before);
                    before += inner.count_before(child);
                    node = &inner.children()[child];
                }
            }
        }
    }

    /// Where the item of `order` and `key` is, or else would go, in a tree that is sorted by both.
    ///
    /// # Errors
    /// The position where it would go.
    pub(crate) fn seek(&self, order: u64, key: &[u8]) -> Result<usize, usize> {
        let mut node = self.root.as_ref().ok_or(0usize)?;
        let mut before = 0;
        loop {
            match node {
                Node::Pack(pack) => {
                    let found = pack.seek(order, key);
                    return found.map(|at| before + at).map_err(|at| before + at);
                }
                Node::Inner(inner) => {
                    let child = inner.child_of(order, key);
                    before += inner.count_before(child);
                    node = &inner.children()[child];
                }
            }
        }
    }

    /// The item of `order` and `key` in a tree that is sorted by both.
    pub(crate) fn find(&self, order: u64, key: &[u8]) -> Option<Item<'_>> {
        let mut node = self.root.as_ref()?;
        loop {
            match node {
                Node::Pack(pack) => return pack.seek(order, key).ok().map(|at| pack.item(at)),
                Node::Inner(inner) => node = &inner.children()[inner.child_of(order, key)],
            }
        }
    }

    /// The items from `index` on. O(log n) to begin, O(1) a step.
    pub(crate) fn iter_from(&self, index: usize) -> impl Iterator<Item = Item<'_>> {
        Forward::new(self.root.as_ref(), index)
    }

    /// The items before `index`, the last one first. O(log n) to begin, O(1) a step.
    pub(crate) fn iter_back(&self, index: usize) -> impl Iterator<Item = Item<'_>> {
        Backward::new(self.root.as_ref(), index)
    }

    /// Frees at most `packs_max` packs; whether anything is left. What a clone shares is let go of without being
    /// freed, however much it is; the clone is then what has to be dismantled.
    pub(crate) fn dismantle(&mut self, packs_max: usize) -> bool {
        let mut packs_left = packs_max;
        if let Some(root) = &mut self.root
            && packs_left > 0
            && root.dismantle(&mut packs_left) == Left::Nothing
        {
            self.root = None;
        }
        self.root.is_some()
    }

    /// Cuts off the items from `index` on, which is at most the length.
    fn split_off(&mut self, index: usize) -> Tree {
        let mut after = match &mut self.root {
            _ if index == 0 => return std::mem::take(self),
            Some(root) if index < root.count() => Tree {
                root: Some(root.split_off(index)),
            },
            Some(_) | None => return Tree::default(),
        };
        self.shrink();
        after.shrink();
        after
    }

    /// Puts a root above the root and what came after it.
    fn grow(&mut self, after: Nodes) {
        if after.is_empty() {
            return;
        }
        let before = self.root.take();
        self.root = Some(Inner::of(before.into_iter().chain(after).collect()).into_node());
    }

    /// Drops roots of one child.
    fn shrink(&mut self) {
        while let Some(Node::Inner(root)) = &self.root
            && let [child] = root.children()
        {
            let child = child.clone();
            self.root = Some(child);
        }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut tree = formatter.debug_struct("Tree");
        tree.field("len", &self.len()).field("bytes", &self.bytes());
        tree.finish()
    }
}
