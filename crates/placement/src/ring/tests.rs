use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const OPTIONS: RingOptions = RingOptions {
    seed: 42,
    points_per_weight: 64,
    load_max_permille: 1050,
};

fn equal_members(count: u64) -> Vec<Member> {
    (0..count).map(|id| Member { id, weight: 1 }).collect()
}

/// How many items each member holds; members that hold none are absent.
fn loads(owners: &[u64]) -> BTreeMap<u64, usize> {
    let mut loads = BTreeMap::new();
    for &owner in owners {
        *loads.entry(owner).or_default() += 1;
    }
    loads
}

/// What homes hold above the bound: the items that any assignment within the bound must displace.
fn forced(ring: &Ring, items: &[u64]) -> usize {
    let homes: Vec<u64> = items.iter().map(|&item| ring.home(item)).collect();
    let loads = loads(&homes);
    let over = |member: &Member| {
        let load = loads.get(&member.id).copied().unwrap_or(0);
        load.saturating_sub(ring.load_max(*member, items.len()))
    };
    ring.members().iter().map(over).sum()
}

/// Some member but not only weight 0, ids spread over all of u64.
fn any_members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::btree_map(any::<u64>(), 0u32..6, 1..24)
        .prop_filter("some weight", |weights| weights.values().any(|&w| w > 0))
        .prop_map(|weights| {
            let member = |(id, weight)| Member { id, weight };
            weights.into_iter().map(member).collect()
        })
}

fn any_items() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        // Ids in a row, as slots and shards are, and ids from anywhere.
        (0u64..3000).prop_map(|count| (0..count).collect()),
        prop::collection::btree_set(any::<u64>(), 0..400)
            .prop_map(|items: BTreeSet<u64>| items.into_iter().collect()),
    ]
}

fn any_options() -> impl Strategy<Value = RingOptions> {
    (any::<u64>(), 1u32..100, 1000u32..1400).prop_map(
        |(seed, points_per_weight, load_max_permille)| RingOptions {
            seed,
            points_per_weight,
            load_max_permille,
        },
    )
}

/// The member at the least distance clockwise from the item: the definition, by a linear scan.
fn naive_home(members: &[Member], options: RingOptions, item: u64) -> u64 {
    let position = hash(options.seed, Purpose::Item, item, 0);
    members
        .iter()
        .flat_map(|member| {
            let points = u64::from(member.weight) * u64::from(options.points_per_weight);
            (0..points).map(|number| {
                let point = hash(options.seed, Purpose::Point, member.id, number);
                (point.wrapping_sub(position), member.id)
            })
        })
        .min()
        .unwrap()
        .1
}

#[test]
fn bad_inputs_are_refused_each_in_its_own_words() {
    // Breaks if a membership from outside could panic a node or ask for unbounded memory.
    let refusal = |members: &[Member], options| Ring::new(members, options).unwrap_err();
    let member = |id, weight| Member { id, weight };
    assert_eq!(refusal(&[], OPTIONS), RingError::NoWeight);
    assert_eq!(refusal(&[member(1, 0)], OPTIONS), RingError::NoWeight);
    assert_eq!(
        refusal(&[member(7, 1), member(3, 1), member(7, 2)], OPTIONS),
        RingError::DuplicateMember(7)
    );
    assert_eq!(
        refusal(&[member(1, u32::MAX), member(2, u32::MAX)], OPTIONS),
        RingError::TooManyPoints(2 * 64 * u64::from(u32::MAX))
    );
    let options = RingOptions {
        points_per_weight: 0,
        ..OPTIONS
    };
    assert_eq!(refusal(&[member(1, 1)], options), RingError::NoPoints);
    let options = RingOptions {
        load_max_permille: 999,
        ..OPTIONS
    };
    assert_eq!(
        refusal(&[member(1, 1)], options),
        RingError::BoundTooLow(999)
    );
}

#[test]
#[should_panic(expected = "an item is assigned once")]
fn an_item_named_twice_is_a_bug() {
    // Breaks if a doubled item silently took a place that a member has for another.
    let ring = Ring::new(&equal_members(3), OPTIONS).unwrap();
    ring.assign(&[5, 6, 5]);
}

#[test]
fn a_member_without_weight_gets_nothing() {
    // Breaks if a node that is being drained would be given shards.
    let mut members = equal_members(4);
    members[2].weight = 0;
    let ring = Ring::new(&members, OPTIONS).unwrap();
    let items: Vec<u64> = (0..1000).collect();
    assert!(!ring.assign(&items).contains(&2));
}

