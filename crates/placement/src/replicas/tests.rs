//! The placement of replicas over random memberships.

use super::placing::loads_max;
use super::*;
use proptest::prelude::*;

/// A host of weight 1 without a zone.
fn host(id: u64) -> Host {
    weighty(id, 1)
}

/// A host without a zone.
fn weighty(id: u64, weight: u32) -> Host {
    Host {
        member: Member { id, weight },
        zone: Zone::NONE,
    }
}

fn zoned(id: u64, zone: u64) -> Host {
    Host {
        zone: Zone(zone),
        ..host(id)
    }
}

fn members(ids: impl IntoIterator<Item = u64>) -> Vec<Host> {
    ids.into_iter().map(host).collect()
}

fn place(hosts: &[Host], shards_count: u32, wanted_count: usize) -> Vec<Vec<u64>> {
    wanted_replicas(hosts, shards_count, wanted_count)
        .unwrap()
        .by_shard
}

/// The placement before leaders, and the ring, for a look at their insides.
fn ring_of(hosts: &[Host]) -> Ring {
    let members: Vec<Member> = hosts.iter().map(|host| host.member).collect();
    let options = RingOptions {
        seed: SEED,
        points_per_weight: POINTS_PER_WEIGHT,
        load_max_permille: 1000,
    };
    Ring::new(&members, options).unwrap()
}

/// The homes of each shard, as ids.
fn homes(hosts: &[Host], shards_count: u32, wanted_count: usize) -> Vec<Vec<u64>> {
    let ring = ring_of(hosts);
    let active = hosts.iter().filter(|host| host.member.weight > 0).count();
    let placing = Placing::new(
        &ring,
        hosts,
        shards_count as usize,
        wanted_count.min(active),
    );
    let mut homes = Vec::new();
    (0..u64::from(shards_count))
        .map(|shard| {
            placing.find_homes(shard, &mut homes);
            let id = |&home: &u32| ring.members()[home as usize].id;
            homes.iter().map(id).collect()
        })
        .collect()
}

/// How many of the holders of each shard are not among its homes, together.
fn displaced(placed: &[Vec<u64>], homes: &[Vec<u64>]) -> usize {
    let pairs = placed.iter().zip(homes);
    let away = |(holders, homes): (&Vec<u64>, &Vec<u64>)| {
        holders.iter().filter(|id| !homes.contains(id)).count()
    };
    pairs.map(away).sum()
}

/// The most replicas of this shard in one zone. Who has no zone is one alone.
fn crowd_max(holders: &[u64], hosts: &[Host]) -> usize {
    let zone = |id: &u64| {
        let host = hosts.iter().find(|host| host.member.id == *id).unwrap();
        (host.zone, if host.zone == Zone::NONE { *id } else { 0 })
    };
    let zones: Vec<_> = holders.iter().map(zone).collect();
    let count = |zone| zones.iter().filter(|other| *other == zone).count();
    zones.iter().map(count).max().unwrap()
}

/// Some hosts in up to `zones_max` zones, or in none (0), some without weight.
fn any_hosts(zones_max: u64) -> impl Strategy<Value = Vec<Host>> {
    prop::collection::btree_map(0u64..500, (0u32..6, 0..=zones_max), 1..20)
        .prop_filter("some weight", |hosts| {
            hosts.values().any(|&(weight, _)| weight > 0)
        })
        .prop_map(|hosts| {
            let host = |(id, (weight, zone))| Host {
                member: Member { id, weight },
                zone: Zone(zone),
            };
            hosts.into_iter().map(host).collect()
        })
}

/// How many shards each member holds, and leads.
fn loads(placed: &[Vec<u64>], id: u64) -> (usize, usize) {
    let holds = placed.iter().filter(|holders| holders.contains(&id));
    let leads = placed.iter().filter(|holders| holders[0] == id);
    (holds.count(), leads.count())
}

/// Replicas that are in `after` and were not in `before`: what has to be copied.
fn copied(before: &[Vec<u64>], after: &[Vec<u64>]) -> usize {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| after.iter().filter(|id| !before.contains(id)).count())
        .sum()
}

