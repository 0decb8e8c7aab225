//! Tests of collections in a cache, and of their encoding.

use crate::tests::{SEED, key};
use crate::{
    Cache, Changed, Collection, Edited, Expiry, Hash, List, Piece, Pin, Scan, Set, SortedSet,
    Typed, Vacant,
};

fn set_field(cache: &mut Cache, name: &[u8], field: &[u8], value: &[u8]) -> Edited<bool> {
    let edited = cache.edit_collection(key(name), Vacant::Make, |hash: &mut Hash| {
        (hash.set(field, value), Changed::Yes)
    });
    edited.expect("no other type").expect("made if vacant")
}

fn hash_of_fields(count: usize) -> Cache {
    let mut cache = Cache::new(SEED);
    for number in 0..count {
        set_field(&mut cache, b"h", format!("f{number}").as_bytes(), b"v");
    }
    cache
}

// Breaks if a collection is not removed with its last item, or its memory stays counted.
#[test]
fn an_empty_collection_is_gone() {
    let mut cache = Cache::new(SEED);
    let edited = set_field(&mut cache, b"h", b"f", b"v");
    assert!(edited.is_new && edited.result && !edited.is_gone);
    let before = cache.used_bytes();
    for number in 0..300 {
        set_field(&mut cache, b"h", format!("f{number}").as_bytes(), b"v");
    }
    assert!(cache.used_bytes() > before + 300);
    for number in 0..301 {
        let field = match number {
            300 => "f".to_owned(),
            number => format!("f{number}"),
        };
        let edited = cache.edit_collection(key(b"h"), Vacant::Leave, |hash: &mut Hash| {
            (hash.remove(field.as_bytes()), Changed::Yes)
        });
        let edited = edited.unwrap().expect("it is there");
        assert!(edited.result);
        assert_eq!(edited.is_gone, number == 300);
    }
    assert!(cache.peek(key(b"h")).is_none());
    assert!(cache.used_bytes() <= before);
}

// Breaks if an edit of another type, or of a string, goes through, or if a string over a collection leaves it counted.
#[test]
fn types_do_not_mix() {
    let mut cache = hash_of_fields(1000);
    let as_list = cache.edit_collection(key(b"h"), Vacant::Make, |list: &mut List| {
        list.push_back(b"e");
        ((), Changed::Yes)
    });
    assert!(as_list.is_err());
    cache.put(key(b"s"), &[7; 5000], Expiry::Never, Pin::Unpinned);
    let as_hash = cache.edit_collection(key(b"s"), Vacant::Make, |hash: &mut Hash| {
        (hash.set(b"f", b"v"), Changed::Yes)
    });
    assert!(as_hash.is_err());
    cache.put(key(b"h"), &[7; 5000], Expiry::Never, Pin::Unpinned);
    while cache.bury(1) {}
    let mut plain = Cache::new(SEED);
    plain.put(key(b"s"), &[7; 5000], Expiry::Never, Pin::Unpinned);
    plain.put(key(b"h"), &[7; 5000], Expiry::Never, Pin::Unpinned);
    assert!(cache.used_bytes() <= plain.used_bytes() + 256);
    assert_eq!(
        cache.peek(key(b"h")).unwrap().value.string(),
        Some(&[7; 5000][..])
    );
}

// Breaks if a copy sees what is written to the original later, or a restored piece of a collection differs from it.
#[test]
fn copies_and_pieces_are_the_state_of_then() {
    for count in [1, 5, 128, 129, 1000] {
        let mut cache = hash_of_fields(count);
        let copy = cache.copy(key(b"h")).expect("it is there");
        set_field(&mut cache, b"h", b"later", b"v");
        let crate::OwnedValue::Collection(copy) = copy.value else {
            panic!("a hash is a collection")
        };
        assert_eq!(copy.len(), count);
        let mut piece = Vec::new();
        let mut next = copy.encode_from(0, 100, &mut piece);
        let mut restored = Collection::decode(&piece).expect("well formed");
        while let Piece::Next(from) = next {
            piece.clear();
            next = copy.encode_from(from, 100, &mut piece);
            restored.extend(&piece).expect("well formed");
        }
        assert_eq!(restored, copy);
        assert_eq!(Collection::decode(&copy.encode()), Ok(copy));
    }
}

