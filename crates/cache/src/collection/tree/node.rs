//! Inner nodes: how a position or an order word leads to a pack.
//!
//! A node keeps for each of its children the count of items and the first item's order word beside each other, so a
//! search by order word touches one node a level, and children only where order words are equal. Whatever is about to
//! change is copied first if a clone shares it: one node a level, and one pack.

use super::Item;
use super::pack::{Pack, Packs, SHARES_BYTES};
use crate::class::allocated_bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// Most children of a node.
pub(super) const CHILDREN_MAX: usize = 64;

/// A part of a tree, never empty.
#[derive(Clone)]
pub(super) enum Node {
    Pack(Pack),
    Inner(Arc<Inner>),
}

/// Nodes side by side.
pub(super) type Nodes = SmallVec<[Node; 4]>;

/// A node of one child at least.
///
/// - `orders`, `counts` and `children` are of one length and one capacity;
/// - `count` is the sum of `counts`, `bytes` what the children hold;
/// - children are of one height, but for the root of what [`super::Tree::keep`] returned.
pub(super) struct Inner {
    /// Order word of each child's first item.
    orders: Vec<u64>,
    /// Items of each child.
    counts: Vec<usize>,
    children: Vec<Node>,
    count: usize,
    bytes: usize,
}

/// Where in a whole tree something is put: a full node is divided in the middle, but at the tree's ends it stays full,
/// so that a tree that grows at an end has full nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Front,
    Back,
    Within,
}

/// What a removal left of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Something,
}

impl Node {
    /// Items in it.
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Pack(pack) => pack.len(),
            Node::Inner(inner) => inner.count,
        }
    }

    /// Memory in bytes, of all that is below it too.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Node::Pack(pack) => pack.bytes(),
            Node::Inner(inner) => inner.bytes + inner.own_bytes(),
        }
    }

    fn first_order(&self) -> u64 {
        match self {
            Node::Pack(pack) => pack.order(0),
            Node::Inner(inner) => inner.orders[0],
        }
    }

    pub(super) fn first_item(&self) -> Item<'_> {
        let mut node = self;
        loop {
            match node {
                Node::Pack(pack) => return pack.item(0),
                Node::Inner(inner) => node = &inner.children[0],
            }
        }
    }

    /// Puts `item` at `index`, in place of `gone` items there (0 or 1). Returns what comes after this node from now
    /// on: something only if it was full.
    pub(super) fn put(
        &mut self,
        index: usize,
        gone: usize,
        item: &Item<'_>,
        place: Place,
    ) -> Nodes {
        match self {
            Node::Pack(pack) if pack.has_room(index, gone, item) => {
                pack.splice(index, gone, Some(item));
                Nodes::new()
            }
            Node::Pack(pack) => {
                let mut packs = put_by_dividing(pack, index, gone, item, place).into_iter();
                *pack = packs.next().expect("there is an item at least");
                packs.map(Node::Pack).collect()
            }
            Node::Inner(inner) => Arc::make_mut(inner).put(index, gone, item, place),
        }
    }

    /// Removes the item at `index`; a node of which nothing is left is the caller's to drop.
    pub(super) fn remove(&mut self, index: usize) -> Left {
        match self {
            Node::Pack(pack) if pack.len() == 1 => Left::Nothing,
            Node::Pack(pack) => {
                pack.splice(index, 1, None);
                Left::Something
            }
            Node::Inner(inner) => Arc::make_mut(inner).remove(index),
        }
    }

    /// Cuts off what is from `index` on, which is neither the first item nor past the last.
    pub(super) fn split_off(&mut self, index: usize) -> Node {
        match self {
            Node::Pack(pack) => {
                let after = Pack::of(pack.items().skip(index));
                *pack = Pack::of(pack.items().take(index));
                Node::Pack(after)
            }
            Node::Inner(inner) => Arc::make_mut(inner).split_off(index).into_node(),
        }
    }

    /// Frees packs, at most as many as `packs_left` says and counts down, from the last one on. What a clone shares
    /// is let go of in one piece.
    pub(super) fn dismantle(&mut self, packs_left: &mut usize) -> Left {
        let inner = match self {
            Node::Pack(_) => None,
            Node::Inner(inner) => Arc::get_mut(inner),
        };
        let Some(inner) = inner else {
            *packs_left -= 1;
            return Left::Nothing;
        };
        while *packs_left > 0 && !inner.children.is_empty() {
            let last = inner.children.len() - 1;
            inner.change(last, |child| ((), child.dismantle(packs_left)));
        }
        inner.left()
    }

    /// Whether it is so empty that it should be put together with a neighbour.
    fn is_sparse(&self) -> bool {
        match self {
            Node::Pack(pack) => pack.is_sparse(),
            Node::Inner(inner) => inner.children.len() < CHILDREN_MAX / 4,
        }
    }

    /// Both nodes' content in one, if it leaves a quarter of it free.
    fn joined(&self, next: &Node) -> Option<Node> {
        match (self, next) {
            (Node::Pack(first), Node::Pack(second)) => first.joined(second).map(Node::Pack),
            (Node::Inner(first), Node::Inner(second)) => {
                let children = first.children.iter().chain(&second.children);
                let fits = first.children.len() + second.children.len() <= CHILDREN_MAX / 4 * 3;
                fits.then(|| Inner::of(children.cloned().collect()).into_node())
            }
            (Node::Pack(_), Node::Inner(_)) | (Node::Inner(_), Node::Pack(_)) => None,
        }
    }
}

