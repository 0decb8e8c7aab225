//! Locks with queues over three nodes: who waits where, whom the leader tells, and what becomes of it when messages,
//! leaders, clients and nodes are lost.

use super::groups::compare;
use super::sessions::run;
use crate::client::ClientFlag;
use crate::node::Node;
use crate::testing::Client;
use crate::testing::network::Network;
use crate::wire::PeerMessage;
use std::sync::Arc;

/// A network, a lock, the number of its shard, the node that leads it and the two that do not.
fn setting(change: impl Fn(&mut crate::Settings)) -> (Network, usize, [u32; 3]) {
    let mut network = Network::new(3, 3, change);
    network.settle();
    let shard = network.node(1).shard_of(b"l");
    let leader = network.leader(shard).expect("settled");
    let others: Vec<u32> = (1..=3).filter(|node| *node != leader).collect();
    (network, shard, [leader, others[0], others[1]])
}

/// Sends a request that waits, and lets the shard queue it.
fn wait(network: &mut Network, client: &mut Client<'_>, line: &str) {
    assert_eq!(client.run(line), "");
    network.deliver();
    assert_eq!(client.poll(), "");
}

/// The fence of a reply.
fn fence(reply: &str) -> u64 {
    let digits = reply
        .strip_prefix(':')
        .unwrap_or_else(|| panic!("{reply:?}"));
    digits.parse().expect("a number")
}

/// What the client is told within so much time.
fn within_ms(network: &mut Network, client: &mut Client<'_>, ms: u64) -> String {
    for _ in 0..ms / 10 {
        let text = client.poll();
        if !text.is_empty() {
            return text;
        }
        network.tick();
    }
    client.poll()
}

fn is_idle(nodes: &[Arc<Node>], shard: usize) -> bool {
    let is_idle = |node: &Arc<Node>| {
        let state = node.lock(shard);
        state.blocked.is_idle() && state.cache.locks().is_empty()
    };
    nodes.iter().all(is_idle)
}

