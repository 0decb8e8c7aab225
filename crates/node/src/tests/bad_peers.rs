//! What a node makes of another that is broken: its word is refused, and everything else goes on.

use super::Lot;
use super::groups::Asker;
use crate::entry::EntryError;
use crate::group::{OpError, OpFlags, OpHead, OpKind, encode_op, origin_of};
use crate::testing::network::{Network, replica};
use crate::vet::Misbehaviour;
use crate::wire::{self, Forward, NodeBeat, PeerMessage, RequestKind};
use bytes::Bytes;
use paxos::{
    Ballot, Entry, Generation, GroupId, Incarnation, Index, Kind, Message, NodeId, ReplicaId,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::rc::Rc;

/// An operation as it is forwarded.
fn op(kind: OpKind, seq: u64, words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = OpHead {
        kind,
        db: 0,
        flags: OpFlags::NONE,
        seq,
        after: 0,
    };
    encode_op(&mut bytes, head, words.iter().copied());
    bytes
}

fn forward(from: ReplicaId, group: u32, ops: Vec<u8>) -> PeerMessage {
    PeerMessage::Forward(Forward {
        group: GroupId(group),
        origin: origin_of(from, 5),
        done_seq: 0,
        ops: ops.into(),
    })
}

fn between(from: ReplicaId, to: ReplicaId, group: u32, kind: Kind) -> PeerMessage {
    PeerMessage::Paxos(Message {
        group: GroupId(group),
        generation: Generation(0),
        from,
        to,
        kind,
    })
}

fn accept(payload: Vec<u8>) -> Kind {
    Kind::Accept {
        ballot: Ballot::default(),
        first: Index(1),
        entries: vec![Entry::Batch {
            log_ms: 1,
            payload: payload.into(),
        }],
        commit: Index(0),
        sent_us: 0,
    }
}

#[test]
fn a_word_that_cannot_be_its_senders_is_refused() {
    // Breaks if a node that is broken writes in another's numbering, or speaks for it in a group.
    let network = Network::of_three();
    let node = network.node(1);
    let refusal = |from: ReplicaId, message| {
        let taken = node.on_peer_message(from, message, node.now());
        taken.expect_err("no sound node says this").to_string()
    };
    let (two, three) = (replica(2), replica(3));
    let former = ReplicaId {
        incarnation: Incarnation(0),
        ..two
    };
    let ask = Kind::CatchUpRequest { from: Index(1) };
    let beat = |group, ballot| {
        PeerMessage::NodeBeat(NodeBeat {
            leads: vec![(GroupId(group), ballot)],
            ..NodeBeat::default()
        })
    };
    let ballot = |replica| Ballot { round: 9, replica };
    let refused = [
        (forward(three, 1, Vec::new()), "in the name of node 3"),
        (forward(former, 1, Vec::new()), "in the name of node 2"),
        (forward(two, 0, Vec::new()), "about group 0"),
        (forward(two, 9, Vec::new()), "about group 9"),
        (forward(two, u32::MAX, Vec::new()), "about group 4294967295"),
        (
            between(three, replica(1), 1, ask.clone()),
            "in the name of node 3",
        ),
        (between(two, three, 1, ask.clone()), "for node 3"),
        (between(two, replica(1), 9, ask), "about group 9"),
        (beat(1, ballot(three)), "in the name of node 3"),
        (beat(9, ballot(two)), "about group 9"),
        (
            PeerMessage::Meta(Bytes::from_static(b"\x01\x09")),
            "that is none",
        ),
        (
            between(two, replica(1), 1, accept(b"x".to_vec())),
            "wrong length",
        ),
        (
            between(two, replica(1), 0, accept(b"x".to_vec())),
            "that is none",
        ),
    ];
    for (message, words) in refused {
        let text = refusal(two, message);
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(
        node.cluster.leader(GroupId(1)),
        network.leader(0).map(NodeId)
    );
}

#[test]
fn an_entry_that_could_not_be_applied_is_not_accepted() {
    // Breaks if a leader of another build makes every replica accept what stops each of them, now and at each restart.
    let payload = |ops: &[u8], count| {
        let mut bytes = vec![0; crate::entry::BATCH_HEAD_BYTES];
        let run = crate::entry::Run {
            origin: replica(2),
            done_seq: 0,
            count,
            ops,
        };
        crate::entry::push_run(&mut bytes, run);
        crate::entry::write_batch_head(&mut bytes, 0, 0);
        bytes
    };
    let check = crate::entry::check;
    let set = op(OpKind::Write, 1, &[b"SET", b"k", b"v"]);
    assert_eq!(check(&payload(&set, 1)), Ok(()));
    let refused = [
        payload(&set, 2),
        payload(&set[..set.len() - 1], 1),
        payload(&op(OpKind::Write, 1, &[b"NOSUCH", b"k"]), 1),
        payload(&op(OpKind::Write, 1, &[b"SET", b"k"]), 1),
        payload(&op(OpKind::Write, 1, &[b"CONFIG", b"GET", b"x"]), 1),
        payload(&op(OpKind::Internal, 1, &[b"x"]), 1),
        payload(&op(OpKind::Check, 1, &[b"k", b"12345678"]), 1),
        payload(
            &op(OpKind::Multi, 1, &[&op(OpKind::Write, 0, &[b"NOSUCH"])]),
            1,
        ),
    ];
    for payload in refused {
        assert_eq!(check(&payload), Err(EntryError::Operations));
    }
}

#[test]
fn a_request_that_the_leader_does_not_know_is_answered_and_the_next_goes_on() {
    // Breaks if one request of a newer build is sent again for ever, and every write of its node behind it waits.
    let mut network = Network::of_three();
    let leader = network.leader(0).expect("settled");
    let other = replica(leader % 3 + 1);
    let answers = Rc::new(RefCell::new(Vec::new()));
    let heard = answers.clone();
    network.lose(move |_, to, message| {
        if let PeerMessage::ForwardReply(reply) = message
            && to == other.node.0
        {
            let items = reply.items.clone().joined();
            heard.borrow_mut().extend(items.iter().map(|item| {
                let text = String::from_utf8_lossy(item.reply).into_owned();
                (item.kind, item.number, text)
            }));
        }
        false
    });
    let node = network.node(leader).clone();
    let mut ops = op(OpKind::Write, 1, &[b"SET", b"k", b"v"]);
    ops.extend(op(OpKind::Write, 2, &[b"FROBNICATE", b"k"]));
    ops.extend(op(OpKind::Evict, 3, &[b"k"]));
    ops.extend(op(OpKind::Read, 1, &[b"SET", b"k", b"x"]));
    ops.extend(op(OpKind::Write, 4, &[b"APPEND", b"k", b"w"]));
    let taken = node.on_peer_message(other, forward(other, 1, ops), node.now());
    assert_eq!(taken, Ok(()));
    network.deliver();
    let mut answers = answers.borrow_mut();
    answers.sort_by_key(|(kind, number, _)| (*kind == RequestKind::Read, *number));
    let texts: Vec<&str> = answers.iter().map(|(.., text)| &text[..4]).collect();
    assert_eq!(texts, ["+OK\r", "-ERR", "-ERR", ":2\r\n", "-ERR"]);

    let mut ops = op(OpKind::Write, 5, &[b"SET", b"k", b"y"]);
    ops.extend([0; 7]);
    let taken = node.on_peer_message(other, forward(other, 1, ops), node.now());
    assert_eq!(taken, Err(Misbehaviour::Request(OpError::Length)));
}

/// Messages that were for one node, some of each kind and sender.
type Heard = Rc<RefCell<BTreeMap<(String, u32), Vec<PeerMessage>>>>;

const HEARD_OF_A_KIND_MAX: usize = 40;

/// Takes down what passes to node `to`.
fn listen(network: &mut Network, to: u32) -> Heard {
    let heard = Heard::default();
    let all = heard.clone();
    network.lose(move |from, receiver, message| {
        if receiver == to {
            let name = match message {
                PeerMessage::Paxos(message) => {
                    let kind = format!("{:?}", message.kind);
                    kind.split([' ', '{']).next().unwrap_or_default().to_owned()
                }
                other => other.name().to_owned(),
            };
            let mut heard = all.borrow_mut();
            let known = heard.entry((name, from)).or_default();
            if known.len() < HEARD_OF_A_KIND_MAX {
                known.push(message.clone());
            }
        }
        false
    });
    heard
}

fn bytes_of(message: &PeerMessage) -> Vec<u8> {
    let mut output = resp::Output::new();
    wire::encode(message, &mut output).expect("short");
    let mut slices = vec![IoSlice::new(&[]); 64];
    let filled = output.io_slices(&mut slices);
    slices[..filled].iter().flat_map(|s| s.to_vec()).collect()
}

/// Changes some bytes, or a whole number, of a message.
fn damage(bytes: &mut Vec<u8>, lot: &mut Lot) {
    for _ in 0..=lot.below(3) {
        // Its length and kind stay, mostly: else it is refused for that.
        let from = if lot.below(50) == 0 { 0 } else { 5 };
        if bytes.len() <= from {
            return;
        }
        let at = from + lot.below((bytes.len() - from) as u64) as usize;
        match lot.below(6) {
            0 | 1 => bytes[at] ^= 1 << lot.below(8),
            2 => bytes[at] = lot.next() as u8,
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][lot.below(5) as usize],
            4 => {
                let number = [0, 1, u64::MAX, 1 << 62, 1 << 32, 1 << 31][lot.below(6) as usize];
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
            _ => {
                bytes.truncate(at);
                let length = (bytes.len().max(5) - 4) as u32;
                bytes.resize(bytes.len().max(5), 0);
                bytes[..4].copy_from_slice(&length.to_le_bytes());
            }
        }
    }
}

/// Whether a node lies about what it alone knows, as opposed to how it says it: its log and votes, and which of its own
/// starts asks.
fn is_lie(message: &PeerMessage, truth: &PeerMessage) -> bool {
    match (message, truth) {
        (PeerMessage::Paxos(message), PeerMessage::Paxos(truth)) => message.kind != truth.kind,
        (PeerMessage::Paxos(_), _) => true,
        (PeerMessage::Forward(message), PeerMessage::Forward(truth)) => {
            message.origin != truth.origin
        }
        _ => false,
    }
}

#[test]
fn damaged_messages_stop_no_node_and_no_group() {
    // Breaks if bytes of a broken node, right by their checksum, make another panic, or leave a group that answers nobody.
    let seed = 20_260_731;
    println!("seed {seed}");
    let mut lot = Lot(seed);
    let (mut taken, mut refused, mut undecodable) = (0, 0, 0);
    for _ in 0..8 {
        let mut network = Network::new(3, 3, |_| {});
        let victim = 1 + lot.below(3) as u32;
        let heard = listen(&mut network, victim);
        network.settle();
        let mut askers: Vec<Asker> = (1..=3).map(|node| Asker::new(&network, node)).collect();
        for n in 0..200 {
            for asker in &mut askers {
                asker.write(&network, n % 8, &format!("SET k{n} {n}"));
                asker.ask(&network, n % 8, OpKind::Read, &format!("GET k{n}"), 0);
            }
            network.tick();
        }
        // An election, and what was missed meanwhile.
        let away = victim % 3 + 1;
        network.cut(away, victim);
        network.run_ms(1000);
        network.stop(away);
        network.run_ms(1000);
        network.heal();
        let mut known: Vec<PeerMessage> = Vec::new();
        for messages in heard.borrow().values() {
            known.extend(messages.iter().cloned());
        }
        let senders: Vec<u32> = (1..=3).filter(|n| *n != victim).collect();
        let node = network.node(victim).clone();
        for round in 0..25_000 {
            let original = &known[lot.below(known.len() as u64) as usize];
            let mut bytes = bytes_of(original);
            damage(&mut bytes, &mut lot);
            let Ok(message) = wire::decode(&mut Bytes::from(bytes)) else {
                undecodable += 1;
                continue;
            };
            let from = replica(senders[lot.below(2) as usize]);
            let verdict = node.vet(from, &message);
            if verdict.is_err() {
                refused += 1;
            } else if !is_lie(&message, original) {
                taken += 1;
                let _ = node.on_peer_message(from, message, node.now());
            }
            if round % 500 == 0 {
                network.tick();
            }
        }
        network.run_ms(12_000);
        for shard in 0..8 {
            let slots: Vec<u32> = askers
                .iter_mut()
                .map(|asker| asker.write(&network, shard, "SET last x"))
                .collect();
            network.run_ms(1500);
            for (asker, slot) in askers.iter().zip(slots) {
                assert_eq!(asker.reply(slot).as_deref(), Some("+OK"), "shard {shard}");
            }
        }
    }
    println!("{taken} taken, {refused} refused, {undecodable} not decoded");
    assert!(taken > 10_000 && refused > 10_000 && undecodable > 10_000);
}
