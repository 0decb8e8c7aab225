//! Lists: elements by position.

use super::sealed::Sealed;
use super::tree::{Item, Tree};
use super::{Collection, Typed};
use std::ops::Range;

/// A list.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub(super) tree: Tree,
}

fn item(element: &[u8]) -> Item<'_> {
    Item {
        order: 0,
        key: element,
        value: b"",
    }
}

impl List {
    pub(super) fn new() -> Self {
        List {
            tree: Tree::default(),
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none: so only while a command makes it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.tree.get(index).map(|item| item.key)
    }

    /// Puts an element ahead of all.
    pub fn push_front(&mut self, element: &[u8]) {
        self.tree.insert(0, item(element));
    }

    /// Puts an element behind all.
    pub fn push_back(&mut self, element: &[u8]) {
        self.tree.insert(self.len(), item(element));
    }

    /// Puts an element ahead of the one at `index`, which is at most the length.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        self.tree.insert(index, item(element));
    }

    /// Puts an element in place of the one at `index`, which must be there.
    pub fn set(&mut self, index: usize, element: &[u8]) {
        self.tree.replace(index, item(element));
    }

    /// Removes the element at `index`, which must be there.
    pub fn remove(&mut self, index: usize) {
        self.tree.remove(index);
    }

    /// Keeps the elements at `range` alone, which must be within the length. Returns others, to be let go of in steps
    /// ([`crate::Cache::let_go`]): a few are gone at once.
    #[must_use]
    pub fn keep(&mut self, range: Range<usize>) -> List {
        List {
            tree: self.tree.keep(range),
        }
    }

    /// The elements from `index` on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        self.tree.iter_from(index).map(|item| item.key)
    }

    /// The elements before `index`, the last one first.
    pub fn iter_back(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        self.tree.iter_back(index).map(|item| item.key)
    }
}

impl Sealed for List {}

impl Typed for List {
    fn empty() -> Self {
        List::new()
    }

    fn of(collection: &Collection) -> Option<&Self> {
        match collection {
            Collection::List(this) => Some(this),
            _ => None,
        }
    }

    fn of_mut(collection: &mut Collection) -> Option<&mut Self> {
        match collection {
            Collection::List(this) => Some(this),
            _ => None,
        }
    }

    fn into_collection(self) -> Collection {
        Collection::List(self)
    }
}
