//! Pages of equal slots, by size class.
//!
//! A [`Location`] is `page number << 10 | slot number`. Persistent and volatile records have pages of
//! their own ([`KINDS`]), so that whoever looks for expired records or samples volatile ones meets no others.
//!
//! Invariants:
//! - every page of a class but the last is full, and the last holds at least one record: deleting moves the
//!   class's last record into the hole, so there is never a hole to keep track of;
//! - `bytes` is the sum of all pages' sizes, the spare one included.

use crate::class::{CLASSES, PAGE_BYTES_MAX, page_bytes, slot_bytes};
use crate::record::{self, HEADER_BYTES, Location, NOWHERE};

/// Bits of a location that number the slot: the largest page holds 1024 of the smallest slots.
const SLOT_BITS: u32 = 10;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

/// Most pages: 128 GiB of the largest. The last number is not used, so no location equals [`NOWHERE`].
const PAGES_MAX: usize = (1 << (32 - SLOT_BITS)) - 1;

/// Kinds of pages: every size class twice, persistent (`class`) and volatile (`CLASSES + class`).
pub(crate) const KINDS: usize = 2 * CLASSES;

/// One page.
struct Page {
    /// Its memory, a power of two; empty for a free page number.
    bytes: Box<[u8]>,
    slot_bytes: u16,
    kind: u16,
    /// Its place in its kind's list.
    ordinal: u32,
}

/// A page in its kind's list.
struct Listed {
    page: u32,
    /// At or below the expiry of every record in it (volatile kinds); see [`Pages::reclaim_page`].
    earliest: u64,
}

/// The pages of one kind.
#[derive(Default)]
struct Kind {
    listed: Vec<Listed>,
    /// Records in all its pages.
    records: usize,
    /// Records in its last page; 0 only without pages.
    last_fill: u32,
    /// Sum of its pages' sizes.
    bytes: usize,
}

