//! Transactions over several shards: what each shard says to its part, who waits meanwhile, and what becomes of those that
//! nobody finishes. Schedules at large are the simulator's.

use super::groups::{Asker, compare};
use super::sessions::{pipeline, run};
use crate::group::reservations::{Participant, TxId, participants_bytes};
use crate::group::transact::{ABORT, COMMIT};
use crate::group::{OpFlags, OpHead, OpKind, encode_op, life_of};
use crate::questions;
use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::PeerMessage;
use paxos::GroupId;

/// More than a leader lets a transaction stay unfinished, with what it takes to look into it, ms.
const RESOLVED_MS: u64 = 600;

/// A transaction that a test asks for part by part, at node 2.
struct Part {
    id: TxId,
    age: u64,
    participants: Vec<Participant>,
}

impl Part {
    /// Number `number` of those that node 2 has asked for, in the shards 0 and 1, of which both have its next write as part.
    fn new(network: &Network, number: u64, age: u64) -> Part {
        let node = network.node(2);
        let next = |shard: u32| Participant {
            shard,
            seq: node.lock(shard as usize).queued_seq() + 1,
        };
        let origin = node.cluster.origin;
        Part {
            id: TxId { origin, number },
            age,
            participants: vec![next(0), next(1)],
        }
    }

    /// Asks a shard to reserve for a command; returns the slot of its vote.
    fn reserve(&self, network: &Network, asker: &mut Asker, shard: usize, command: &str) -> u32 {
        let words = command.split(' ').map(str::as_bytes);
        let words: Vec<&[u8]> = words.collect();
        let head = OpHead {
            kind: OpKind::Write,
            db: 0,
            flags: OpFlags::NONE,
            seq: 0,
            after: 0,
        };
        let mut operation = Vec::new();
        encode_op(&mut operation, head, words.iter().copied());
        let participants = participants_bytes(&self.participants);
        let (id, age) = (self.id.bytes(), self.age.to_le_bytes());
        let args: [&[u8]; 4] = [&id, &age, &participants, &operation];
        asker.ask_args(network, shard, OpKind::Reserve, &args, 0).0
    }

    fn finish(&self, network: &Network, asker: &mut Asker, shard: usize, outcome: &[u8]) -> u32 {
        let seq = self.participants[shard].seq.to_le_bytes();
        let args = [questions::FINISH, &self.id.bytes(), &seq, outcome];
        asker.ask_args(network, shard, OpKind::Internal, &args, 0).0
    }
}

#[test]
fn keys_of_a_transaction_wait_until_others_finish_it() {
    // Breaks if somebody reads or writes between the parts of a transaction whose coordinator is gone, or waits for ever.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 2);
    let mut other = Asker::new(&network, 3);
    let part = Part::new(&network, 1, 7);
    let votes = [
        part.reserve(&network, &mut asker, 0, "SET k t"),
        part.reserve(&network, &mut asker, 1, "APPEND m t"),
    ];
    network.deliver();
    for vote in votes {
        assert_eq!(asker.reply(vote).as_deref(), Some("+RESERVED"));
    }
    let appended = other.write(&network, 0, "APPEND k w");
    let behind = other.write(&network, 0, "APPEND k x");
    let free = other.write(&network, 0, "SET free 1");
    let (read, _) = asker.ask(&network, 1, OpKind::Read, "GET m", 0);
    network.deliver();
    assert_eq!(other.reply(free).as_deref(), Some("+OK"));
    assert_eq!((other.reply(appended), asker.reply(read)), (None, None));
    network.run_ms(RESOLVED_MS);
    assert_eq!(asker.reply(read).as_deref(), Some("$1 t"));
    assert_eq!(other.reply(appended).as_deref(), Some(":2"), "after SET");
    assert_eq!(other.reply(behind).as_deref(), Some(":3"), "in its order");
    let late = part.finish(&network, &mut asker, 1, COMMIT);
    network.deliver();
    assert_eq!(asker.reply(late).as_deref(), Some("*1 :1"), "once");
    (0..2).for_each(|shard| compare(&network, shard));
}