/// What takes the place of a pack when an item is put into it that it has no room for.
fn put_by_dividing(pack: &Pack, index: usize, gone: usize, item: &Item<'_>, place: Place) -> Packs {
    let alone = || Pack::of(std::iter::once(*item));
    match place {
        Place::Front if pack.is_wide_enough(item) => {
            return Packs::from_iter([alone(), pack.clone()]);
        }
        Place::Back if pack.is_wide_enough(item) => {
            return Packs::from_iter([pack.clone(), alone()]);
        }
        Place::Front | Place::Back | Place::Within => {}
    }
    let mut items: Vec<Item<'_>> = Vec::with_capacity(pack.len() + 1);
    items.extend(pack.items());
    items.splice(index..index + gone, [*item]);
    Pack::divide(&items)
}

/// Capacity for so many children.
fn capacity_for(children: usize) -> usize {
    match children {
        0..=16 => children.next_multiple_of(4),
        17.. => children.next_multiple_of(8),
    }
}

impl Inner {
    /// These children, one at least.
    pub(super) fn of(children: Nodes) -> Inner {
        let mut inner = Inner::with_capacity(capacity_for(children.len()));
        inner.replace(0, 0, children);
        inner
    }

    fn with_capacity(capacity: usize) -> Inner {
        Inner {
            orders: Vec::with_capacity(capacity),
            counts: Vec::with_capacity(capacity),
            children: Vec::with_capacity(capacity),
            count: 0,
            bytes: 0,
        }
    }

    pub(super) fn into_node(self) -> Node {
        Node::Inner(Arc::new(self))
    }

    pub(super) fn children(&self) -> &[Node] {
        &self.children
    }

    /// What the allocator takes for the node itself.
    fn own_bytes(&self) -> usize {
        allocated_bytes(size_of::<Inner>() + SHARES_BYTES)
            + 2 * allocated_bytes(self.orders.capacity() * size_of::<u64>())
            + allocated_bytes(self.children.capacity() * size_of::<Node>())
    }

    fn left(&self) -> Left {
        match self.children.is_empty() {
            true => Left::Nothing,
            false => Left::Something,
        }
    }

    /// The child that holds the item at `index`, which must be there, and the item's index in it.
    pub(super) fn child_at(&self, index: usize) -> (usize, usize) {
        let (child, within) = self.child_before(index + 1);
        (child, within - 1)
    }

