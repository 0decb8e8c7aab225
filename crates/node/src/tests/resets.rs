//! Shards that lose the memory of a majority: with `--on-quorum-loss reset` they go on with what is left.

use super::sessions::run_at;
use crate::meta::MetaCommand;
use crate::settings::OnQuorumLoss;
use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::PeerMessage;
use paxos::NodeId;

/// Five nodes that formed a cluster one by one.
fn five() -> Network {
    let mut network = Network::new(1, 1, |_| {});
    network.run_ms(50);
    for at in 1..=4 {
        network.join(at);
    }
    network.run_ms(12_000);
    let reply = run(&mut network, 1, "CONFIG SET on-quorum-loss reset");
    assert_eq!(reply, "+OK");
    // The others hear of it.
    network.run_ms(500);
    network
}

fn run(network: &mut Network, at: u32, line: &str) -> String {
    run_at(network, at, line, 3000)
}

/// A shard that is held by none but one of the meta group's voters beside two others, these two, and that one. All others keep
/// their memory.
fn victims(network: &Network) -> (usize, [u32; 2], u32) {
    let voters = network
        .node(1)
        .with_meta(|group| group.replica().config().clone());
    let is_meta = |node: &u32| voters.voters.iter().any(|id| id.node.0 == *node);
    for shard in 0..8 {
        // The first founded the cluster, and cannot come back by joining under its name.
        let wanted: Vec<u32> = network.node(1).view().wanted[shard]
            .iter()
            .map(|id| id.0)
            .collect();
        for keeps in (0..3).filter(|_| !wanted.contains(&1)) {
            let others: Vec<u32> = wanted
                .iter()
                .copied()
                .filter(|node| *node != wanted[keeps])
                .collect();
            if others.iter().filter(|node| is_meta(node)).count() < 2 {
                return (shard, [others[0], others[1]], wanted[keeps]);
            }
        }
    }
    panic!("five nodes and eight shards have such a one");
}

/// A key of a shard.
fn key_in(network: &Network, shard: usize, prefix: &str) -> String {
    let node = network.node(1);
    (0..)
        .map(|n| format!("{prefix}{n}"))
        .find(|key| node.shard_of(key.as_bytes()) == shard)
        .expect("some key is")
}

fn generation(network: &Network, at: u32, shard: usize) -> u32 {
    network.node(at).lock(shard).generation().0
}

/// Lets time pass until a shard is in a generation everywhere, and led.
fn await_generation(network: &mut Network, shard: usize, wanted: u32) {
    for _ in 0..3000 {
        network.tick();
        let count = network.nodes.len() as u32;
        let all = (1..=count).all(|at| generation(network, at, shard) == wanted);
        if all && network.leader(shard).is_some() {
            return;
        }
    }
    panic!("shard {shard} has not come to generation {wanted} in 30 s");
}

/// All shards that lost something are whole again: three voters, one state.
fn is_level(network: &mut Network) {
    network.run_ms(15_000);
    for shard in 0..8 {
        let leader = network.leader(shard).expect("it is led");
        let config = network.config(leader, shard);
        assert_eq!(config.voters.len(), 3, "shard {shard}: {config:?}");
        let copies: Vec<_> = config
            .voters
            .iter()
            .map(|id| {
                let guard = network.node(id.node.0).lock(shard);
                assert_eq!(guard.group.me, *id);
                (
                    guard.applied,
                    guard.cache.checksum(),
                    guard.origins.checksum(),
                    guard.generation(),
                )
            })
            .collect();
        assert!(
            copies.windows(2).all(|pair| pair[0] == pair[1]),
            "shard {shard}: {copies:?}"
        );
    }
}

