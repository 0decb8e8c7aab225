//! Clients on each of three nodes see one keyspace, in the order in which they ask.

use crate::session::{Manner, Session, Step};
use crate::settings::ReadMode;
use crate::testing::Client;
use crate::testing::network::Network;

/// Sends lines in one go and lets messages pass until all is answered.
pub(super) fn pipeline(network: &mut Network, client: &mut Client<'_>, lines: &[&str]) -> String {
    let text = client.pipeline(lines);
    finish(network, client, text)
}

/// Lets messages pass until all is answered, of which `text` came already.
pub(super) fn finish(network: &mut Network, client: &mut Client<'_>, mut text: String) -> String {
    for _ in 0..2000 {
        let waits = |step| matches!(step, Step::Replies | Step::Yield | Step::Wait { .. });
        if !waits(client.step) {
            return text;
        }
        network.deliver();
        push(&mut text, &client.poll());
        if waits(client.step) {
            network.tick();
            push(&mut text, &client.poll());
        }
    }
    panic!("no further answer than {text:?}");
}

fn push(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

pub(super) fn run(network: &mut Network, client: &mut Client<'_>, line: &str) -> String {
    pipeline(network, client, &[line])
}

/// One client's command through a node, run to its reply; so many ticks are let pass at most.
pub(super) fn run_at(network: &mut Network, at: u32, line: &str, ticks_max: usize) -> String {
    let node = network.node(at).clone();
    let mut client = Client::new(&node);
    let mut reply = client.run(line);
    for _ in 0..ticks_max {
        if !reply.is_empty() {
            return reply;
        }
        network.tick();
        reply = client.poll();
    }
    panic!("{line} at node {at} is not answered in {ticks_max} ticks");
}

#[test]
fn every_node_shows_one_keyspace() {
    // Breaks if what a client writes through one node is not what another reads through another.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut clients: Vec<Client> = nodes.iter().map(|node| Client::new(node)).collect();
    for n in 0..30 {
        let writer = &mut clients[n % 3];
        assert_eq!(run(&mut network, writer, &format!("SET k{n} v{n}")), "+OK");
        for reader in &mut clients {
            let value = format!("v{n}");
            let found = run(&mut network, reader, &format!("GET k{n}"));
            assert_eq!(found, format!("${} {value}", value.len()));
        }
    }
    for client in &mut clients {
        assert_eq!(run(&mut network, client, "DBSIZE"), ":30");
        let keys = run(&mut network, client, "KEYS *");
        assert!(keys.starts_with("*30 "), "{keys}");
        assert_eq!(run(&mut network, client, "KEYS k7"), "*1 $2 k7");
        assert_eq!(
            run(&mut network, client, "EXISTS k1 k2 k3 nothing k1"),
            ":4"
        );
        let drawn = run(&mut network, client, "RANDOMKEY");
        assert!(drawn.contains(" k"), "{drawn}");
    }
    assert_eq!(run(&mut network, &mut clients[2], "FLUSHALL"), "+OK");
    for client in &mut clients {
        assert_eq!(run(&mut network, client, "DBSIZE"), ":0");
        assert_eq!(run(&mut network, client, "RANDOMKEY"), "$-1");
    }
}

#[test]
fn replies_of_a_pipeline_keep_their_order() {
    // Breaks if an answer from far away came behind one that was there at once, or a pipeline did not see its writes.
    for mode in [ReadMode::Lease, ReadMode::Quorum] {
        replies_keep_their_order(mode);
    }
}

fn replies_keep_their_order(mode: ReadMode) {
    let mut network = Network::new(3, 3, |settings| settings.read_mode = mode);
    network.settle();
    let nodes = network.nodes.clone();
    for node in &nodes {
        let mut client = Client::new(node);
        let lines = [
            "FLUSHALL",
            "PING",
            "SET a 1",
            "GET a",
            "INCR a",
            "GET a",
            "SET a 7",
            "ECHO between",
            "INCR b",
            "INCR a",
            "GET b",
            "NOSUCH",
            "LPUSH",
            "GET a",
            "MSET x 1 y 2 z 3",
            "MGET z a y none x",
            "DEL x y q",
            "MGET x z",
            "INCR a",
            "GETSET a 0",
            "SELECT 1",
            "GET a",
            "SET a other",
            "SELECT 0",
            "GET a",
        ];
        let replies = pipeline(&mut network, &mut client, &lines);
        let expected = "+OK +PONG +OK $1 1 :2 $1 2 +OK $7 between :1 :8 $1 1 \
             -ERR unknown command 'NOSUCH', with args beginning with:  \
             -ERR unknown command 'LPUSH', with args beginning with:  \
             $1 8 +OK *5 $1 3 $1 8 $1 2 $-1 $1 1 :2 *2 $-1 $1 3 :9 $1 9 +OK $-1 +OK +OK $1 0";
        let head = replies.split(" -ERR").next().expect("at least one piece");
        assert_eq!(
            head,
            expected.split(" -ERR").next().expect("at least one piece")
        );
        let tail = |text: &str| text.split("$1 8 +OK *5").last().map(str::to_owned);
        assert_eq!(tail(&replies), tail(expected));
        network.run_ms(10);
        pipeline(&mut network, &mut client, &["FLUSHALL"]);
    }
}

#[test]
fn a_scan_goes_over_the_whole_cluster_with_one_cursor() {
    // Breaks if a SCAN that is begun at one node and ended at another skipped keys of shards that either leads.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut clients: Vec<Client> = nodes.iter().map(|node| Client::new(node)).collect();
    for n in 0..100 {
        run(&mut network, &mut clients[0], &format!("SET key:{n} x"));
    }
    let (mut cursor, mut seen) = (String::from("0"), Vec::new());
    for round in 0.. {
        let reply = run(
            &mut network,
            &mut clients[round % 3],
            &format!("SCAN {cursor} COUNT 7"),
        );
        let words: Vec<&str> = reply.split(' ').collect();
        cursor = words[2].to_string();
        seen.extend(
            words
                .iter()
                .filter(|word| word.starts_with("key:"))
                .map(|w| w.to_string()),
        );
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}

#[test]
fn transactions_run_whole_and_see_what_was_watched() {
    // Breaks if EXEC lost its atomicity, ran over a change, or mixed up its replies.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    for node in &nodes {
        let mut client = Client::new(node);
        let mut other = Client::new(&nodes[1]);
        let lines = [
            "MULTI",
            "SET {t}a 1",
            "PING",
            "INCR {t}a",
            "SELECT 2",
            "GET {t}a",
            "SELECT 0",
            "EXEC",
        ];
        let replies = pipeline(&mut network, &mut client, &lines);
        let queued = "+OK +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED";
        assert_eq!(replies, format!("{queued} *6 +OK +PONG :2 +OK $-1 +OK"));
        assert_eq!(
            pipeline(
                &mut network,
                &mut client,
                &["WATCH {t}a", "MULTI", "INCR {t}a", "EXEC"]
            ),
            "+OK +OK +QUEUED *1 :3"
        );
        assert_eq!(run(&mut network, &mut client, "WATCH {t}a"), "+OK");
        assert_eq!(run(&mut network, &mut other, "SET {t}a 100"), "+OK");
        assert_eq!(
            pipeline(&mut network, &mut client, &["MULTI", "INCR {t}a", "EXEC"]),
            "+OK +QUEUED *-1"
        );
        let apart = pipeline(
            &mut network,
            &mut client,
            &["MULTI", "SET a 1", "SET b 1", "SET c 1", "SET d 1", "EXEC"],
        );
        let queued = "+OK +QUEUED +QUEUED +QUEUED +QUEUED";
        assert_eq!(apart, format!("{queued} *4 +OK +OK +OK +OK"));
        let walk = pipeline(&mut network, &mut client, &["MULTI", "DBSIZE", "EXEC"]);
        assert!(walk.contains("-CROSSSLOT"), "{walk}");
        assert_eq!(run(&mut network, &mut client, "GET {t}a"), "$3 100");
    }
    let mut client = Client::new(&nodes[0]);
    assert_eq!(run(&mut network, &mut client, "RENAME a b"), "+OK");
}

#[test]
fn messages_reach_subscribers_on_every_node() {
    // Breaks if PUBLISH reached only the node that it was sent to, or counted only its own subscribers.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut clients: Vec<Client> = nodes.iter().map(|node| Client::new(node)).collect();
    for client in &mut clients {
        assert!(run(&mut network, client, "SUBSCRIBE news").ends_with(":1"));
    }
    let mut publisher = Client::new(&nodes[0]);
    assert_eq!(
        run(&mut network, &mut publisher, "PUBLISH news hello"),
        ":3"
    );
    for client in &mut clients {
        assert_eq!(client.poll(), "*3 $7 message $4 news $5 hello");
    }
    // A node that says nothing holds the answer up for a second.
    network.stop(3);
    let mut text = publisher.run("PUBLISH news again");
    assert_eq!(text, "");
    network.run_ms(1100);
    push(&mut text, &publisher.poll());
    assert_eq!(text, ":2");
}

#[test]
fn a_write_is_applied_once_though_its_leader_is_lost() {
    // Breaks if a pipeline that loses its leader half way loses an answer, answers twice, or counts twice.
    for seed in 0..4 {
        let mut network = Network::of_three();
        let nodes = network.nodes.clone();
        let shard = nodes[0].shard_of(b"n");
        let leader = network.leader(shard).expect("settled");
        let asked = leader % 3 + 1;
        let mut client = Client::new(&nodes[asked as usize - 1]);
        let lines = ["INCR n"; 8];
        let mut text = client.pipeline(&lines);
        // Some of it goes out, then the leader is gone.
        for _ in 0..seed {
            network.round();
        }
        network.stop(leader);
        for _ in 0..1000 {
            network.tick();
            push(&mut text, &client.poll());
            if client.step == Step::Done {
                break;
            }
        }
        assert_eq!(text, ":1 :2 :3 :4 :5 :6 :7 :8", "seed {seed}");
    }
}

#[test]
fn answers_for_a_client_that_is_gone_are_dropped() {
    // Breaks if a connection that closed in mid-flight could not be forgotten, or its answers went to another.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[0]);
    client.pipeline(&["INCR a", "INCR b", "INCR c", "GET a"]);
    let face = client.session.client.clone();
    drop(client);
    network.deliver();
    network.run_ms(50);
    assert_eq!(face.slots().get(0), None);
    let mut other = Client::new(&nodes[0]);
    assert_eq!(run(&mut network, &mut other, "GET a"), "$1 1");
}

#[test]
fn client_reply_off_hides_what_comes_later() {
    // Breaks if a client that wants no replies got those of other nodes.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    for node in &nodes {
        let mut client = Client::new(node);
        let lines = [
            "CLIENT REPLY OFF",
            "INCR a",
            "SET b 1",
            "GET b",
            "CLIENT REPLY ON",
            "GET b",
        ];
        assert_eq!(pipeline(&mut network, &mut client, &lines), "+OK $1 1");
        let lines = ["CLIENT REPLY SKIP", "SET b 2", "GET b", "GET b"];
        assert_eq!(pipeline(&mut network, &mut client, &lines), "$1 2 $1 2");
        run(&mut network, &mut client, "SET b 1");
    }
}