#[test]
fn a_part_that_comes_late_finds_the_transaction_aborted() {
    // Breaks if a transaction is given up in one shard and carried out in another.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 2);
    let part = Part::new(&network, 1, 7);
    let vote = part.reserve(&network, &mut asker, 0, "SET k t");
    network.deliver();
    assert_eq!(asker.reply(vote).as_deref(), Some("+RESERVED"));
    let (read, _) = asker.ask(&network, 0, OpKind::Read, "EXISTS k", 0);
    network.run_ms(RESOLVED_MS);
    assert_eq!(asker.reply(read).as_deref(), Some(":0"));
    let vote = part.reserve(&network, &mut asker, 1, "SET m t");
    network.deliver();
    assert_eq!(asker.reply(vote).as_deref(), Some("+ABORTED"));
    let (read, _) = asker.ask(&network, 1, OpKind::Read, "EXISTS m", 0);
    network.deliver();
    assert_eq!(asker.reply(read).as_deref(), Some(":0"));
}

#[test]
fn what_is_prevented_stays_so_while_others_are_forgotten() {
    // Breaks if a node that has not written to a shard before is taken for one whose life is over: its transaction, given up
    // in one shard, would be carried out in the other.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 2);
    Asker::new(&network, 3).write(&network, 1, "SET any 1");
    let part = Part::new(&network, 1, 7);
    part.reserve(&network, &mut asker, 0, "SET k t");
    network.run_ms(RESOLVED_MS);
    let over = life_of(network.node(3).cluster.origin);
    let leader = network.leader(1).expect("settled");
    let node = network.node(leader).clone();
    let mut work = node.work(node.now());
    node.on_shard(1, &mut work, |shard, work| {
        shard.forget_origins(&|life| life == over, work);
    });
    node.finish(work);
    network.run_ms(100);
    let vote = part.reserve(&network, &mut asker, 1, "SET m t");
    network.deliver();
    assert_eq!(asker.reply(vote).as_deref(), Some("+ABORTED"));
}

#[test]
fn long_replies_of_transactions_and_of_what_waited_come_whole() {
    // Breaks if a reply that holds shared memory ends the process that applies it.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[0]);
    let long = "x".repeat(40_000);
    let lines = [
        "MULTI",
        &format!("SET long {long}"),
        "GET long",
        "GET a",
        "GET b",
        "GET c",
        "EXEC",
    ];
    let replies = pipeline(&mut network, &mut client, &lines);
    let end = format!("*5 +OK $40000 {long} $-1 $-1 $-1");
    assert!(replies.ends_with(&end), "{} bytes", replies.len());
    let mut asker = Asker::new(&network, 2);
    let part = Part::new(&network, 1, 7);
    part.reserve(&network, &mut asker, 0, "SET k t");
    network.deliver();
    let set = asker.write(&network, 0, &format!("SET k {long}"));
    let got = asker.write(&network, 0, "GETDEL k");
    network.run_ms(RESOLVED_MS);
    assert_eq!(asker.reply(set).as_deref(), Some("+OK"));
    assert_eq!(asker.reply(got), Some(format!("$40000 {long}")));
}

#[test]
fn msetnx_sets_all_or_none_wherever_they_live() {
    // Breaks if one of the keys is set though another was there.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[1]);
    let all = "MSETNX m1 a m2 b m3 c m4 d m5 e";
    assert_eq!(run(&mut network, &mut client, all), ":1");
    assert_eq!(run(&mut network, &mut client, "DEL m1 m2 m4 m5"), ":4");
    assert_eq!(run(&mut network, &mut client, all), ":0");
    assert_eq!(
        run(&mut network, &mut client, "EXISTS m1 m2 m3 m4 m5"),
        ":1"
    );
    let wrong = run(&mut network, &mut client, "MSETNX m1 a m2");
    assert!(
        wrong.starts_with("-ERR wrong number of arguments"),
        "{wrong}"
    );
}