#[test]
fn what_the_survivor_has_goes_on() {
    // Breaks if two of five nodes that come back empty leave shards that nobody can use for ever, if a shard that they held
    // with a third begins without what that has, or if a shard that lost nothing begins anew.
    let mut network = five();
    let (shard, lost, keeps) = victims(&network);
    let key = key_in(&network, shard, "k");
    assert_eq!(run(&mut network, keeps, &format!("SET {key} here")), "+OK");
    assert_eq!(
        run(&mut network, lost[0], &format!("INCR n{{{key}}}")),
        ":1"
    );
    network.run_ms(500);
    network.lose_memory(&lost, keeps);
    await_generation(&mut network, shard, 1);
    assert_eq!(run(&mut network, keeps, &format!("GET {key}")), "$4 here");
    let other = (1..=5).find(|n| !lost.contains(n) && *n != keeps).unwrap();
    for at in [keeps, lost[0], lost[1], other, other, lost[0]] {
        let reply = run(&mut network, at, &format!("INCR n{{{key}}}"));
        assert!(reply.starts_with(':'), "{reply}");
    }
    assert_eq!(run(&mut network, keeps, &format!("GET n{{{key}}}")), "$1 7");
    is_level(&mut network);
    let held_by_one_of_them = (0..8).find(|&shard| {
        let wanted = &network.node(1).view().wanted[shard];
        !lost.iter().all(|n| wanted.contains(&NodeId(*n)))
    });
    if let Some(shard) = held_by_one_of_them {
        assert_eq!(
            generation(&network, 1, shard),
            0,
            "shard {shard} lost no majority"
        );
    }
    let status = network.node(keeps).status(network.node(keeps).now());
    assert!(status.shards_lost == 0 && status.shards_without_leader == 0);
    assert!(status.shards_reset > 0);
}

#[test]
fn with_wait_nothing_is_done() {
    // Breaks if an operator who wants to decide himself finds it decided.
    let mut network = five();
    let (shard, lost, keeps) = victims(&network);
    assert_eq!(
        run(&mut network, keeps, "CONFIG SET on-quorum-loss wait"),
        "+OK"
    );
    network.lose_memory(&lost, keeps);
    network.run_ms(20_000);
    assert_eq!(network.leader(shard), None);
    assert_eq!(generation(&network, keeps, shard), 0);
    assert_eq!(
        network.node(1).settings.load().on_quorum_loss,
        OnQuorumLoss::Wait
    );
    assert_eq!(
        run(&mut network, keeps, "CONFIG SET on-quorum-loss reset"),
        "+OK"
    );
    await_generation(&mut network, shard, 1);
}

#[test]
fn a_shard_of_which_nothing_is_left_begins_empty() {
    // Breaks if the loss of all of a shard's replicas, of which nobody is left who could tell, is not noticed.
    let mut network = five();
    let (shard, lost, keeps) = victims(&network);
    let key = key_in(&network, shard, "k");
    assert_eq!(run(&mut network, 1, &format!("SET {key} here")), "+OK");
    network.lose_memory(&lost, keeps);
    await_generation(&mut network, shard, 1);
    // The only one that has the generation goes too, before the others are fed.
    let other = (1..=5).find(|n| !lost.contains(n) && *n != keeps).unwrap();
    assert_eq!(network.leader(shard), Some(keeps));
    let config = network
        .node(keeps)
        .lock(shard)
        .group
        .replica
        .config()
        .clone();
    assert_eq!(config.voters.len(), 1);
    network.lose_memory(&[keeps], other);
    await_generation(&mut network, shard, 2);
    assert_eq!(run(&mut network, other, &format!("GET {key}")), "$-1");
    is_level(&mut network);
}

#[test]
fn nothing_begins_anew_while_somebody_is_silent() {
    // Breaks if a node that may know of a later configuration, with a leader, is not waited for.
    let mut network = five();
    let (shard, lost, keeps) = victims(&network);
    let silent = (1..=5)
        .find(|n| !lost.contains(n) && *n != keeps && *n != 1)
        .unwrap();
    for other in (1..=5).filter(|n| *n != silent) {
        network.cut(silent, other);
    }
    network.lose_memory(&lost, keeps);
    network.run_ms(25_000);
    for at in (1..=5).filter(|n| *n != silent) {
        assert_eq!(generation(&network, at, shard), 0);
    }
    network.heal();
    await_generation(&mut network, shard, 1);
    is_level(&mut network);
}