    /// The child that holds the item before the one at `index`, and that one's index in it or else its length. The
    /// first child if there is none before.
    fn child_before(&self, index: usize) -> (usize, usize) {
        if index == self.count {
            let last = self.counts.len() - 1;
            return (last, self.counts[last]);
        }
        let mut within = index;
        for (child, count) in self.counts.iter().enumerate() {
            if within <= *count {
                return (child, within);
            }
            within -= count;
        }
        unreachable!("the index is within the count of items")
    }

    /// Items before the child.
    pub(super) fn count_before(&self, child: usize) -> usize {
        self.counts[..child].iter().sum()
    }

    /// The child where the item of `order` and `key` is, or else would go.
    pub(super) fn child_of(&self, order: u64, key: &[u8]) -> usize {
        let before = self.orders.partition_point(|first| *first < order);
        let equal = self.orders[before..].partition_point(|first| *first == order);
        let ties = &self.children[before..before + equal];
        let upto = before + ties.partition_point(|child| child.first_item().key <= key);
        upto.saturating_sub(1)
    }

    /// The child where the first item is that `is_before` is not true of; it may be the first of the next one.
    pub(super) fn child_by(&self, mut is_before: impl FnMut(Item<'_>) -> bool) -> usize {
        self.children
            .partition_point(|child| is_before(child.first_item()))
            .saturating_sub(1)
    }

    /// Changes a child, drops it if nothing is left of it, and counts again.
    fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Node) -> (T, Left)) -> T {
        let child = &mut self.children[index];
        let bytes = child.bytes();
        let (result, left) = change(child);
        self.count -= self.counts[index];
        self.bytes -= bytes;
        match left {
            Left::Nothing => {
                self.orders.remove(index);
                self.counts.remove(index);
                self.children.remove(index);
                self.shrink();
            }
            Left::Something => {
                self.orders[index] = child.first_order();
                self.counts[index] = child.count();
                self.count += child.count();
                self.bytes += child.bytes();
            }
        }
        result
    }

    /// Puts `nodes` in place of `gone` children at `index`.
    fn replace(&mut self, index: usize, gone: usize, nodes: Nodes) {
        let len = self.children.len() - gone + nodes.len();
        if len > self.children.capacity() {
            let more = capacity_for(len) - self.children.len();
            self.orders.reserve_exact(more);
            self.counts.reserve_exact(more);
            self.children.reserve_exact(more);
        }
        let range = index..index + gone;
        self.count -= self.counts[range.clone()].iter().sum::<usize>();
        let bytes = self.children[range.clone()].iter().map(Node::bytes);
        self.bytes -= bytes.sum::<usize>();
        self.count += nodes.iter().map(Node::count).sum::<usize>();
        self.bytes += nodes.iter().map(Node::bytes).sum::<usize>();
        let orders = nodes.iter().map(Node::first_order);
        self.orders.splice(range.clone(), orders);
        let counts = nodes.iter().map(Node::count);
        self.counts.splice(range.clone(), counts);
        self.children.splice(range, nodes);
        self.shrink();
    }

    /// Cuts off the children from `index` on.
    fn split_off_children(&mut self, index: usize) -> Inner {
        let after = Inner::of(self.children.drain(index..).collect());
        self.orders.truncate(index);
        self.counts.truncate(index);
        self.count -= after.count;
        self.bytes -= after.bytes;
        self.shrink();
        after
    }

    /// Lets go of room for children, if it is more than that for as many again or than there can be.
    fn shrink(&mut self) {
        let capacity = capacity_for(self.children.len());
        let most = CHILDREN_MAX.max(capacity).min(capacity * 2);
        if self.children.capacity() > most {
            self.orders.shrink_to(capacity);
            self.counts.shrink_to(capacity);
            self.children.shrink_to(capacity);
        }
    }

    fn put(&mut self, index: usize, gone: usize, item: &Item<'_>, place: Place) -> Nodes {
        let (mut child, mut within) = match gone {
            0 => self.child_before(index),
            _ => self.child_at(index),
        };
        // Between two packs of which the first is full, the second may have room.
        if gone == 0
            && within == self.counts[child]
            && let Node::Pack(pack) = &self.children[child]
            && let Some(Node::Pack(next)) = self.children.get(child + 1)
            && !pack.has_room(within, 0, item)
            && next.has_room(0, 0, item)
        {
            (child, within) = (child + 1, 0);
        }
        let after = self.change(child, |node| {
            (node.put(within, gone, item, place), Left::Something)
        });
        if !after.is_empty() {
            self.replace(child + 1, 0, after);
        } else if gone > 0 {
            self.join_sparse(child);
        }
        if self.children.len() <= CHILDREN_MAX {
            return Nodes::new();
        }
        let after = self.split_off_children(match place {
            Place::Front => 1,
            Place::Within => self.children.len() / 2,
            Place::Back => self.children.len() - 1,
        });
        Nodes::from_iter([after.into_node()])
    }

    fn remove(&mut self, index: usize) -> Left {
        let (child, within) = self.child_at(index);
        let left = self.change(child, |node| {
            let left = node.remove(within);
            (left, left)
        });
        if left == Left::Something {
            self.join_sparse(child);
        }
        self.left()
    }

    /// Puts a child together with a neighbour, if it is sparse and the two are not too much for one.
    fn join_sparse(&mut self, child: usize) {
        if !self.children[child].is_sparse() {
            return;
        }
        for first in [child.checked_sub(1), Some(child)].into_iter().flatten() {
            if let Some(next) = self.children.get(first + 1)
                && let Some(joined) = self.children[first].joined(next)
            {
                self.replace(first, 2, Nodes::from_iter([joined]));
                return;
            }
        }
    }

    /// What is from `index` on, which is neither the first item nor past the last.
    fn split_off(&mut self, index: usize) -> Inner {
        let (child, within) = self.child_before(index);
        if within < self.counts[child] {
            let cut = self.change(child, |node| (node.split_off(within), Left::Something));
            self.replace(child + 1, 0, Nodes::from_iter([cut]));
        }
        self.split_off_children(child + 1)
    }
}