#[test]
fn who_waits_for_a_transaction_without_an_outcome_is_refused_in_time() {
    // Breaks if one shard without a quorum makes clients of another wait for ever, says that they have no leader, or takes up the
    // room of those that want other keys; or if what was refused is carried out.
    for write in ["APPEND {k} w", "FLUSHALL"] {
        let mut network = Network::of_three();
        let nodes = network.nodes.clone();
        let shard_of = |key: &str| nodes[0].shard_of(key.as_bytes());
        let key_in = |shard: usize| {
            let mut keys = (0..).map(|number| format!("k{number}"));
            keys.find(|key| shard_of(key) == shard).expect("endless")
        };
        // The clients are where neither is led.
        let (held, stuck) = (key_in(0), key_in(1));
        let leaders = [network.leader(0), network.leader(1)].map(|leader| leader.expect("settled"));
        let at = (1..=3).find(|number| !leaders.contains(number));
        let node = &nodes[at.expect("three nodes") as usize - 1];
        network.lose(|_, _, message| match message {
            PeerMessage::Paxos(message) => message.group == GroupId(2),
            _ => false,
        });
        let mut coordinator = Client::new(node);
        let set = [format!("SET {held} t"), format!("SET {stuck} t")];
        coordinator.pipeline(&["MULTI", &set[0], &set[1], "EXEC"]);
        network.run_ms(20);
        let mut writer = Client::new(node);
        let mut reader = Client::new(node);
        let mut others = Client::new(node);
        writer.run(&write.replace("{k}", &held));
        network.run_ms(20);
        reader.run(&format!("GET {held}"));
        let mut answered = [None, None];
        for second in 1..=12 {
            network.run_ms(1000);
            for (client, answered) in [&mut writer, &mut reader].into_iter().zip(&mut answered) {
                let came = client.poll();
                if !came.is_empty() {
                    *answered = Some((second, came));
                }
            }
            if second >= 8 {
                // More than a node has on its way to a leader.
                for number in 0..1000 {
                    let line = format!("SET {{{held}}}{number} v");
                    assert_eq!(run(&mut network, &mut others, &line), "+OK");
                }
            }
        }
        for (answered, latest) in answered.iter().zip([8, 11]) {
            let (second, reply) = answered.as_ref().expect("in 12 s");
            // A flush waits for the shard without a quorum, too.
            let is_flush = write == "FLUSHALL" && latest == 8;
            let text = if is_flush { "-" } else { "-TRYAGAIN A trans" };
            assert!(reply.starts_with(text), "{write}: {reply}");
            assert!(*second <= latest || is_flush, "{write}: after {second} s");
        }
        let shard = nodes[0].lock(0);
        assert_eq!(shard.reservations.refusable().count(), 0, "{write}");
        drop(shard);
        // It has an outcome at last, and nothing that was refused is done.
        network.heal();
        network.run_ms(5000);
        let found = run(&mut network, &mut others, &format!("GET {held}"));
        assert!(found == "$1 t" || found == "$-1", "{write}: {found}");
        let other = format!("GET {{{held}}}7");
        assert_eq!(run(&mut network, &mut others, &other), "$1 v");
        (0..2).for_each(|shard| compare(&network, shard));
    }
}

