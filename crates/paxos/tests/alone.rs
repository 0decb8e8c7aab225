//! A sole voter: nobody's message moves it on.

use paxos::{
    Config, Generation, GroupId, Incarnation, Input, NodeId, Output, Replica, ReplicaId, Settings,
    Start,
};

fn id(node: u32) -> ReplicaId {
    ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(1),
    }
}

#[test]
fn a_sole_voter_goes_on_once_its_last_learner_is_gone() {
    // Fails when the new configuration needs one more step to be ready: without followers no tick is due, so none comes.
    let config = Config {
        number: 1,
        voters: vec![id(1)],
        learners: Vec::new(),
    };
    let start = Start::Founder(config);
    let (group, generation) = (GroupId(1), Generation(1));
    let settings = Settings::default();
    let mut replica = Replica::new(settings, group, generation, id(1), start, 1, 0);
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