#[test]
fn without_a_leader_requests_wait_and_are_then_refused() {
    // Breaks if a client waited for ever, or was told at once what a moment later would have gone well.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut client = Client::new(&nodes[0]);
    network.stop(2);
    network.stop(3);
    let mut text = client.pipeline(&["SET a 1", "PING", "SET b 1"]);
    network.run_ms(8000);
    push(&mut text, &client.poll());
    assert_eq!(text, "");
    network.run_ms(3000);
    push(&mut text, &client.poll());
    let refusal = "-CLUSTERDOWN";
    assert!(
        text.starts_with(refusal) && text.contains(" +PONG -CLUSTERDOWN"),
        "{text}"
    );
    network.heal();
    network.settle();
    assert_eq!(run(&mut network, &mut client, "INCR c"), ":1");
}

#[test]
fn a_client_that_tracks_hears_of_changes_made_elsewhere() {
    // Breaks if a cached value were not told to be stale because another node led its shard.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut clients: Vec<Client> = nodes.iter().map(|node| Client::new(node)).collect();
    for client in &mut clients {
        run(&mut network, client, "HELLO 3");
        run(&mut network, client, "CLIENT TRACKING ON");
        // Leaders that have just begun make up for what those before them may not have told.
        network.run_ms(100);
        run(&mut network, client, "MGET a b c d e f");
    }
    let mut writer = Client::new(&nodes[1]);
    for key in ["a", "b", "c", "d", "e", "f"] {
        run(&mut network, &mut writer, &format!("SET {key} 1"));
        network.deliver();
        for client in &mut clients {
            assert_eq!(client.poll(), format!(">2 $10 invalidate *1 $1 {key}"));
        }
    }
    // Whatever a node said that is gone may not have arrived.
    nodes[0].peer_down(paxos::NodeId(3), nodes[0].now());
    assert_eq!(clients[0].poll(), ">2 $10 invalidate _");
}