// Breaks if a walk over a hash that changes meanwhile leaves out a field that was there all the time.
#[test]
fn scans_visit_what_stays() {
    let mut cache = hash_of_fields(1000);
    let (mut cursor, mut seen) = (0, std::collections::BTreeSet::new());
    for round in 0.. {
        let entry = cache.peek(key(b"h")).expect("it is there");
        let crate::Value::Collection(Collection::Hash(hash)) = entry.value else {
            panic!("it is a hash")
        };
        let scan = hash.scan(cursor, 10, |field, _| {
            seen.insert(field.to_vec());
        });
        match scan {
            Scan::From(next) => cursor = next,
            Scan::Ended => break,
        }
        set_field(&mut cache, b"h", format!("new{round}").as_bytes(), b"v");
        assert!(round < 1000, "a walk comes to its end");
    }
    for number in 0..1000 {
        assert!(seen.contains(format!("f{number}").as_bytes()));
    }
}

// Breaks if scores do not sort as numbers do, ties by member, in both forms.
#[test]
fn sorted_sets_are_sorted() {
    let scores = [
        f64::NEG_INFINITY,
        -1e300,
        -1.5,
        -0.0,
        0.0,
        1e-300,
        2.0,
        f64::INFINITY,
    ];
    for count in [8, 200] {
        let mut set = SortedSet::new();
        for number in (0..count).rev() {
            set.set(format!("m{number:03}").as_bytes(), scores[number % 8]);
        }
        let all: Vec<_> = set.iter_from(0).map(|(m, s)| (s, m.to_vec())).collect();
        assert!(all.is_sorted());
        for (rank, (score, member)) in all.iter().enumerate() {
            assert_eq!(set.rank(member), Some(rank));
            assert_eq!(set.score(member), Some(*score));
        }
        assert_eq!(set.set(b"m003", 5.0), Some(0.0));
        assert_eq!(set.remove(b"m003"), Some(5.0));
        assert_eq!((set.len(), set.rank(b"m003")), (count - 1, None));
        let below = all.iter().filter(|(score, _)| *score < -1.0).count();
        assert_eq!(set.count_while(|_, score| score < -1.0), below);
    }
}

// Breaks if a set of integers is not in their order, or one that is no integer gets lost among them.
#[test]
fn sets_of_integers_are_in_their_order() {
    let mut set = Set::new();
    for member in ["5", "-3", "10", "0"] {
        assert!(set.insert(member.as_bytes()));
    }
    assert!(!set.insert(b"5") && !set.contains(b"05"));
    let members: Vec<_> = set.iter().collect();
    assert_eq!(members, [&b"-3"[..], b"0", b"5", b"10"]);
    assert!(set.insert(b"05") && !set.is_integers());
    assert!(set.contains(b"05") && set.contains(b"10") && set.len() == 5);
    assert!(set.remove(b"5") && !set.contains(b"5"));
}

// Breaks if what is cut off a list is freed at once, however much it is, while its shard is locked.
#[test]
fn what_is_cut_off_a_list_is_freed_in_steps() {
    let mut cache = Cache::new(SEED);
    let filled = cache.edit_collection(key(b"l"), Vacant::Make, |list: &mut List| {
        (0..20_000).for_each(|_| list.push_back(&[7; 100]));
        ((), Changed::Yes)
    });
    filled.unwrap();
    for kept in [100..200, 0..0] {
        let cut = cache.edit_collection(key(b"l"), Vacant::Leave, |list: &mut List| {
            (list.keep(kept.clone()), Changed::Yes)
        });
        let cut = cut.unwrap().expect("it is there");
        assert_eq!(cut.is_gone, kept.is_empty());
        cache.let_go(cut.result.into_collection());
        // The second time what is left is small.
        assert_eq!(cache.bury(1), !kept.is_empty());
        while cache.bury(8) {}
    }
    assert!(cache.peek(key(b"l")).is_none());
}

// Breaks if FLUSHALL frees a large collection at once, or forgets one that is on its way out.
#[test]
fn what_a_flush_drops_is_freed_in_steps() {
    let mut cache = hash_of_fields(20_000);
    set_field(&mut cache, b"small", b"f", b"v");
    assert_eq!(cache.clear(0), 2);
    assert!(cache.bury(1));
    set_field(&mut cache, b"other", b"f", b"v");
    assert_eq!(cache.clear(0), 1);
    assert!(cache.bury(1), "it is still on its way out");
    while cache.bury(64) {}
    assert_eq!(cache.used_bytes(), Cache::new(SEED).used_bytes());
}
