//! A sole voter: nobody's message moves it on.

use bytes::Bytes;
use paxos::{
    Config, Generation, GroupId, Incarnation, Index, Input, NodeId, Output, Record, Replica,
    ReplicaId, Settings, Start,
};

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

fn sole_voter(settings: Settings) -> Replica {
    let config = Config {
        number: 1,
        voters: vec![id(1)],
        learners: Vec::new(),
    };
    let (group, generation) = (GroupId(1), Generation(1));
    let start = Start::Founder(config);
    Replica::new(settings, group, generation, id(1), start, 1, 0)
}

#[test]
fn a_sole_voter_goes_on_once_its_last_learner_is_gone() {
    // Fails when the new configuration needs one more step to be ready: without followers no tick is due, so none comes.
    let mut replica = sole_voter(Settings::default());
    let mut out = Output::default();
    replica.step(1_000_000, Input::Tick, &mut out);
    assert!(replica.can_propose());
    for learners in [vec![id(2)], vec![]] {
        let change = Input::Reconfigure {
            voters: vec![id(1)],
            learners: learners.clone(),
        };
        replica.step(2_000_000, change, &mut out);
        assert_eq!(out.refused.take(), None);
        assert_eq!(replica.config().learners, learners);
        assert!(replica.can_propose(), "{learners:?}");
    }
}

#[test]
fn a_sole_voter_records_what_is_chosen() {
    // Fails when a log on disk never says how far it is chosen, because that comes with the disk's answer, when there is nothing to
    // record: no checkpoint would ever cover anything, and the log grows for ever.
    let mut replica = sole_voter(Settings {
        durable: true,
        ..Settings::default()
    });
    let mut out = Output::default();
    replica.step(1_000_000, Input::Tick, &mut out);
    replica.step(1_000_001, Input::Persisted(out.token), &mut out);
    assert!(replica.can_propose());
    for n in 1..=3 {
        let payload = Bytes::from_static(b"x");
        replica.step(
            2_000_000 + n,
            Input::Propose { log_ms: n, payload },
            &mut out,
        );
        replica.step(2_000_000 + n, Input::Persisted(out.token), &mut out);
    }
    let chosen = replica.chosen();
    let recorded = out.persist.iter().filter_map(|record| match record {
        Record::Chosen(index) => Some(*index),
        _ => None,
    });
    assert_eq!(recorded.max(), Some(Index(chosen.0 - 1)));
}