/// All pages of a cache.
pub(crate) struct Pages {
    pages: Vec<Page>,
    free: Vec<u32>,
    kinds: Vec<Kind>,
    /// One empty page of the largest size, kept while it is a small part of the whole: a class whose count
    /// swings around a full page would otherwise allocate and free at every turn.
    spare: Option<Box<[u8]>>,
    /// Whether the spare one may be of any size and is kept for good: a scratch's only page comes and goes with each use.
    keeps_any: bool,
    bytes: usize,
    /// Memory of all kinds' lists.
    listed_bytes: usize,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Pages {
            pages: Vec::new(),
            free: Vec::new(),
            kinds: (0..KINDS).map(|_| Kind::default()).collect(),
            spare: None,
            keeps_any: false,
            bytes: 0,
            listed_bytes: 0,
        }
    }

    /// Keeps one page from now on when the last record has left it.
    pub(crate) fn keep_page(&mut self) {
        self.keeps_any = true;
    }

    /// Memory in bytes: the pages and their directories.
    pub(crate) fn used_bytes(&self) -> usize {
        self.bytes
            + self.pages.capacity() * size_of::<Page>()
            + self.free.capacity() * size_of::<u32>()
            + self.kinds.capacity() * size_of::<Kind>()
            + self.listed_bytes
    }

    #[inline]
    fn split(location: Location) -> (usize, usize) {
        (
            (location >> SLOT_BITS) as usize,
            (location & SLOT_MASK) as usize,
        )
    }

    /// The slot at `location`, which must hold a record.
    #[inline]
    pub(crate) fn slot(&self, location: Location) -> &[u8] {
        let (page, slot) = Self::split(location);
        let page = &self.pages[page];
        let bytes = usize::from(page.slot_bytes);
        &page.bytes[slot * bytes..slot * bytes + bytes]
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, location: Location) -> &mut [u8] {
        let (page, slot) = Self::split(location);
        let page = &mut self.pages[page];
        let bytes = usize::from(page.slot_bytes);
        &mut page.bytes[slot * bytes..slot * bytes + bytes]
    }

    /// The header of the record at `location`: its length is a constant, so that no read of a field is
    /// checked again.
    #[inline]
    pub(crate) fn header(&self, location: Location) -> &[u8] {
        let (page, slot) = Self::split(location);
        let page = &self.pages[page];
        let start = slot * usize::from(page.slot_bytes);
        &page.bytes[start..start + HEADER_BYTES]
    }

    /// As [`Pages::header`], for writing.
    #[inline]
    pub(crate) fn header_mut(&mut self, location: Location) -> &mut [u8] {
        let (page, slot) = Self::split(location);
        let page = &mut self.pages[page];
        let start = slot * usize::from(page.slot_bytes);
        &mut page.bytes[start..start + HEADER_BYTES]
    }

    /// The kind of the page at `location`.
    pub(crate) fn kind_at(&self, location: Location) -> usize {
        usize::from(self.pages[Self::split(location).0].kind)
    }

    /// Records of `kind`.
    #[cfg(test)]
    pub(crate) fn records(&self, kind: usize) -> usize {
        self.kinds[kind].records
    }

    /// A fresh slot of `kind`. Its bytes are whatever was there before.
    pub(crate) fn allocate(&mut self, kind: usize) -> Location {
        let of = &self.kinds[kind];
        let full = match of.listed.last() {
            Some(last) => of.last_fill == self.slots(last.page),
            None => true,
        };
        if full {
            self.add_page(kind);
        }
        let of = &mut self.kinds[kind];
        let last = of
            .listed
            .last()
            .expect("a page was added if there was none");
        let location = last.page << SLOT_BITS | of.last_fill;
        of.last_fill += 1;
        of.records += 1;
        location
    }

    /// Frees the slot at `location`. If another record was moved there to fill the hole, returns where it
    /// came from: whoever refers to it must be told.
    pub(crate) fn free(&mut self, location: Location) -> Option<Location> {
        let kind = self.kind_at(location);
        let of = &mut self.kinds[kind];
        let last = of.listed.last().expect("a record's kind has a page");
        of.last_fill -= 1;
        of.records -= 1;
        let from = last.page << SLOT_BITS | of.last_fill;
        if from != location {
            self.fill_hole(from, location);
        }
        if self.kinds[kind].last_fill == 0 {
            self.drop_last_page(kind);
        }
        (from != location).then_some(from)
    }

    fn fill_hole(&mut self, from: Location, to: Location) {
        let ((from_page, from_slot), (to_page, to_slot)) = (Self::split(from), Self::split(to));
        let kind = usize::from(self.pages[to_page].kind);
        let bytes = slot_bytes(kind % CLASSES);
        let source = from_slot * bytes..(from_slot + 1) * bytes;
        if from_page == to_page {
            self.pages[from_page]
                .bytes
                .copy_within(source, to_slot * bytes);
        } else {
            let [from, to] = self
                .pages
                .get_disjoint_mut([from_page, to_page])
                .expect("two pages that exist");
            to.bytes[to_slot * bytes..][..bytes].copy_from_slice(&from.bytes[source]);
        }
        if kind >= CLASSES {
            let at = record::volatile_expires_at(self.slot(to));
            self.note_expiry(to, at);
        }
    }

    /// Copies `bytes` bytes from one record to another (which may be of another kind).
    pub(crate) fn copy(&mut self, from: (Location, usize), to: (Location, usize), bytes: usize) {
        let ((from_page, from_slot), (to_page, to_slot)) = (Self::split(from.0), Self::split(to.0));
        let [source, target] = self
            .pages
            .get_disjoint_mut([from_page, to_page])
            .expect("records of two kinds lie in two pages");
        let source_at = from_slot * usize::from(source.slot_bytes) + from.1;
        let target_at = to_slot * usize::from(target.slot_bytes) + to.1;
        target.bytes[target_at..][..bytes].copy_from_slice(&source.bytes[source_at..][..bytes]);
    }

    /// Lowers the bound on a page's expiries to `at`, that of the record at `location`.
    pub(crate) fn note_expiry(&mut self, location: Location, at: u64) {
        let page = &self.pages[Self::split(location).0];
        let listed = &mut self.kinds[usize::from(page.kind)].listed[page.ordinal as usize];
        listed.earliest = listed.earliest.min(at);
    }

    fn slots(&self, page: u32) -> u32 {
        let page = &self.pages[page as usize];
        (page.bytes.len() / usize::from(page.slot_bytes)) as u32
    }

    fn add_page(&mut self, kind: usize) {
        let class = kind % CLASSES;
        let size = page_bytes(class, self.kinds[kind].bytes);
        let bytes = match self.spare.take_if(|spare| spare.len() == size) {
            Some(spare) => spare,
            None => {
                self.bytes += size;
                vec![0; size].into_boxed_slice()
            }
        };
        let of = &mut self.kinds[kind];
        let page = Page {
            bytes,
            slot_bytes: slot_bytes(class) as u16,
            kind: kind as u16,
            ordinal: of.listed.len() as u32,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.pages[number as usize] = page;
                number
            }
            None => {
                assert!(
                    self.pages.len() < PAGES_MAX,
                    "a shard's pages are bounded by its share of memory, far below 128 GiB"
                );
                grow_by_quarters(&mut self.pages);
                self.pages.push(page);
                (self.pages.len() - 1) as u32
            }
        };
        of.bytes += size;
        of.last_fill = 0;
        self.listed_bytes -= of.listed.capacity() * size_of::<Listed>();
        grow_by_quarters(&mut of.listed);
        self.listed_bytes += of.listed.capacity() * size_of::<Listed>();
        of.listed.push(Listed {
            page: number,
            earliest: u64::MAX,
        });
    }

    fn drop_last_page(&mut self, kind: usize) {
        let of = &mut self.kinds[kind];
        let number = of.listed.pop().expect("the last page").page;
        if of.listed.is_empty() {
            self.listed_bytes -= of.listed.capacity() * size_of::<Listed>();
            of.listed = Vec::new();
        }
        let bytes = std::mem::take(&mut self.pages[number as usize].bytes);
        of.bytes -= bytes.len();
        let is_wanted =
            self.keeps_any || bytes.len() == PAGE_BYTES_MAX && self.bytes >= 32 * bytes.len();
        if self.spare.is_none() && is_wanted {
            self.spare = Some(bytes);
        } else {
            self.bytes -= bytes.len();
        }
        self.free.push(number);
        let last = self.kinds[kind].listed.last().map(|last| last.page);
        self.kinds[kind].last_fill = last.map_or(0, |page| self.slots(page));
        let is_much = |spare: &mut Box<[u8]>| !self.keeps_any && self.bytes < 16 * spare.len();
        if let Some(spare) = self.spare.take_if(is_much) {
            self.bytes -= spare.len();
        }
    }

    /// The location of a record of one of `kinds`, each as likely as the other, drawn from `draw`; none if
    /// there is no record.
    pub(crate) fn pick(
        &self,
        kinds: std::ops::Range<usize>,
        draw: &mut crate::draw::Draws,
    ) -> Option<Location> {
        let all: usize = self.kinds[kinds.clone()].iter().map(|of| of.records).sum();
        if all == 0 {
            return None;
        }
        let mut nth = draw.below(all);
        let of = self.kinds[kinds]
            .iter()
            .find(|of| match nth.checked_sub(of.records) {
                Some(rest) => {
                    nth = rest;
                    false
                }
                None => true,
            })?;
        let slots_max = (PAGE_BYTES_MAX / self.slot_bytes_of(of)).min(of.records);
        // Pages differ in size: a slot beyond a page's end is drawn again. Most pages are of the largest
        // size or their kind is small; the bound is never met but by a very long run of bad luck.
        for _ in 0..256 {
            let ordinal = draw.below(of.listed.len());
            let slot = draw.below(slots_max) as u32;
            if slot < self.fill(of, ordinal) {
                return Some(of.listed[ordinal].page << SLOT_BITS | slot);
            }
        }
        Some(of.listed[0].page << SLOT_BITS)
    }

    fn slot_bytes_of(&self, of: &Kind) -> usize {
        usize::from(self.pages[of.listed[0].page as usize].slot_bytes)
    }

    /// Records in the page `ordinal` of a kind.
    fn fill(&self, of: &Kind, ordinal: usize) -> u32 {
        if ordinal + 1 == of.listed.len() {
            of.last_fill
        } else {
            self.slots(of.listed[ordinal].page)
        }
    }

    /// Pages of `kind`.
    pub(crate) fn pages_of(&self, kind: usize) -> usize {
        self.kinds[kind].listed.len()
    }

    /// Records in page `ordinal` of `kind`.
    pub(crate) fn fill_of(&self, kind: usize, ordinal: usize) -> u32 {
        self.fill(&self.kinds[kind], ordinal)
    }

    /// The location of a slot of page `ordinal` of `kind`.
    pub(crate) fn location(&self, kind: usize, ordinal: usize, slot: u32) -> Location {
        self.kinds[kind].listed[ordinal].page << SLOT_BITS | slot
    }

    /// At or below every expiry in page `ordinal` of a volatile kind.
    pub(crate) fn earliest(&self, kind: usize, ordinal: usize) -> u64 {
        self.kinds[kind].listed[ordinal].earliest
    }

    /// Forgets the bound of a page whose records are about to be walked; the walker notes each survivor's.
    pub(crate) fn forget_earliest(&mut self, kind: usize, ordinal: usize) {
        self.kinds[kind].listed[ordinal].earliest = u64::MAX;
    }

    /// The slot at `location` if it may be touched ahead: never panics on a stale location.
    pub(crate) fn slot_if_any(&self, location: Location) -> Option<&[u8]> {
        if location == NOWHERE {
            return None;
        }
        let (page, slot) = Self::split(location);
        let page = self.pages.get(page)?;
        let bytes = usize::from(page.slot_bytes);
        page.bytes.get(slot * bytes..)?.get(..bytes)
    }
}

/// Makes room for one more by a quarter instead of doubling: the directory of a large shard is megabytes.
pub(crate) fn grow_by_quarters<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact((vec.len() / 4).max(2));
    }
}
