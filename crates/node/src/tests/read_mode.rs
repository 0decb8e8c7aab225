//! `--read-mode`: what a leader's reads wait for.

use super::keys_in;
use super::sessions::{finish, run};
use crate::settings::ReadMode;
use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::PeerMessage;
use paxos::Kind;
use std::cell::Cell;
use std::rc::Rc;

fn of_three(mode: ReadMode) -> Network {
    let mut network = Network::new(3, 3, |settings| settings.read_mode = mode);
    network.settle();
    network
}

/// The leader of the first shard, one that follows there, and a key of it.
fn cast(network: &Network) -> (u32, u32, String) {
    let leader = network.leader(0).expect("settled");
    let key = keys_in(network.node(leader), 0, "k", 1).remove(0);
    (leader, leader % 3 + 1, key)
}

/// Counts the probes that nodes send from now on, and loses the first `lost` of them.
fn count_probes(network: &mut Network, lost: usize) -> Rc<Cell<usize>> {
    let sent = Rc::new(Cell::new(0));
    let seen = sent.clone();
    network.lose(move |_, _, message| {
        let is_probe = matches!(message, PeerMessage::Paxos(message) if matches!(message.kind, Kind::ReadProbe { .. }));
        seen.set(seen.get() + usize::from(is_probe));
        is_probe && seen.get() <= lost
    });
    sent
}

#[test]
fn a_read_that_outlasts_the_lease_is_asked_again() {
    // Breaks if a node that is slow, and reads much, drops the client in place of an answer.
    let mut network = of_three(ReadMode::Lease);
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[0]);
    let keys: Vec<String> = (0..6000).map(|n| format!("k{n}")).collect();
    assert_eq!(run(&mut network, &mut client, "SET k7 v"), "+OK");
    assert_eq!(run(&mut network, &mut client, "RPUSH {k7}l a b"), ":2");
    // A look or two is within a lease; all of them are not.
    for (line, expected) in [
        (format!("MGET {}", keys.join(" ")), "*6000 $-1"),
        (format!("EXISTS {}", keys.join(" ")), ":1"),
        ("LRANGE {k7}l 0 -1".to_string(), "*2 $1 a $1 b"),
    ] {
        network.clock.slow_down_us(150_000);
        let text = client.pipeline(&[&line]);
        network.clock.slow_down_us(0);
        let text = finish(&mut network, &mut client, text);
        assert!(
            text.starts_with(expected),
            "{line:.20}: {:?}, {text:.80}",
            client.step
        );
        for _ in 0..10 {
            network.tick();
        }
    }
}

#[test]
fn a_leader_that_nobody_hears_answers_by_its_clock_or_not_at_all() {
    // Breaks if a leader whose clock is wrong goes on to answer what a majority has long replaced, though it was told to ask.
    for mode in [ReadMode::Lease, ReadMode::Quorum] {
        let mut network = of_three(mode);
        let (leader, other, key) = cast(&network);
        let nodes = network.nodes.clone();
        let mut here = Client::new(&nodes[leader as usize - 1]);
        let mut there = Client::new(&nodes[other as usize - 1]);
        assert_eq!(run(&mut network, &mut here, &format!("SET {key} 1")), "+OK");
        // What asks another node is on its way already.
        let get = format!("GET {key}");
        let mut far = there.pipeline(&[&get]);
        network.round();
        for peer in (1..=3).filter(|peer| *peer != leader && *peer != other) {
            network.cut(leader, peer);
        }
        network.lose(move |from, to, message| {
            let is_paxos = matches!(message, PeerMessage::Paxos(_));
            is_paxos && (from == leader || to == leader)
        });
        let mut near = here.pipeline(&[&get]);
        network.deliver();
        near.push_str(&here.poll());
        far.push_str(&there.poll());
        assert_eq!(network.leader(0), Some(leader), "its clock says so");
        let expected = match mode {
            ReadMode::Lease => "$1 1",
            ReadMode::Quorum => "",
        };
        assert_eq!(
            (near.as_str(), far.as_str()),
            (expected, expected),
            "{mode:?}"
        );
        network.heal();
        assert_eq!(finish(&mut network, &mut here, near), "$1 1");
        assert_eq!(finish(&mut network, &mut there, far), "$1 1");
    }
}