#[test]
fn what_a_transaction_or_a_script_read_elsewhere_is_tracked_as_asked() {
    // Breaks if CLIENT CACHING inside MULTI comes too late for the reads behind it, or holds for what follows EXEC.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let script = "EVAL \"return redis.call('get',KEYS[1])\" 1 {k}b";
    for node in &nodes {
        let (mut client, mut writer) = (Client::new(node), Client::new(node));
        for (mode, word) in [("OPTIN", "YES"), ("OPTOUT", "NO")] {
            run(&mut network, &mut client, "HELLO 3");
            let on = format!("CLIENT TRACKING ON {mode}");
            run(&mut network, &mut client, &on);
            // Leaders that have just begun make up for what those before them may not have told.
            network.run_ms(100);
            let caching = format!("CLIENT CACHING {word}");
            let lines = ["MULTI", "GET {k}a", &caching, script, "EXEC", "GET {k}c"];
            pipeline(&mut network, &mut client, &lines);
            for key in ["{k}a", "{k}b", "{k}c"] {
                run(&mut network, &mut writer, &format!("SET {key} 1"));
                network.deliver();
                let is_told = (key == "{k}b") == (mode == "OPTIN");
                let told = match is_told {
                    true => format!(">2 $10 invalidate *1 $4 {key}"),
                    false => String::new(),
                };
                assert_eq!(client.poll(), told, "{mode} {key}");
            }
            run(&mut network, &mut client, "CLIENT TRACKING OFF");
        }
    }
}

