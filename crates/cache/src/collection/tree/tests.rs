use super::node::Node;
use super::{Item, Tree};
use allocation_counter::measure;
use proptest::prelude::*;

/// An item of the model: order, key, value.
type Plain = (u64, Vec<u8>, Vec<u8>);

fn item(plain: &Plain) -> Item<'_> {
    Item {
        order: plain.0,
        key: &plain.1,
        value: &plain.2,
    }
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// What the items of one test are like.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Up to four bytes, no order.
    Tiny,
    /// A hash's fields.
    Fields,
    /// Two of them fill a pack.
    Halves,
    /// Of all lengths around the longest of a pack, and far above it.
    Mixed,
}

impl Kind {
    fn draw(self, numbers: &mut Numbers) -> Plain {
        let (order, key, value) = match self {
            Kind::Tiny => (0, numbers.below(4), 0),
            Kind::Fields => (numbers.next() >> 17, 16, numbers.below(32)),
            Kind::Halves => (0, 900 + numbers.below(300), 0),
            Kind::Mixed => {
                let order = [0, 1, 0xffff_ffff, 0x1_0000_0000, u64::MAX][numbers.below(5)];
                let lengths = [0, 1, 127, 128, 1000, 2010, 2020, 2030, 2040, 20_000];
                let most = [20, 20, 200, 2010, 2030][numbers.below(5)];
                let key = lengths[numbers.below(10)].min(most);
                (order, key, numbers.below(most))
            }
        };
        let fill = numbers.next() as u8;
        (order, vec![fill; key], vec![!fill; value])
    }
}

/// Fails if the tree is not made as it should be, or its items are others.
fn check(tree: &Tree, model: &[Plain]) {
    check_shape(tree);
    assert_eq!(tree.len(), model.len());
    assert!(tree.iter_from(0).eq(model.iter().map(item)));
}

fn check_shape(tree: &Tree) {
    let height = tree.root.as_ref().map_or(0, Node::check);
    assert!(height <= 8, "{height} levels");
    assert!(tree.len() > 0 || tree.bytes() == 0);
}

/// A tree, its model, and clones of both at earlier moments.
struct Pair {
    tree: Tree,
    model: Vec<Plain>,
    clones: Vec<(Tree, Vec<Plain>)>,
}

impl Pair {
    fn new() -> Self {
        Pair {
            tree: Tree::default(),
            model: Vec::new(),
            clones: Vec::new(),
        }
    }

    /// A position: often an end.
    fn position(&self, numbers: &mut Numbers, bound: usize) -> usize {
        match numbers.below(6) {
            0 => 0,
            1 => bound - 1,
            _ => numbers.below(bound),
        }
    }

    fn insert(&mut self, numbers: &mut Numbers, kind: Kind) {
        let index = self.position(numbers, self.model.len() + 1);
        let plain = kind.draw(numbers);
        self.tree.insert(index, item(&plain));
        self.model.insert(index, plain);
    }

    fn remove(&mut self, numbers: &mut Numbers) {
        if !self.model.is_empty() {
            let index = self.position(numbers, self.model.len());
            self.tree.remove(index);
            self.model.remove(index);
        }
    }

    fn replace(&mut self, numbers: &mut Numbers, kind: Kind) {
        if !self.model.is_empty() {
            let index = self.position(numbers, self.model.len());
            let plain = kind.draw(numbers);
            self.tree.replace(index, item(&plain));
            self.model[index] = plain;
        }
    }

    fn keep(&mut self, numbers: &mut Numbers) {
        let len = self.model.len();
        let (first, second) = match numbers.below(3) {
            0 => (numbers.below(len + 1), numbers.below(len + 1)),
            1 => (numbers.below(len / 8 + 1), len),
            _ => (0, len - numbers.below(len / 8 + 1)),
        };
        let range = first.min(second)..first.max(second);
        let mut gone = self.tree.keep(range.clone());
        self.model.truncate(range.end);
        self.model.drain(..range.start);
        assert!(gone.len() + self.tree.len() <= len);
        let others = numbers.below(2) == 0;
        let gone_clone = others.then(|| gone.clone());
        while gone.dismantle(1 + numbers.below(9)) {}
        drop(gone_clone);
    }