#[test]
fn what_no_sound_node_asks_for_is_refused() {
    // Breaks if bytes of a broken node end this one, or take keys for ever.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 2);
    let mut part = Part::new(&network, 1, 7);
    part.participants[1].shard = 1 << 20;
    let vote = part.reserve(&network, &mut asker, 0, "SET k t");
    network.run_ms(RESOLVED_MS);
    assert_eq!(asker.reply(vote).as_deref(), Some("+RESERVED"));
    let (read, _) = asker.ask(&network, 0, OpKind::Read, "GET k", 0);
    network.deliver();
    assert_eq!(asker.reply(read).as_deref(), Some("$-1"), "given up");
    let mut part = Part::new(&network, 2, 7);
    part.participants.remove(0);
    let vote = part.reserve(&network, &mut asker, 0, "SET k t");
    network.deliver();
    assert_eq!(
        asker.reply(vote).as_deref(),
        Some("-ERR malformed transaction")
    );
}

#[test]
fn the_older_of_two_transactions_waits_and_the_younger_comes_again() {
    // Breaks if two transactions wait for each other, or the one that waits is forgotten.
    let mut network = Network::of_three();
    let mut asker = Asker::new(&network, 2);
    let holder = Part::new(&network, 1, 5);
    let held = holder.reserve(&network, &mut asker, 0, "SET k a");
    let younger = Part::new(&network, 2, 9);
    let refused = younger.reserve(&network, &mut asker, 0, "SET k b");
    let older = Part::new(&network, 3, 1);
    let waiting = older.reserve(&network, &mut asker, 0, "SET k c");
    let last = Part::new(&network, 4, 0);
    let given_up = last.reserve(&network, &mut asker, 0, "SET k d");
    network.deliver();
    assert_eq!(asker.reply(held).as_deref(), Some("+RESERVED"));
    assert_eq!(asker.reply(refused).as_deref(), Some("+BUSY"));
    assert_eq!(asker.reply(waiting), None);
    last.finish(&network, &mut asker, 0, ABORT);
    network.deliver();
    assert_eq!(asker.reply(given_up).as_deref(), Some("+ABORTED"));
    assert_eq!(asker.reply(waiting), None);
    holder.finish(&network, &mut asker, 0, ABORT);
    network.deliver();
    assert_eq!(asker.reply(waiting).as_deref(), Some("+RESERVED"));
    network.run_ms(100);
    compare(&network, 0);
}

#[test]
fn what_is_finished_is_forgotten_and_what_was_known_survives_a_copy() {
    // Breaks if outcomes pile up, or a replica that takes a snapshot in mid-transaction knows less than the others.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[0]);
    let mut lines: Vec<String> = (0..16).map(|n| format!("INCR key{n}")).collect();
    lines.insert(0, "MULTI".into());
    lines.extend(["MGET key0 key1 nosuch key2".into(), "DEL key3 key4".into()]);
    lines.push("EXEC".into());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let replies = pipeline(&mut network, &mut client, &lines);
    let (_, replies) = replies.split_once("*18 ").expect("an array of all");
    assert!(
        replies.ends_with(":1 :1 *4 $1 1 $1 1 $-1 $1 1 :2"),
        "{replies}"
    );
    network.run_ms(200);
    for node in &nodes {
        for shard in 0..node.shards_count() {
            let known = &node.lock(shard).reservations;
            assert!(known.is_idle() && known.all_committed().next().is_none());
            assert_eq!(known.checksum(), 0);
        }
    }
    assert_eq!(
        run(&mut network, &mut client, "EXISTS key3 key4 key5"),
        ":1"
    );
    let mut asker = Asker::new(&network, 2);
    let part = Part::new(&network, 100, 7);
    part.reserve(&network, &mut asker, 0, "SET k t");
    asker.write(&network, 0, "SET k w");
    network.run_ms(100);
    let guard = nodes[0].lock(0);
    let mut bytes = Vec::new();
    guard.reservations.encode(&mut bytes);
    let copy = crate::group::decoded_reservations(&bytes).expect("its own bytes");
    assert_eq!(copy.checksum(), guard.reservations.checksum());
    assert!(copy.has(0, b"k") && !copy.has(0, b"j"));
    for length in 0..bytes.len() {
        assert!(crate::group::decoded_reservations(&bytes[..length]).is_none());
    }
}