/// A copy of the same capacity: a tree's bytes do not depend on what shares it.
impl Clone for Inner {
    fn clone(&self) -> Inner {
        let mut copy = Inner::with_capacity(self.children.capacity());
        copy.orders.extend_from_slice(&self.orders);
        copy.counts.extend_from_slice(&self.counts);
        copy.children.extend_from_slice(&self.children);
        Inner {
            count: self.count,
            bytes: self.bytes,
            ..copy
        }
    }
}

#[cfg(test)]
impl Node {
    /// Fails if a count, an order word or a size is not that of what is below; returns the height.
    pub(super) fn check(&self) -> usize {
        let inner = match self {
            Node::Pack(pack) => {
                pack.check();
                return 0;
            }
            Node::Inner(inner) => inner,
        };
        assert!((1..=CHILDREN_MAX).contains(&inner.children.len()));
        assert_eq!(inner.orders.capacity(), inner.children.capacity());
        assert_eq!(inner.counts.capacity(), inner.children.capacity());
        let heights: Vec<usize> = inner.children.iter().map(Node::check).collect();
        assert!(heights.iter().all(|height| *height == heights[0]));
        let firsts = inner.children.iter().map(Node::first_order);
        assert!(firsts.eq(inner.orders.iter().copied()));
        let counts = inner.children.iter().map(Node::count);
        assert!(counts.eq(inner.counts.iter().copied()));
        assert_eq!(inner.count, inner.counts.iter().sum::<usize>());
        let bytes: usize = inner.children.iter().map(Node::bytes).sum();
        assert_eq!(inner.bytes, bytes);
        heights[0] + 1
    }
}