    fn clone_or_look(&mut self, numbers: &mut Numbers) {
        if self.clones.len() < 3 {
            self.clones.push((self.tree.clone(), self.model.clone()));
            return;
        }
        let (mut clone, model) = self.clones.swap_remove(numbers.below(3));
        check(&clone, &model);
        // A clone may change as well as the original.
        match numbers.below(3) {
            0 if !model.is_empty() => {
                clone.remove(model.len() / 2);
                assert_eq!(clone.len() + 1, model.len());
            }
            1 => while clone.dismantle(5) {},
            _ => {
                self.clones.push((self.tree.clone(), self.model.clone()));
                (self.tree, self.model) = (clone, model);
            }
        }
    }

    fn look(&self, numbers: &mut Numbers) {
        let len = self.model.len();
        let index = numbers.below(len + 3);
        assert_eq!(self.tree.get(index), self.model.get(index).map(item));
        let from = &self.model[index.min(len)..];
        let ahead = self.tree.iter_from(index).take(300);
        assert!(ahead.eq(from.iter().map(item).take(300)));
        let back = &self.model[..index.min(len)];
        let behind = self.tree.iter_back(index);
        assert_eq!(behind.size_hint(), (back.len(), Some(back.len())));
        assert!(behind.take(300).eq(back.iter().rev().map(item).take(300)));
    }