#[test]
fn wait_tells_how_many_hold_it() {
    // Breaks if WAIT promised more copies of a write than there are, or waited for those that are there.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    for node in &nodes {
        let mut client = Client::new(node);
        for line in ["SET a 1", "SET b 1", "SET c 1"] {
            assert_eq!(run(&mut network, &mut client, line), "+OK");
        }
        assert_eq!(run(&mut network, &mut client, "WAIT 2 1000"), ":2");
        assert_eq!(run(&mut network, &mut client, "WAIT 0 0"), ":2");
    }
    let shard = nodes[0].shard_of(b"a");
    let leader = network.leader(shard).expect("settled");
    let mut client = Client::new(&nodes[leader as usize - 1]);
    network.stop(leader % 3 + 1);
    assert_eq!(run(&mut network, &mut client, "SET a 2"), "+OK");
    assert_eq!(run(&mut network, &mut client, "WAIT 1 0"), ":1");
    let mut text = client.run("WAIT 2 300");
    for _ in 0..40 {
        network.tick();
        push(&mut text, &client.poll());
    }
    assert_eq!(text, ":1");
}

#[test]
fn the_cluster_port_sends_clients_to_the_leader() {
    // Breaks if cluster-aware clients were served where they should be sent on, or sent on where they are right.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let shard = nodes[0].shard_of(b"a");
    let leader = network.leader(shard).expect("settled") as usize;
    let mut there = Client::new(&nodes[leader - 1]);
    let face = there.session.client.clone();
    there.session = Session::new(face, &nodes[leader - 1]).in_manner(Manner::Cluster);
    assert_eq!(run(&mut network, &mut there, "SET a 1"), "+OK");
    let apart = run(&mut network, &mut there, "MGET a b");
    assert!(apart.starts_with("-CROSSSLOT"), "{apart}");
    assert_eq!(run(&mut network, &mut there, "READONLY"), "+OK");
}

#[test]
fn cluster_aware_clients_find_each_key_at_one_node() {
    // Breaks if a client that asks every node for its keys, as of Redis Cluster, got each of them three times.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let mut plain = Client::new(&nodes[0]);
    for number in 0..30 {
        run(&mut network, &mut plain, &format!("SET k:{number} 1"));
    }
    let (mut sum, mut keys) = (0, Vec::new());
    for node in &nodes {
        let mut client = Client::new(node);
        let face = client.session.client.clone();
        client.session = Session::new(face, node).in_manner(Manner::Cluster);
        let size = run(&mut network, &mut client, "DBSIZE");
        sum += size[1..].parse::<usize>().expect("a number");
        let scanned = run(&mut network, &mut client, "SCAN 0 COUNT 1000");
        let listed = run(&mut network, &mut client, "KEYS *");
        for reply in [scanned, listed] {
            keys.extend(
                reply
                    .split(' ')
                    .filter(|word| word.starts_with("k:"))
                    .map(str::to_owned),
            );
        }
    }
    assert_eq!((sum, keys.len()), (30, 60));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 30);
    assert_eq!(run(&mut network, &mut plain, "DBSIZE"), ":30");
}

#[test]
fn wait_tells_how_many_hold_it_and_no_more() {
    // Breaks if WAIT counts a follower that was cut off, or one that holds earlier writes only.
    let mut network = Network::of_three();
    let nodes = network.nodes.clone();
    let leader = network.leader(nodes[0].shard_of(b"k")).expect("settled");
    let cut = leader % 3 + 1;
    let asked = cut % 3 + 1;
    for at in [leader, asked] {
        let mut client = Client::new(&nodes[at as usize - 1]);
        assert_eq!(run(&mut network, &mut client, "SET k v"), "+OK");
        assert_eq!(run(&mut network, &mut client, "WAIT 2 0"), ":2");
        network.cut(cut, leader);
        network.cut(cut, asked);
        assert_eq!(run(&mut network, &mut client, "SET k w"), "+OK");
        assert_eq!(run(&mut network, &mut client, "WAIT 1 300"), ":1");
        let before_us = nodes[0].now().monotonic_us;
        assert_eq!(run(&mut network, &mut client, "WAIT 2 300"), ":1");
        let waited_us = nodes[0].now().monotonic_us - before_us;
        assert!((290_000..350_000).contains(&waited_us), "{waited_us} us");
        network.heal();
        network.run_ms(500);
        assert_eq!(run(&mut network, &mut client, "WAIT 2 300"), ":2");
    }
}