#[test]
fn load_follows_weight() {
    // Breaks if a node of twice the size were given other than about twice the shards.
    let members: Vec<Member> = (1..=4)
        .map(|id| Member {
            id,
            weight: id as u32,
        })
        .collect();
    let ring = Ring::new(&members, OPTIONS).unwrap();
    let items: Vec<u64> = (0..10_000).collect();
    for (id, load) in loads(&ring.assign(&items)) {
        let due = id as f64 * 1000.0;
        let ratio = load as f64 / due;
        assert!(
            (0.8..=1.05).contains(&ratio),
            "{id} holds {ratio} of its due"
        );
    }
}

#[test]
fn growing_a_ring_moves_little_more_than_the_new_members_share() {
    // Breaks if virtual nodes are too few or badly hashed: then the bound would move much on its own.
    let items: Vec<u64> = (0..16384).collect();
    let options = RingOptions {
        points_per_weight: 256,
        ..OPTIONS
    };
    let assign = |count| {
        Ring::new(&equal_members(count), options)
            .unwrap()
            .assign(&items)
    };
    let mut before = assign(1);
    for count in 2..=64 {
        let after = assign(count);
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count() as f64;
        let due = 16384.0 / count as f64;
        let limit = 1.25 * due + 0.02 * 16384.0;
        assert!(
            moved <= limit,
            "member {count} moved {moved}, its due is {due}"
        );
        before = after;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn home_is_the_next_point_clockwise(
        members in any_members(),
        options in any_options(),
        item: u64,
    ) {
        // Breaks if the search over sorted points differs from the definition, as at the wrap-around.
        let ring = Ring::new(&members, options).unwrap();
        prop_assert_eq!(ring.home(item), naive_home(&members, options, item));
    }

    #[test]
    fn no_load_is_over_its_bound(
        members in any_members(),
        items in any_items(),
        options in any_options(),
    ) {
        // Breaks if a member holds over load bound × share, rounded up, or an item goes nowhere.
        let ring = Ring::new(&members, options).unwrap();
        let owners = ring.assign(&items);
        prop_assert_eq!(owners.len(), items.len());
        let loads = loads(&owners);
        let weights: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let factor = f64::from(options.load_max_permille) / 1000.0;
        for (id, load) in loads {
            let member = members.iter().find(|member| member.id == id).unwrap();
            let due = items.len() as f64 * f64::from(member.weight) / weights as f64;
            // The slack is for the rounding of this floating reckoning alone.
            prop_assert!(load as f64 <= (factor * due - 1e-6).ceil(), "{} has {}", id, load);
        }
    }

    #[test]
    fn only_as_many_are_displaced_as_the_bound_forces(
        members in any_members(),
        items in any_items(),
        options in any_options(),
    ) {
        // Breaks if an item that walked takes a place from one that is at home.
        let ring = Ring::new(&members, options).unwrap();
        let owners = ring.assign(&items);
        let away = items.iter().zip(&owners).filter(|&(&item, &owner)| owner != ring.home(item));
        prop_assert_eq!(away.count(), forced(&ring, &items));
    }

    #[test]
    fn order_of_members_and_items_does_not_matter(
        (members, shuffled_members) in any_members()
            .prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
        (items, shuffled_items) in any_items()
            .prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
        options in any_options(),
    ) {
        // Breaks if two nodes that learned of members in another order placed shards differently.
        let one = Ring::new(&members, options).unwrap().assign(&items);
        let other = Ring::new(&shuffled_members, options).unwrap().assign(&shuffled_items);
        let one: BTreeMap<u64, u64> = items.into_iter().zip(one).collect();
        let other: BTreeMap<u64, u64> = shuffled_items.into_iter().zip(other).collect();
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_new_member_moves_its_share_and_what_the_bound_forces(
        members in any_members(),
        new_id: u64,
        new_weight in 1u32..6,
        items in any_items(),
        options in any_options(),
    ) {
        // Breaks if adding or removing a node shuffles shards between the nodes that stay.
        prop_assume!(members.iter().all(|member| member.id != new_id));
        let added = Member { id: new_id, weight: new_weight };
        let grown: Vec<Member> = members.iter().copied().chain([added]).collect();
        let before = Ring::new(&members, options).unwrap();
        let after = Ring::new(&grown, options).unwrap();
        let (owners_before, owners_after) = (before.assign(&items), after.assign(&items));
        let (mut to_new, mut between_old) = (0, 0);
        for (item, (from, to)) in items.iter().zip(owners_before.iter().zip(&owners_after)) {
            if to == &new_id {
                to_new += 1;
            } else if from != to {
                between_old += 1;
                let displaced = *from != before.home(*item) || *to != after.home(*item);
                prop_assert!(displaced, "item {} went from {} to {} unforced", item, from, to);
            }
        }
        prop_assert!(to_new <= after.load_max(added, items.len()));
        prop_assert!(between_old <= forced(&before, &items) + forced(&after, &items));
    }
}