    /// One random operation; of a hundred `growth` more insert than remove.
    fn step(&mut self, numbers: &mut Numbers, kind: Kind, growth: usize) {
        match numbers.below(100) {
            0..5 => self.replace(numbers, kind),
            5..10 => self.look(numbers),
            10..12 => self.clone_or_look(numbers),
            at if at < 56 + growth / 2 => self.insert(numbers, kind),
            _ => self.remove(numbers),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // A tree that differs from a plain list loses, doubles or misplaces what clients stored; one whose clone changes
    // breaks snapshots.
    #[test]
    fn tree_is_a_list(
        seed in 1u64..,
        kind in prop_oneof![Just(Kind::Tiny), Just(Kind::Fields), Just(Kind::Halves), Just(Kind::Mixed)],
    ) {
        let mut numbers = Numbers(seed);
        let mut pair = Pair::new();
        for round in 0..12 {
            let growth = [80, 40, 0][round % 3];
            for _ in 0..100 {
                pair.step(&mut numbers, kind, growth);
                check_shape(&pair.tree);
            }
            check(&pair.tree, &pair.model);
            if round % 4 == 3 {
                pair.keep(&mut numbers);
                check(&pair.tree, &pair.model);
            }
        }
        while !pair.model.is_empty() {
            pair.remove(&mut numbers);
            check_shape(&pair.tree);
        }
        prop_assert_eq!(pair.tree.bytes(), 0);
        for (clone, model) in &pair.clones {
            check(clone, model);
        }
    }
}

// Nodes above nodes are divided, joined and cut by rules that small trees do not reach.
#[test]
fn a_tree_of_many_levels_is_a_list() {
    for seed in [3, 71] {
        println!("seed {seed}");
        let mut numbers = Numbers(seed);
        let mut pair = Pair::new();
        for round in 0..16 {
            for _ in 0..1500 {
                pair.step(&mut numbers, Kind::Halves, if round < 9 { 88 } else { 0 });
            }
            check(&pair.tree, &pair.model);
            if round == 8 {
                let height = pair.tree.root.as_ref().map_or(0, Node::check);
                assert!(height >= 2, "{height} levels above packs");
            }
            if round % 5 == 4 {
                pair.keep(&mut numbers);
                check(&pair.tree, &pair.model);
            }
        }
    }
}

/// A tree sorted by order and key, with its model.
fn sorted(numbers: &mut Numbers, count: usize, orders: u64) -> (Tree, Vec<Plain>) {
    let (mut tree, mut model) = (Tree::default(), Vec::new());
    for _ in 0..count {
        let order = numbers.next() % orders;
        let key = format!("{:08}", numbers.next() % 100_000).into_bytes();
        let plain: Plain = (order, key, Vec::new());
        let expected = model.binary_search(&plain);
        assert_eq!(tree.seek(order, &plain.1), expected);
        if let Err(at) = expected {
            tree.insert(at, item(&plain));
            model.insert(at, plain);
        }
    }
    (tree, model)
}

// Members of equal scores are ordered by their bytes; a search that stops at the wrong one of them finds nothing.
#[test]
fn finds_among_equal_orders() {
    for orders in [1, 2, 40, 1 << 40] {
        let mut numbers = Numbers(orders + 7);
        let (mut tree, mut model) = sorted(&mut numbers, 8000, orders);
        check(&tree, &model);
        for _ in 0..4000 {
            let at = numbers.below(model.len());
            let plain = model.remove(at);
            assert_eq!(tree.find(plain.0, &plain.1), Some(item(&plain)));
            assert_eq!(tree.seek(plain.0, &plain.1), Ok(at));
            tree.remove(at);
            assert_eq!(tree.find(plain.0, &plain.1), None);
            assert_eq!(tree.seek(plain.0, &plain.1), Err(at));
            let bound = numbers.next() % (orders + 1);
            assert_eq!(
                tree.partition_point(|item| item.order < bound),
                model.partition_point(|plain| plain.0 < bound)
            );
        }
        check(&tree, &model);
        assert_eq!(tree.partition_point(|_| false), 0);
        assert_eq!(tree.partition_point(|_| true), model.len());
    }
    assert_eq!(Tree::default().seek(1, b"a"), Err(0));
    assert_eq!(Tree::default().partition_point(|_| true), 0);
}

/// Mean fill of the packs below.
fn fill(tree: &Tree) -> f64 {
    fn visit(node: &Node, sum: &mut f64, count: &mut f64) {
        match node {
            Node::Pack(pack) => {
                *sum += pack.fill();
                *count += 1.0;
            }
            Node::Inner(inner) => inner
                .children()
                .iter()
                .for_each(|node| visit(node, sum, count)),
        }
    }
    let (mut sum, mut count) = (0.0, 0.0);
    visit(
        tree.root.as_ref().expect("some items"),
        &mut sum,
        &mut count,
    );
    sum / count
}

// A tree that shrank and kept its packs would hold the memory of what it once was.
#[test]
fn packs_stay_filled() {
    for kind in [Kind::Tiny, Kind::Fields, Kind::Halves] {
        let mut numbers = Numbers(17);
        let mut tree = Tree::default();
        for _ in 0..60_000 {
            let at = numbers.below(tree.len() + 1);
            tree.insert(at, item(&kind.draw(&mut numbers)));
        }
        assert!(fill(&tree) > 0.5, "{kind:?}: {}", fill(&tree));
        while tree.len() > 300 {
            let at = numbers.below(tree.len());
            tree.remove(at);
            if tree.len() % 4000 == 0 {
                assert!(fill(&tree) > 0.3, "{kind:?}: {}", fill(&tree));
            }
        }
        check_shape(&tree);
    }
    // Grown at either end, packs are full.
    for at_front in [0, usize::MAX] {
        let mut tree = Tree::default();
        for _ in 0..50_000 {
            tree.insert(at_front.min(tree.len()), item(&(0, vec![1; 30], vec![])));
        }
        assert!(fill(&tree) > 0.95, "{}", fill(&tree));
    }
    // Grown downwards in the middle, packs are not of one item each.
    let mut tree = Tree::default();
    for index in 0..20_000 {
        tree.insert(index.min(1000), item(&(0, vec![1; 30], vec![])));
    }
    assert!(fill(&tree) > 0.4, "{}", fill(&tree));
}

// A queue that leaks packs, or nodes, grows for as long as it is used.
#[test]
fn a_queue_stays_small() {
    for (window, bytes_max) in [(1, 100), (100, 3000), (20_000, 400_000)] {
        for (push_at_front, pop_at_front) in [(0, usize::MAX), (usize::MAX, 0)] {
            let mut tree = Tree::default();
            for number in 0..150_000u32 {
                let at = push_at_front.min(tree.len());
                tree.insert(at, item(&(0, number.to_be_bytes().to_vec(), vec![9; 8])));
                if tree.len() > window {
                    let at = pop_at_front.min(tree.len() - 1);
                    let oldest = number - window as u32;
                    let key = tree.get(at).map(|item| item.key.to_vec());
                    assert_eq!(key, Some(oldest.to_be_bytes().to_vec()));
                    tree.remove(at);
                }
            }
            assert!(
                tree.bytes() < bytes_max,
                "{window}: {} bytes held",
                tree.bytes()
            );
            check_shape(&tree);
        }
    }
}

// A count that drifts from the memory really held breaks `maxmemory`, slowly.
#[test]
fn counts_what_the_allocator_counts() {
    for kind in [Kind::Tiny, Kind::Fields, Kind::Halves, Kind::Mixed] {
        let mut numbers = Numbers(29);
        let mut tree = Tree::default();
        let mut allocated = 0;
        for round in 0..30 {
            let steps = measure(|| {
                for _ in 0..1000 {
                    let at = numbers.below(tree.len() + 1);
                    match numbers.below(10) {
                        0 if at < tree.len() => tree.replace(at, item(&kind.draw(&mut numbers))),
                        at_most if at < tree.len() && at_most > 6 - round % 3 * 2 => {
                            tree.remove(at)
                        }
                        _ => tree.insert(at, item(&kind.draw(&mut numbers))),
                    }
                    let clone = tree.clone();
                    tree.insert(0, item(&kind.draw(&mut numbers)));
                    drop(clone);
                    tree.remove(tree.len() - 1);
                }
            });
            allocated += steps.bytes_current;
            let held = usize::try_from(allocated).expect("more was freed than allocated");
            // Less is asked for than given where an item lies alone.
            let rounded = match kind {
                Kind::Mixed => held + held / 7,
                Kind::Tiny | Kind::Fields | Kind::Halves => held + held / 50,
            };
            let counted = tree.bytes();
            assert!(
                (held..=rounded + 64).contains(&counted),
                "{kind:?}: {counted} counted, {held} held"
            );
        }
    }
}

// A small hash is what most keys hold; a byte more of each is a byte more of all.
#[test]
fn small_trees_are_one_allocation() {
    let mut tree = Tree::default();
    let made = measure(|| {
        for number in 0..10u8 {
            let field = format!("field:{number:04}").into_bytes();
            tree.insert(number.into(), item(&(0, field, vec![7; 10])));
        }
    });
    // A length, key, value and end of each, the head and the allocation's own.
    let content = 10 * (1 + 10 + 10 + 2) + 2 + 16;
    assert_eq!(made.bytes_current, 256);
    assert!(content <= 256 && tree.bytes() == 256);
    assert_eq!(made.count_current, 1);
}

// A node of 24 bytes would make inner nodes a third larger.
#[test]
fn nodes_are_two_words() {
    assert_eq!(size_of::<Node>(), 16);
}

// Freed in one go, a large collection would hold its shard's lock for seconds.
#[test]
fn dismantles_in_steps() {
    let mut tree = Tree::default();
    for number in 0..200_000u32 {
        tree.insert(
            number as usize,
            item(&(0, number.to_be_bytes().to_vec(), vec![])),
        );
    }
    let clone = tree.clone();
    let whole = tree.bytes();
    // What a snapshot still holds is not freed.
    assert!(!tree.dismantle(1));
    tree = clone;
    let mut steps = 0;
    loop {
        let before = tree.bytes();
        let mut more = false;
        let freed = measure(|| more = tree.dismantle(10));
        assert!(freed.bytes_current <= 0 && -freed.bytes_current <= 10 * 2048 + 8192);
        let counted = (before - tree.bytes()) as i64;
        assert!(
            counted.abs_diff(-freed.bytes_current) <= 32,
            "{counted} counted, {} freed",
            -freed.bytes_current
        );
        steps += 1;
        if !more {
            break;
        }
        check_shape(&tree);
    }
    assert!(steps >= whole / (10 * 2048), "{steps} steps");
    assert!(!tree.dismantle(10) && !tree.dismantle(0));
}

// LTRIM of a long list must not visit what it drops, and a change of a shared tree must copy the way down alone.
#[test]
fn cuts_and_copies_are_cheap() {
    let mut tree = Tree::default();
    for number in 0..300_000usize {
        tree.insert(number, item(&(0, number.to_string().into_bytes(), vec![])));
    }
    let whole = tree.bytes();
    let mut gone = Tree::default();
    let cut = measure(|| gone = tree.keep(100_000..200_000));
    assert!(
        cut.bytes_total < 64 * 1024,
        "{} bytes moved",
        cut.bytes_total
    );
    check_shape(&tree);
    assert_eq!(gone.len() + tree.len(), 300_000);
    assert!((gone.bytes() + tree.bytes()).abs_diff(whole) < 16 * 1024);
    for (index, number) in [(0, 100_000), (99_999, 199_999)] {
        let key = tree.get(index).map(|item| item.key.to_vec());
        assert_eq!(key, Some(format!("{number}").into_bytes()));
    }
    let clone = tree.clone();
    let change = measure(|| tree.remove(50_000));
    assert!(
        change.bytes_total < 12 * 1024,
        "{} bytes copied",
        change.bytes_total
    );
    assert_eq!((clone.len(), tree.len()), (100_000, 99_999));
    let whole = tree.len();
    assert_eq!(tree.keep(0..whole).len(), 0);
    assert_eq!(tree.keep(7..7).len(), whole);
    assert_eq!((tree.len(), tree.bytes()), (0, 0));
}