#[test]
fn all_reads_that_wait_are_one_question() {
    // Breaks if each read costs a message to each follower, or if nobody asks at all.
    let mut network = of_three(ReadMode::Quorum);
    let (leader, other, key) = cast(&network);
    let nodes = network.nodes.clone();
    let mut here = Client::new(&nodes[leader as usize - 1]);
    let mut there = Client::new(&nodes[other as usize - 1]);
    assert_eq!(run(&mut network, &mut here, &format!("SET {key} 1")), "+OK");
    let probes = count_probes(&mut network, 0);
    let get = format!("GET {key}");
    let lines = vec![get.as_str(); 20];
    let expected = vec!["$1 1"; 20].join(" ");
    let near = here.pipeline(&lines);
    assert_eq!(finish(&mut network, &mut here, near), expected);
    // To two followers.
    assert_eq!(probes.get(), 2);
    let far = there.pipeline(&lines);
    assert_eq!(finish(&mut network, &mut there, far), expected);
    assert_eq!(probes.get(), 4);
    // Both at once: what comes while a round is under way is for the next.
    let (near, far) = (here.pipeline(&lines), there.pipeline(&lines));
    assert_eq!(finish(&mut network, &mut here, near), expected);
    assert_eq!(finish(&mut network, &mut there, far), expected);
    assert!((6..=8).contains(&probes.get()), "{} probes", probes.get());
    // A write asks no more than it does anyway.
    let before = probes.get();
    assert_eq!(run(&mut network, &mut here, &format!("INCR {key}")), ":2");
    assert_eq!(probes.get(), before);
}

#[test]
fn a_lost_question_is_asked_again() {
    // Breaks if reads wait for ten seconds because of one lost message.
    let mut network = of_three(ReadMode::Quorum);
    let (leader, _, key) = cast(&network);
    let nodes = network.nodes.clone();
    let mut here = Client::new(&nodes[leader as usize - 1]);
    let probes = count_probes(&mut network, 2);
    let mut text = here.pipeline(&[&format!("GET {key}")]);
    network.deliver();
    text.push_str(&here.poll());
    assert_eq!((text.as_str(), probes.get()), ("", 2));
    network.run_ms(150);
    assert_eq!(here.poll(), "$-1");
}

#[test]
fn the_mode_changes_while_reads_wait() {
    // Breaks if a change strands the reads that wait for what is no longer looked at.
    let mut network = of_three(ReadMode::Quorum);
    let (leader, _, key) = cast(&network);
    let nodes = network.nodes.clone();
    let mut here = Client::new(&nodes[leader as usize - 1]);
    let mut admin = Client::new(&nodes[leader as usize - 1]);
    count_probes(&mut network, usize::MAX);
    let text = here.pipeline(&[&format!("GET {key}")]);
    network.run_ms(300);
    assert_eq!((text.as_str(), here.poll().as_str()), ("", ""));
    assert_eq!(
        run(&mut network, &mut admin, "CONFIG SET read-mode lease"),
        "+OK"
    );
    network.run_ms(50);
    assert_eq!(here.poll(), "$-1");
    assert_eq!(
        run(&mut network, &mut admin, "CONFIG SET read-mode quorum"),
        "+OK"
    );
    network.heal();
    assert_eq!(run(&mut network, &mut here, &format!("GET {key}")), "$-1");
    let mut other = Client::new(&nodes[leader as usize % 3]);
    let told = run(&mut network, &mut other, "CONFIG GET read-mode");
    assert_eq!(told, "*2 $9 read-mode $6 quorum");
}

#[test]
fn a_question_answers_nothing_that_came_after_it() {
    // Breaks if a read is answered by a word that was given before it came: somebody else may have led and written since.
    let mut network = of_three(ReadMode::Quorum);
    let (leader, other, key) = cast(&network);
    let nodes = network.nodes.clone();
    let mut first = Client::new(&nodes[leader as usize - 1]);
    let mut second = Client::new(&nodes[leader as usize - 1]);
    let mut far = Client::new(&nodes[other as usize - 1]);
    assert_eq!(
        run(&mut network, &mut first, &format!("SET {key} 1")),
        "+OK"
    );
    // At first no answer arrives, and no other question than the first ever does.
    let answers_pass = Rc::new(Cell::new(false));
    let (pass, mut asked) = (answers_pass.clone(), None);
    network.lose(move |_, _, message| match message {
        PeerMessage::Paxos(message) => match message.kind {
            Kind::ReadProbe { round, .. } => *asked.get_or_insert(round) != round,
            Kind::ReadProbeReply { .. } => !pass.get(),
            _ => false,
        },
        _ => false,
    });
    let get = format!("GET {key}");
    let early = first.pipeline(&[&get]);
    network.deliver();
    let (late, distant) = (second.pipeline(&[&get]), far.pipeline(&[&get]));
    network.deliver();
    answers_pass.set(true);
    network.run_ms(100);
    assert_eq!((early.as_str(), first.poll().as_str()), ("", "$1 1"));
    assert_eq!((second.poll().as_str(), far.poll().as_str()), ("", ""));
    network.heal();
    assert_eq!(finish(&mut network, &mut second, late), "$1 1");
    assert_eq!(finish(&mut network, &mut far, distant), "$1 1");
}