#[test]
fn an_inquiry_ends_if_the_shard_is_led() {
    // Breaks if a shard that has a leader stands still for good, or is begun anew, because somebody thought it had none.
    let mut network = five();
    let seal = MetaCommand::Seal {
        shards: vec![(2, 0), (3, 0)],
    };
    network.node(1).change_cluster(seal, Box::new(drop));
    network.run_ms(5000);
    for shard in [2, 3] {
        assert_eq!(generation(&network, 1, shard), 0);
        assert!(network.leader(shard).is_some());
        for at in 1..=5 {
            assert!(!network.node(at).lock(shard).is_sealed());
        }
    }
}

#[test]
fn locks_are_refused_until_lost_grants_are_over() {
    // Breaks if a lock is granted twice because the shard forgot who has it, or if its fences fall back.
    let mut network = five();
    let (shard, lost, keeps) = victims(&network);
    let (held, free) = (
        key_in(&network, shard, "held"),
        key_in(&network, shard, "free"),
    );
    assert_eq!(
        run(&mut network, keeps, &format!("SET {held} me NX PX 50000")),
        "+OK"
    );
    let fence = |reply: String| reply.strip_prefix(':').unwrap().parse::<u64>().unwrap();
    let before = fence(run(&mut network, keeps, &format!("LOCK.FENCE {held}")));
    network.run_ms(200);
    network.lose_memory(&lost, keeps);
    await_generation(&mut network, shard, 1);
    for line in [
        format!("SET {free} me NX PX 1000"),
        format!("LOCK.ACQUIRE {free} me 1000"),
        format!("EVAL \"return redis.call('set',KEYS[1],'me','NX','PX','1000')\" 1 {free}"),
    ] {
        let reply = run(&mut network, keeps, &line);
        assert!(reply.contains("LOCKWAIT"), "{line}: {reply}");
    }
    assert_eq!(
        run(&mut network, lost[0], &format!("SET {free} v NX")),
        "+OK",
        "no lock"
    );
    assert_eq!(run(&mut network, keeps, &format!("DEL {free}")), ":1");
    assert_eq!(
        run(&mut network, keeps, &format!("LOCK.FENCE {held}")),
        format!(":{before}")
    );
    assert_eq!(
        run(&mut network, keeps, &format!("LOCK.RELEASE {held} me")),
        ":1"
    );
    network.run_ms(70_000);
    let after = fence(run(
        &mut network,
        keeps,
        &format!("LOCK.ACQUIRE {held} you 1000"),
    ));
    assert!(after > before, "{after} after {before}");
    is_level(&mut network);
}

#[test]
fn a_long_lock_is_answered_once_all_know_how_long_it_lasts() {
    // Breaks if a lock could outlast what a shard that loses its memory waits for.
    let mut network = five();
    let key = key_in(&network, 3, "long");
    let reply = run(&mut network, 2, &format!("SET {key} me NX PX 3600000"));
    assert_eq!(reply, "+OK");
    assert!(network.node(2).view().lock_span_ms(3) >= 3_600_000);
    let key = key_in(&network, 4, "long");
    network.lose(|_, _, message| matches!(message, PeerMessage::Meta(_)));
    let led = network.leader(4).unwrap();
    let meta = network
        .node(1)
        .with_meta(|group| group.replica().leader().unwrap().node.0);
    if led != meta {
        let node = network.node(led).clone();
        let mut client = Client::new(&node);
        assert_eq!(client.run(&format!("SET {key} me NX PX 3600000")), "");
        network.run_ms(2000);
        assert_eq!(client.poll(), "", "nobody else knows");
        network.heal();
        network.run_ms(3000);
        assert_eq!(client.poll(), "+OK");
    }
}
