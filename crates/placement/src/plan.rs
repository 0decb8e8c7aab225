//! What would move between two placements: the steps that whoever carries a placement out has before it, and what an
//! operator is shown before.

use std::collections::BTreeMap;

use crate::replicas::Replicas;

/// One replica that comes, goes, or does both.
///
/// `from` and `to` are not both absent, and differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which shard, as an index into both placements.
    pub shard: u32,
    /// Who gives its replica up; `None` where the shard gets one more replica than it had.
    pub from: Option<u64>,
    /// Who gets a copy; `None` where the shard gets one less.
    pub to: Option<u64>,
}

/// A shard that is to be led by another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Which shard, as an index into both placements.
    pub shard: u32,
    /// Who leads it.
    pub from: u64,
    /// Who should.
    pub to: u64,
}

/// What turns one placement into another. Ordered by shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Replicas that come and go. The first that a shard gives up is paired with the first that it gets, and so on, so
    /// that no group ever has fewer replicas than it wants.
    pub moves: Vec<Move>,
    /// Shards that change their leader, whether or not the former one keeps its replica.
    pub hand_overs: Vec<HandOver>,
}

impl Plan {
    /// How many replicas must be copied: the moves that have somewhere to go to.
    pub fn copies_count(&self) -> usize {
        self.moves.iter().filter(|step| step.to.is_some()).count()
    }

    /// How many replicas each member gets, and how many it gives up. Members that do neither are absent.
    pub fn by_member(&self) -> BTreeMap<u64, MemberMoves> {
        let mut members: BTreeMap<u64, MemberMoves> = BTreeMap::new();
        for step in &self.moves {
            if let Some(from) = step.from {
                members.entry(from).or_default().given_count += 1;
            }
            if let Some(to) = step.to {
                members.entry(to).or_default().got_count += 1;
            }
        }
        members
    }
}

/// What a [`Plan`] means for one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberMoves {
    /// Replicas that it gets a copy of.
    pub got_count: usize,
    /// Replicas that it gives up.
    pub given_count: usize,
}

/// What has to move for `before` to become `after`. Who holds a shard in both keeps it.
///
/// Cost: O(shards × replicas²).
///
/// # Panics
///
/// When the two do not have the same shards: their number is fixed for the life of a cluster.
pub fn plan(before: &Replicas, after: &Replicas) -> Plan {
    let (before, after) = (&before.by_shard, &after.by_shard);
    assert_eq!(before.len(), after.len(), "both have all shards");
    let mut plan = Plan::default();
    for (shard, (before, after)) in (0..).zip(before.iter().zip(after)) {
        let mut given = before.iter().copied().filter(|id| !after.contains(id));
        let mut got = after.iter().copied().filter(|id| !before.contains(id));
        loop {
            let (from, to) = (given.next(), got.next());
            if from.is_none() && to.is_none() {
                break;
            }
            plan.moves.push(Move { shard, from, to });
        }
        if let (Some(&from), Some(&to)) = (before.first(), after.first())
            && from != to
        {
            plan.hand_overs.push(HandOver { shard, from, to });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replicas(by_shard: &[&[u64]]) -> Replicas {
        Replicas {
            by_shard: by_shard.iter().map(|holders| holders.to_vec()).collect(),
        }
    }

    #[test]
    fn a_plan_names_what_moves_and_nothing_else() {
        // Breaks if what would move is told wrongly: too much copied, a replica lost, a leader forgotten.
        let before = replicas(&[&[1, 2, 3], &[2, 3, 1], &[1], &[1, 2, 3]]);
        let after = replicas(&[&[1, 2, 3], &[3, 4, 5], &[1, 2, 3], &[2]]);
        let plan = plan(&before, &after);
        let step = |shard, from, to| Move { shard, from, to };
        assert_eq!(
            plan.moves,
            [
                step(1, Some(2), Some(4)),
                step(1, Some(1), Some(5)),
                step(2, None, Some(2)),
                step(2, None, Some(3)),
                step(3, Some(1), None),
                step(3, Some(3), None),
            ]
        );
        let hand_over = |shard, from, to| HandOver { shard, from, to };
        assert_eq!(plan.hand_overs, [hand_over(1, 2, 3), hand_over(3, 1, 2)]);
        assert_eq!(plan.copies_count(), 4);
        let of_one = MemberMoves {
            got_count: 0,
            given_count: 2,
        };
        assert_eq!(plan.by_member()[&1], of_one);
        assert_eq!(plan.by_member()[&4].got_count, 1);
    }

    #[test]
    fn nobody_to_lead_is_no_hand_over() {
        // Breaks if a cluster whose nodes are all drained, and that wants nothing, panics here.
        let plan = plan(&replicas(&[&[]]), &replicas(&[&[1]]));
        assert_eq!((plan.moves.len(), plan.hand_overs.len()), (1, 0));
    }

    #[test]
    #[should_panic(expected = "both have all shards")]
    fn placements_of_other_shards_are_a_bug() {
        // Breaks if the shards behind the shorter placement's end were silently passed over.
        plan(&replicas(&[&[1]]), &replicas(&[&[1], &[1]]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn whoever_follows_a_plan_arrives(
            shards in prop::collection::vec(
                (
                    prop::collection::btree_set(0u64..9, 0..6),
                    prop::collection::btree_set(0u64..9, 0..6),
                ),
                0..8,
            ),
        ) {
            // Breaks if the moves of a plan do not lead from one placement to the other.
            let (before, after): (Vec<_>, Vec<_>) = shards.into_iter().unzip();
            let replicas = |sets: &[std::collections::BTreeSet<u64>]| Replicas {
                by_shard: sets.iter().map(|set| set.iter().copied().collect()).collect(),
            };
            let plan = plan(&replicas(&before), &replicas(&after));
            let mut holders = before;
            for step in &plan.moves {
                let holders = &mut holders[step.shard as usize];
                if let Some(to) = step.to {
                    prop_assert!(holders.insert(to));
                }
                if let Some(from) = step.from {
                    prop_assert!(holders.remove(&from));
                }
            }
            prop_assert_eq!(holders, after);
            prop_assert!(plan.moves.windows(2).all(|pair| pair[0].shard <= pair[1].shard));
        }
    }
}