#[test]
fn counts_are_odd_and_at_most_what_there_is() {
    // Breaks if two nodes would make groups of two, which stop when either is lost.
    let counts = |wanted: usize| [0, 1, 2, 3, 4, 5, 6].map(|nodes| voters_count(wanted, nodes));
    assert_eq!(counts(3), [0, 1, 1, 3, 3, 3, 3]);
    assert_eq!(counts(5), [0, 1, 1, 3, 3, 5, 5]);
    assert_eq!(counts(4), [0, 1, 1, 3, 3, 3, 3]);
    assert_eq!(counts(1), [0, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn three_members_hold_everything_and_lead_a_third_each() {
    // Breaks if a cluster of three does not spread its work.
    let placed = place(&members([1, 2, 3]), 64, 3);
    let led: Vec<usize> = (1..=3).map(|id| loads(&placed, id).1).collect();
    assert_eq!(led.iter().sum::<usize>(), 64);
    assert!(led.iter().all(|led| (21..=22).contains(led)), "{led:?}");
    assert!(placed.iter().all(|holders| holders.len() == 3));
}

#[test]
fn who_is_drained_holds_nothing() {
    // Breaks if a member of weight 0 gets replicas, or counts as one that could.
    let mut some = members([1, 2, 3, 4]);
    some[1].member.weight = 0;
    let placed = place(&some, 64, 3);
    assert_eq!(loads(&placed, 2), (0, 0));
    assert!(placed.iter().all(|holders| holders.len() == 3));
    some[2].member.weight = 0;
    assert!(place(&some, 64, 3).iter().all(|holders| holders.len() == 2));
}

#[test]
fn a_member_that_outweighs_all_holds_each_shard_once() {
    // Breaks if a heavy member's share above one replica a shard is lost instead of shared by the others.
    let mut some = members([1, 2, 3, 4, 5]);
    some[0].member.weight = 100;
    let placed = place(&some, 64, 3);
    assert_eq!(loads(&placed, 1).0, 64);
    for id in 2..=5 {
        assert!(loads(&placed, id).0 <= 33, "{:?}", loads(&placed, id));
    }
}

#[test]
fn nobody_to_place_on_is_an_error() {
    // Breaks if a cluster whose nodes are all drained would panic.
    assert_eq!(wanted_replicas(&[], 64, 3), Err(RingError::NoWeight));
}

#[test]
fn the_placement_of_five_members_is_fixed_for_good() {
    // Breaks if anything moves the replicas of clusters that exist: hash, ranks, order of placing.
    let placed = place(&members([1, 2, 3, 4, 5]), 8, 3);
    assert_eq!(format!("{placed:?}"), FIVE_MEMBERS);
}

const FIVE_MEMBERS: &str =
    "[[1, 4, 5], [3, 1, 2], [2, 5, 4], [2, 1, 5], [1, 5, 2], [4, 1, 2], [5, 3, 2], [3, 1, 4]]";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn loads_are_bounded_and_leaders_even(
        ids in prop::collection::btree_set(0u64..1000, 1..40),
        shards_count in 1u32..300,
        wanted_count in 1usize..8,
    ) {
        // Breaks if a node gets more than its share, a shard too few replicas, or leaderships cluster on some nodes.
        let some = members(ids.iter().copied());
        let placed = place(&some, shards_count, wanted_count);
        let count = wanted_count.min(some.len());
        let shards = shards_count as usize;
        let bound = (shards * count).div_ceil(some.len()) + 1;
        for holders in &placed {
            let distinct: std::collections::BTreeSet<_> = holders.iter().collect();
            prop_assert_eq!(distinct.len(), count);
        }
        let mean = shards as f64 / some.len() as f64;
        for &id in &ids {
            let (holds, leads) = loads(&placed, id);
            prop_assert!(holds <= bound.min(shards), "{} holds {}, bound {}", id, holds, bound);
            prop_assert!(leads <= shards.div_ceil(some.len()) + 1, "{} leads {}, mean {}", id, leads, mean);
            // With few shards a node, or groups of one or two, not every member holds what it could lead: who holds little, or
            // with others who lead elsewhere already, leads less.
            if count > 2 && shards >= 4 * some.len() {
                let least = (shards / some.len()).saturating_sub(1);
                prop_assert!(leads >= least.min(holds), "{} of {} holds {}, leads {}, mean {}", id, some.len(), holds, leads, mean);
            }
        }
    }

    #[test]
    fn weights_bound_loads(
        weights in prop::collection::vec(0u32..20, 1..12),
        shards_count in 1u32..200,
        wanted_count in 1usize..6,
    ) {
        // Breaks if a share by weight is exceeded by more than one, or the exchange of full members finds nothing.
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let some: Vec<Host> = (0..).zip(&weights).map(|(id, &weight)| weighty(id, weight)).collect();
        let placed = place(&some, shards_count, wanted_count);
        let active = weights.iter().filter(|&&weight| weight > 0).count();
        let count = wanted_count.min(active);
        let ring = ring_of(&some);
        let bounds = loads_max(ring.members(), shards_count as usize, count);
        for member in ring.members() {
            let (holds, leads) = loads(&placed, member.id);
            prop_assert!(holds <= bounds[member.id as usize]);
            prop_assert!(member.weight > 0 || (holds, leads) == (0, 0));
        }
        prop_assert!(placed.iter().all(|holders| holders.len() == count));
    }

    #[test]
    fn the_order_of_members_is_no_matter(mut ids in prop::collection::vec(0u64..1000, 1..12), rotate: usize) {
        // Breaks if two nodes that list the members differently want different placements.
        ids.sort_unstable();
        ids.dedup();
        let before = place(&members(ids.iter().copied()), 64, 3);
        let by = rotate % ids.len();
        ids.rotate_left(by);
        prop_assert_eq!(before, place(&members(ids), 64, 3));
    }

    #[test]
    fn placing_is_what_it_says(
        hosts in any_hosts(0),
        zone_each: bool,
        shards_count in 1u32..200,
        wanted_count in 1usize..7,
    ) {
        // Breaks if the fast way differs from the plain one, or zones that nobody shares change anything.
        let members: Vec<Member> = hosts.iter().map(|host| host.member).collect();
        let mut hosts = hosts;
        if zone_each {
            for host in &mut hosts {
                host.zone = Zone(!host.member.id);
            }
        }
        prop_assert_eq!(
            place(&hosts, shards_count, wanted_count),
            naive::wanted_replicas(&members, shards_count, wanted_count)
        );
    }

    #[test]
    fn zones_change_neither_loads_nor_counts(
        hosts in any_hosts(4),
        shuffle in any::<u64>(),
        shards_count in 1u32..150,
        wanted_count in 1usize..6,
    ) {
        // Breaks if a crowded zone overloads a node, costs a replica, or hangs on the order of members.
        let placed = place(&hosts, shards_count, wanted_count);
        let active = hosts.iter().filter(|host| host.member.weight > 0).count();
        let count = wanted_count.min(active);
        let ring = ring_of(&hosts);
        let bounds = loads_max(ring.members(), shards_count as usize, count);
        for (member, bound) in ring.members().iter().zip(bounds) {
            prop_assert!(loads(&placed, member.id).0 <= bound);
        }
        for holders in &placed {
            let distinct: std::collections::BTreeSet<_> = holders.iter().collect();
            prop_assert_eq!(distinct.len(), count);
        }
        let mut shuffled = hosts.clone();
        shuffled.sort_by_key(|host| host.member.id.wrapping_mul(shuffle | 1));
        prop_assert_eq!(placed, place(&shuffled, shards_count, wanted_count));
    }

    #[test]
    fn zones_are_distinct_where_there_is_room(
        hosts in any_hosts(6),
        shards_count in 1u32..150,
        wanted_count in 1usize..6,
    ) {
        // Breaks if two replicas share a zone that needed not: one power cut would take both.
        let placed = place(&hosts, shards_count, wanted_count);
        let crowds: Vec<usize> = placed.iter().map(|holders| crowd_max(holders, &hosts)).collect();
        if distinct_places(&hosts, shards_count, wanted_count).is_some_and(|places| places.all_fit) {
            prop_assert!(crowds.iter().all(|&crowd| crowd == 1), "{:?}", crowds);
        }
    }

    #[test]
    fn what_comes_to_old_members_was_or_is_displaced(
        hosts in any_hosts(5),
        new_zone in 0u64..6,
        new_weight in 1u32..6,
        shards_count in 1u32..150,
        wanted_count in 1usize..5,
    ) {
        // Breaks if adding or removing a node shuffles replicas between the nodes that stay.
        let new = Host {
            member: Member { id: 1000, weight: new_weight },
            zone: Zone(new_zone),
        };
        let grown: Vec<Host> = hosts.iter().copied().chain([new]).collect();
        let side = |hosts: &[Host]| {
            (place(hosts, shards_count, wanted_count), homes(hosts, shards_count, wanted_count))
        };
        let ((before, homes_before), (after, homes_after)) = (side(&hosts), side(&grown));
        let strayed = displaced(&before, &homes_before) + displaced(&after, &homes_after);
        let active = hosts.iter().filter(|host| host.member.weight > 0).count();
        // Groups that grow with the members get replicas that nobody gave up.
        prop_assume!(wanted_count <= active);
        let to_new = after.iter().filter(|holders| holders.contains(&1000)).count();
        let to_old = copied(&before, &after) - to_new;
        prop_assert!(to_old <= strayed, "{} between old members, {} displaced", to_old, strayed);
        let back = copied(&after, &before);
        prop_assert!(back <= to_new + strayed, "{} moved back, {} displaced", back, strayed);
    }
}

/// What the zones of some hosts have room for.
struct DistinctPlaces {
    /// Every replica of every shard in a zone that holds no other of it.
    all_fit: bool,
    /// So many replicas at most.
    count: usize,
}

/// `None` if nobody shares a zone.
fn distinct_places(
    hosts: &[Host],
    shards_count: u32,
    wanted_count: usize,
) -> Option<DistinctPlaces> {
    let active = hosts.iter().filter(|host| host.member.weight > 0).count();
    let (shards, count) = (shards_count as usize, wanted_count.min(active));
    let ring = ring_of(hosts);
    let mut rooms = std::collections::BTreeMap::new();
    for (member, bound) in ring
        .members()
        .iter()
        .zip(loads_max(ring.members(), shards, count))
    {
        let host = hosts
            .iter()
            .find(|host| host.member.id == member.id)
            .unwrap();
        let alone = if host.zone == Zone::NONE {
            member.id
        } else {
            0
        };
        *rooms.entry((host.zone, alone)).or_insert(0) += bound;
    }
    let places: usize = rooms.values().map(|&room| shards.min(room)).sum();
    (rooms.len() < hosts.len()).then_some(DistinctPlaces {
        all_fit: places >= shards * count,
        count: places.min(shards * count),
    })
}

#[test]
fn a_new_member_moves_little_more_than_its_share() {
    // Breaks if adding or removing a node copies much more than the n-th part of all replicas.
    for (shards_count, mean_permille_max, permille_max) in [(64, 1250, 1700), (1024, 1150, 1300)] {
        for count in [4, 5, 7, 10] {
            let mut ratios = Vec::new();
            for first in 0..40 {
                let ids = (0..count).map(|number| 1 + first * 7919 + number);
                let hosts = members(ids);
                let before = place(&hosts[1..], shards_count, 3);
                let after = place(&hosts, shards_count, 3);
                for moved in [copied(&before, &after), copied(&after, &before)] {
                    ratios.push(moved * 1000 * count as usize / (shards_count as usize * 3));
                }
            }
            let mean = ratios.iter().sum::<usize>() / ratios.len();
            let most = ratios.into_iter().max().unwrap();
            let seen = format!("{shards_count} shards, {count} members: mean {mean}, most {most}");
            assert!(mean <= mean_permille_max && most <= permille_max, "{seen}");
        }
    }
}

#[test]
fn most_shards_lie_apart_where_not_all_can() {
    // Breaks if a zone that is too small for all makes shards share zones beyond what its room forces.
    for (sizes, wanted_count, permille_min) in [
        ([4, 4, 1, 0], 3, 1000),
        ([5, 1, 1, 0], 3, 1000),
        ([6, 2, 2, 0], 3, 1000),
        ([5, 3, 1, 1], 3, 1000),
        // No four of five replicas are in one zone, nor three; whether two and two are is looked at less closely.
        ([7, 2, 2, 1], 5, 900),
    ] {
        for first in 0..20 {
            let zones = (1..).zip(sizes).flat_map(|(zone, size)| vec![zone; size]);
            let hosts: Vec<Host> = (first * 100..)
                .zip(zones)
                .map(|(id, zone)| zoned(id, zone))
                .collect();
            let placed = place(&hosts, 128, wanted_count);
            let zones_of = |holders: &Vec<u64>| {
                let zone = |id: &u64| {
                    let is_it = |host: &&Host| host.member.id == *id;
                    hosts.iter().find(is_it).unwrap().zone
                };
                let zones: std::collections::BTreeSet<_> = holders.iter().map(zone).collect();
                zones.len()
            };
            let apart: usize = placed.iter().map(zones_of).sum();
            let most = distinct_places(&hosts, 128, wanted_count).unwrap();
            let seen = format!("{sizes:?}: {apart} of {} replicas apart", most.count);
            assert!(
                !most.all_fit && apart * 1000 >= most.count * permille_min,
                "{seen}"
            );
        }
    }
}

#[test]
fn placements_are_fixed_for_good() {
    // Breaks if an upgrade of one node after another would move shards: the digests are those of the first release.
    let even = |ids: std::ops::RangeInclusive<u64>| members(ids);
    let some = [
        (3, 1),
        (9, 0),
        (77, 1),
        (1000, 2),
        (12345, 1),
        (u64::MAX, 1),
    ];
    let some: Vec<Host> = some
        .iter()
        .map(|&(id, weight)| weighty(id, weight))
        .collect();
    let rising: Vec<Host> = (1..=7).map(|id| weighty(id, id as u32)).collect();
    for (hosts, shards_count, wanted_count, wanted) in [
        (even(1..=1), 64, 3, 0x8c58_26ba_1270_32ff),
        (even(1..=2), 64, 3, 0x295d_f2c4_c7d0_b037),
        (even(1..=3), 64, 3, 0xd811_68db_2e14_c65e),
        (even(1..=4), 64, 3, 0xcb15_052e_9bb9_2928),
        (even(1..=5), 64, 3, 0x6bf1_85f5_957a_8408),
        (even(1..=10), 64, 3, 0x9d46_4536_4900_44b5),
        (even(1..=10), 64, 5, 0x443a_5808_45a5_60b2),
        (rising, 128, 3, 0x628b_81d6_2df7_9314),
        (some, 256, 5, 0xf32e_b846_a835_961e),
        (even(1..=50), 1024, 3, 0xb3a3_052b_fdf9_a54d),
        (even(1..=6), 7, 1, 0x2391_66d7_e526_199f),
    ] {
        let placed = place(&hosts, shards_count, wanted_count);
        let bytes: Vec<u8> = placed
            .iter()
            .flatten()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        let digest: u64 = xxhash_rust::xxh3::xxh3_64(&bytes);
        assert_eq!(
            digest,
            wanted,
            "{} members, {shards_count} shards",
            hosts.len()
        );
    }
}

#[test]
fn three_zones_hold_each_shard_once() {
    // Breaks if the plainest use of zones, as many as replicas, leaves a shard to one power cut.
    for per_zone in 1..=4 {
        let hosts: Vec<Host> = (0..3 * per_zone).map(|id| zoned(id, 1 + id % 3)).collect();
        for holders in place(&hosts, 64, 3) {
            assert_eq!(crowd_max(&holders, &hosts), 1);
        }
    }
}

#[test]
fn two_zones_hold_two_and_one() {
    // Breaks if three replicas over two zones may all end in one of them.
    let hosts: Vec<Host> = (0..8).map(|id| zoned(id, 1 + id % 2)).collect();
    for holders in place(&hosts, 64, 3) {
        assert_eq!(crowd_max(&holders, &hosts), 2);
    }
}