#[test]
fn the_next_waiter_hears_one_hop_after_the_release() {
    // Breaks if a waiter had to ask, or if an earlier one on another node were overtaken.
    let (mut network, shard, [a, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let mut clients: Vec<Client> = nodes.iter().map(|node| Client::new(node)).collect();
    let mut holder = Client::new(&nodes[a as usize - 1]);
    let first = fence(&run(
        &mut network,
        &mut holder,
        "LOCK.ACQUIRE l holder 60000",
    ));
    for node in [b, c, a] {
        let line = format!("LOCK.ACQUIRE l n{node} 60000 WAIT 0");
        wait(&mut network, &mut clients[node as usize - 1], &line);
    }
    let mut before = first;
    let mut owner = "holder".to_owned();
    for node in [b, c, a] {
        let line = format!("LOCK.RELEASE l {owner}");
        assert_eq!(holder.run(&line), "");
        // The release is chosen with the first acknowledgement; in the round after it the waiter's node hears.
        let rounds = [network.round(), network.round(), network.round()];
        let told = clients[node as usize - 1].poll();
        assert!(fence(&told) > before, "{rounds:?}");
        before = fence(&told);
        network.deliver();
        assert_eq!(holder.poll(), ":1");
        owner = format!("n{node}");
    }
    network.run_ms(1500);
    assert_eq!(
        run(
            &mut network,
            &mut holder,
            &format!("LOCK.RELEASE l {owner}")
        ),
        ":1"
    );
    network.run_ms(200);
    assert!(is_idle(&nodes, shard));
    compare(&network, shard);
}

#[test]
fn a_lost_word_is_asked_for() {
    // Breaks if a waiter whose answer got lost waited for ever, beside a lock that counts as his.
    let (mut network, shard, [_, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let mut waiter = Client::new(&nodes[b as usize - 1]);
    let mut holder = Client::new(&nodes[c as usize - 1]);
    run(&mut network, &mut holder, "SET l holder NX PX 60000");
    wait(&mut network, &mut waiter, "LOCK.ACQUIRE l w 60000 WAIT 0");
    network
        .lose(|_, _, message| matches!(message, PeerMessage::LockTold(told) if told.sent_us == 0));
    assert_eq!(run(&mut network, &mut holder, "DELIFEQ l holder"), ":1");
    assert_eq!(waiter.poll(), "");
    network.run_ms(500);
    fence(&within_ms(&mut network, &mut waiter, 1500));
    // What was learned late lasts from when it was learned.
    let ttl = run(&mut network, &mut holder, "PTTL l");
    assert!(fence(&ttl) > 59_900, "{ttl}");
    network.run_ms(100);
    compare(&network, shard);
}

#[test]
fn waiters_outlive_the_leader() {
    // Breaks if a queue died with its leader, or a grant that only the dead leader told of were lost.
    let (mut network, shard, [a, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let mut waiters: Vec<Client> = (0..4)
        .map(|n| Client::new(&nodes[[b, c][n % 2] as usize - 1]))
        .collect();
    let mut holder = Client::new(&nodes[b as usize - 1]);
    run(&mut network, &mut holder, "LOCK.ACQUIRE l holder 1500");
    for (n, waiter) in waiters.iter_mut().enumerate() {
        wait(
            &mut network,
            waiter,
            &format!("LOCK.ACQUIRE l w{n} 600 WAIT 0"),
        );
    }
    network.stop(a);
    network.run_ms(3000);
    // The lock and those of the first two have expired since.
    let mut last = 0;
    for waiter in &mut waiters[..2] {
        let told = fence(&waiter.poll());
        assert!(told > last);
        last = told;
    }
    network.heal();
    network.run_ms(2000);
    for waiter in &mut waiters[2..] {
        let told = fence(&waiter.poll());
        assert!(told > last);
        last = told;
    }
    network.run_ms(1000);
    assert!(is_idle(&nodes, shard));
    compare(&network, shard);
}

#[test]
fn a_wait_ends_on_time_and_who_leaves_is_not_granted() {
    // Breaks if a wait on a node that does not lead ended late or twice, or a queue kept clients that are gone.
    let (mut network, shard, [_, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let [mut late, mut gone, mut stays] =
        [b, b, c].map(|node| Client::new(&nodes[node as usize - 1]));
    let mut holder = Client::new(&nodes[c as usize - 1]);
    run(&mut network, &mut holder, "LOCK.ACQUIRE l holder 60000");
    wait(
        &mut network,
        &mut late,
        "LOCK.ACQUIRE l late 60000 WAIT 300",
    );
    wait(&mut network, &mut gone, "LOCK.ACQUIRE l gone 60000 WAIT 0");
    wait(
        &mut network,
        &mut stays,
        "LOCK.ACQUIRE l stays 60000 WAIT 0",
    );
    network.run_ms(250);
    assert_eq!(late.poll(), "");
    assert_eq!(within_ms(&mut network, &mut late, 100), "$-1");
    gone.session.close(&nodes[b as usize - 1]);
    network.run_ms(50);
    let info = run(&mut network, &mut holder, "LOCK.INFO l");
    assert!(info.ends_with("waiting :1 $5 queue *1 $5 stays"), "{info}");
    run(&mut network, &mut holder, "DEL l");
    fence(&stays.poll());
    // Granted while its client was leaving: given back.
    wait(&mut network, &mut late, "LOCK.ACQUIRE l late 60000 WAIT 0");
    holder.run("LOCK.RELEASE l stays");
    late.session.close(&nodes[b as usize - 1]);
    network.run_ms(50);
    assert_eq!(holder.poll(), ":1");
    assert_eq!(run(&mut network, &mut holder, "EXISTS l"), ":0");
    assert!(is_idle(&nodes, shard));
}

#[test]
fn a_grant_at_the_last_moment_is_the_answer() {
    // Breaks if a client whose time was over were told so though the lock is his: nobody would release it.
    let (mut network, _, [_, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let mut waiter = Client::new(&nodes[b as usize - 1]);
    let mut holder = Client::new(&nodes[c as usize - 1]);
    run(&mut network, &mut holder, "LOCK.ACQUIRE l holder 60000");
    wait(&mut network, &mut waiter, "LOCK.ACQUIRE l w 60000 WAIT 200");
    network.lose(|_, _, message| matches!(message, PeerMessage::LockTold(_)));
    run(&mut network, &mut holder, "LOCK.RELEASE l holder");
    fence(&within_ms(&mut network, &mut waiter, 400));
}

#[test]
fn a_session_after_a_long_silence_is_not_ended() {
    // Breaks if a node's first session were judged by what was heard of it when it had its last one.
    let (mut network, _, [_, b, c]) = setting(|settings| settings.lock_delay_ms = 300);
    let nodes = network.nodes.clone();
    let mut holder = Client::new(&nodes[b as usize - 1]);
    let mut other = Client::new(&nodes[c as usize - 1]);
    for _ in 0..2 {
        let line = "LOCK.ACQUIRE l holder 60000 SESSION";
        fence(&run(&mut network, &mut holder, line));
        network.run_ms(2000);
        assert_eq!(run(&mut network, &mut other, "EXISTS l"), ":1");
        assert_eq!(
            run(&mut network, &mut holder, "LOCK.RELEASE l holder"),
            ":1"
        );
        network.run_ms(2000);
    }
}

#[test]
fn sessions_of_a_node_that_is_cut_off_end_after_the_delay() {
    // Breaks if others got a lock before its holder could know, or never.
    let (mut network, shard, [a, b, c]) = setting(|settings| settings.lock_delay_ms = 1000);
    let nodes = network.nodes.clone();
    let mut holder = Client::new(&nodes[b as usize - 1]);
    let [mut waiter, mut other] = [(); 2].map(|()| Client::new(&nodes[c as usize - 1]));
    fence(&run(
        &mut network,
        &mut holder,
        "LOCK.ACQUIRE l holder 600000 SESSION",
    ));
    network.run_ms(5000);
    wait(
        &mut network,
        &mut waiter,
        "LOCK.ACQUIRE l w 600000 WAIT 0 SESSION",
    );
    network.run_ms(3000);
    assert!(!holder.session.client.has(ClientFlag::Killed));
    network.cut(a, b);
    network.cut(b, c);
    let mut killed_ms = None;
    let mut granted_ms = None;
    for ms in (0..4000).step_by(10) {
        network.tick();
        if holder.session.client.has(ClientFlag::Killed) {
            killed_ms = killed_ms.or(Some(ms));
        }
        if granted_ms.is_none() && !waiter.poll().is_empty() {
            granted_ms = Some(ms);
        }
    }
    let (killed_ms, granted_ms) = (killed_ms.expect("it is told"), granted_ms.expect("it ends"));
    assert!((300..=900).contains(&killed_ms), "{killed_ms}");
    assert!(
        (850..=2200).contains(&granted_ms) && killed_ms < granted_ms,
        "{granted_ms}"
    );
    // One that is closed ends after the delay as well, and tells nobody else.
    network.heal();
    network.run_ms(500);
    waiter.session.close(&nodes[c as usize - 1]);
    network.run_ms(50);
    let ttl = fence(&run(&mut network, &mut other, "PTTL l"));
    assert!((800..=1000).contains(&ttl), "{ttl}");
    network.run_ms(1200);
    assert_eq!(run(&mut network, &mut other, "EXISTS l"), ":0");
    holder.session.close(&nodes[b as usize - 1]);
    network.run_ms(300);
    assert!(is_idle(&nodes, shard));
    compare(&network, shard);
}

#[test]
fn a_grant_to_a_node_that_died_ends_with_its_session() {
    // Breaks if a lock that was handed to a client whose node had just died stayed with it for all its time.
    let (mut network, shard, [_, b, c]) = setting(|settings| settings.lock_delay_ms = 1000);
    let nodes = network.nodes.clone();
    let mut dead = Client::new(&nodes[b as usize - 1]);
    let [mut holder, mut next] = [(); 2].map(|()| Client::new(&nodes[c as usize - 1]));
    fence(&run(
        &mut network,
        &mut holder,
        "LOCK.ACQUIRE l holder 600000",
    ));
    wait(
        &mut network,
        &mut dead,
        "LOCK.ACQUIRE l dead 600000 WAIT 0 SESSION",
    );
    wait(&mut network, &mut next, "LOCK.ACQUIRE l next 600000 WAIT 0");
    network.run_ms(500);
    network.stop(b);
    let line = "LOCK.RELEASE l holder";
    assert_eq!(run(&mut network, &mut holder, line), ":1");
    assert_eq!(run(&mut network, &mut holder, "GET l"), "$4 dead");
    network.run_ms(500);
    assert_eq!(next.poll(), "");
    fence(&within_ms(&mut network, &mut next, 2000));
    network.heal();
    network.run_ms(1000);
    compare(&network, shard);
}

#[test]
fn a_session_lock_that_ended_otherwise_is_forgotten() {
    // Breaks if a node kept asking about locks that ended by their time or by others, or closed who had held them.
    let (mut network, shard, [_, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let mut holder = Client::new(&nodes[b as usize - 1]);
    let mut other = Client::new(&nodes[c as usize - 1]);
    for (ttl_ms, end) in [(300, "PING"), (600_000, "DEL l"), (600_000, "SET l mine")] {
        let line = format!("LOCK.ACQUIRE l holder {ttl_ms} SESSION");
        fence(&run(&mut network, &mut holder, &line));
        network.run_ms(200);
        assert!(!nodes[b as usize - 1].lock(shard).blocked.is_idle());
        run(&mut network, &mut other, end);
        network.run_ms(2500);
        assert!(is_idle(&nodes, shard), "{end}");
        run(&mut network, &mut other, "DEL l");
    }
    assert!(!holder.session.client.has(ClientFlag::Killed));
    // One that is held is not, however long it takes.
    fence(&run(
        &mut network,
        &mut holder,
        "LOCK.ACQUIRE l holder 600000 SESSION",
    ));
    network.run_ms(5000);
    assert!(!nodes[b as usize - 1].lock(shard).blocked.is_idle());
    assert_eq!(run(&mut network, &mut other, "GET l"), "$6 holder");
}

#[test]
fn a_grant_to_who_waited_is_an_event_at_its_leader() {
    // Breaks if who listens to keys of a cluster hears of a lock that was free, but not of one that was handed on.
    let (mut network, _, [a, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let at = |node: u32| Client::new(&nodes[node as usize - 1]);
    let [mut listens, mut holder, mut waiter] = [a, b, c].map(at);
    for node in [a, b, c] {
        let line = "CONFIG SET notify-keyspace-events E$gx";
        assert_eq!(run(&mut network, &mut at(node), line), "+OK");
    }
    listens.run("PSUBSCRIBE __keyevent@0__:*");
    run(&mut network, &mut holder, "LOCK.ACQUIRE l holder 60000");
    wait(&mut network, &mut waiter, "LOCK.ACQUIRE l w 60000 WAIT 0");
    network.run_ms(100);
    listens.poll();
    run(&mut network, &mut holder, "LOCK.RELEASE l holder");
    network.run_ms(100);
    fence(&waiter.poll());
    let heard = listens.poll();
    let names = heard.match_indices("@0__:").map(|(at, _)| &heard[at..]);
    let names: Vec<&str> = names
        .filter_map(|rest| rest["@0__:".len()..].split(' ').next())
        .filter(|name| *name != "*")
        .collect();
    assert_eq!(names, ["del", "set", "expire"], "{heard}");
}

#[test]
fn scripts_without_an_end_hold_nothing_up() {
    // Breaks if as long as a script waits nothing else is proposed: neither that a lock expired, nor writes of clients
    // elsewhere, nor their scripts.
    for own in [0, 1] {
        let (mut network, _, [a, b, c]) = setting(|_| {});
        let nodes = network.nodes.clone();
        let at = |node: u32| Client::new(&nodes[node as usize - 1]);
        let (mut holder, mut waiter) = (at(c), at(c));
        let mut writers = [at(a), at(b), at(c)];
        let mut scripted = [at(a), at(b), at(c)];
        run(&mut network, &mut holder, "LOCK.ACQUIRE l holder 100");
        wait(&mut network, &mut waiter, "LOCK.ACQUIRE l w 60000 WAIT 0");
        let mut crowd: Vec<Client> = (0..6).map(|_| at([b, a][own])).collect();
        let incr = "EVAL \"return redis.call('incr', KEYS[1])\" 1 {l}n";
        for client in &mut crowd {
            client.run(incr);
        }
        let clock = network.clock.clone();
        let mut missing = 7;
        for round in 0..2000 {
            network.round();
            for client in &mut crowd {
                if !client.poll().is_empty() {
                    client.run(incr);
                }
            }
            if round == 100 {
                writers.iter_mut().for_each(|one| {
                    one.run("SET {l}w 1");
                });
                scripted.iter_mut().for_each(|one| {
                    one.run(incr);
                });
            }
            if round % 10 == 0 {
                clock.advance_ms(5);
                nodes.iter().for_each(|node| node.tick(node.now()));
            }
            if round > 100 {
                let others = writers.iter_mut().chain(&mut scripted);
                let told = others.chain([&mut waiter]);
                let answered = |one: &mut Client| usize::from(!one.poll().is_empty());
                missing -= told.map(answered).sum::<usize>();
                if missing == 0 {
                    break;
                }
            }
        }
        assert_eq!(missing, 0);
    }
}

#[test]
fn who_is_next_has_an_expired_lock_before_a_script_changes_it() {
    // Breaks if a script that finds the lock of who is next keeps him from being told that it is his.
    let (mut network, shard, [_, b, c]) = setting(|_| {});
    let nodes = network.nodes.clone();
    let mut waiter = Client::new(&nodes[b as usize - 1]);
    let mut holder = Client::new(&nodes[c as usize - 1]);
    run(&mut network, &mut holder, "LOCK.ACQUIRE l holder 105");
    wait(&mut network, &mut waiter, "LOCK.ACQUIRE l w 60000 WAIT 0");
    network.run_ms(100);
    network.clock.clone().advance_ms(5);
    let extend = "EVAL \"return redis.call('pexpire', KEYS[1], 50000)\" 1 l";
    assert_eq!(holder.run(extend), "");
    network.deliver();
    assert_eq!(holder.poll(), ":1");
    let told = fence(&waiter.poll());
    assert_eq!(
        run(&mut network, &mut holder, "LOCK.FENCE l"),
        format!(":{told}")
    );
    let ttl = fence(&run(&mut network, &mut holder, "PTTL l"));
    assert!(ttl > 40_000, "{ttl}");
    network.run_ms(100);
    compare(&network, shard);
}
