//! Stories of a group as scripts, `testdata/*.txt`: commands (`> …`) and what came of them.
//!
//! A script that goes another way than its file says fails; `UPDATE=1` writes the files anew. The commands are the arms
//! of [`command`].

mod world;

use bytes::Bytes;
use paxos::{
    Ballot, Config, Entry, Generation, GroupId, Index, Input, Kind, Message, NodeId, ReplicaId,
};
use std::fmt::Write as _;
use world::text::{ballot_text, config_text, name};
use world::{Show, World, id};

/// `2` or `2/3`.
fn parse_id(text: &str) -> ReplicaId {
    let (node, life) = text.split_once('/').unwrap_or((text, "1"));
    id(node.parse().unwrap(), life.parse().unwrap())
}

fn parse_ids(text: &str) -> Vec<ReplicaId> {
    text.split(',')
        .filter(|t| !t.is_empty())
        .map(parse_id)
        .collect()
}

fn node(text: &str) -> u32 {
    text.parse().unwrap()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

fn parse_ballot(text: &str) -> Ballot {
    let (round, replica) = text.split_once('.').unwrap();
    Ballot {
        round: number(round),
        replica: parse_id(replica),
    }
}

/// `1>2`, or `1-2` for both ways.
fn links(text: &str) -> Vec<(u32, u32)> {
    if let Some((from, to)) = text.split_once('>') {
        return vec![(node(from), node(to))];
    }
    let (one, other) = text.split_once('-').unwrap();
    vec![(node(one), node(other)), (node(other), node(one))]
}

fn setting(world: &mut World, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, "1"));
    let value = number(value);
    let settings = &mut world.settings;
    match key {
        "durable" => settings.durable = true,
        "window" => settings.window_entries_max = value as usize,
        "fill" => settings.fill_entries = value,
        "message" => settings.message_bytes_max = value as usize,
        "retained" => settings.retained_bytes_max = value as usize,
        "chunks" => settings.snapshot_window_chunks = value,
        _ => panic!("no setting {key}"),
    }
}

/// `accept 1.3 2=x 3=y commit 0` and the like, as if sent from one to another.
fn inject(world: &mut World, words: &[&str]) {
    let (from, to) = words[0].split_once('>').unwrap();
    let generation = match words[1] {
        "foreign" => Generation(2),
        _ => Generation(1),
    };
    let words = if words[1] == "foreign" {
        &words[2..]
    } else {
        &words[1..]
    };
    let ballot = || parse_ballot(words[1]);
    let after = |key: &str| {
        let at = words.iter().position(|word| *word == key);
        at.map_or(0, |at| number(words[at + 1]))
    };
    let entries: Vec<(Index, Entry)> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(index, text)| {
            let payload = Bytes::copy_from_slice(text.as_bytes());
            (Index(number(index)), Entry::Batch { log_ms: 0, payload })
        })
        .collect();
    let first = entries.first().map_or(Index(1), |(index, _)| *index);
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    let kind = match words[0] {
        "accept" => Kind::Accept {
            ballot: ballot(),
            first,
            entries,
            commit: Index(after("commit")),
            sent_us: world.now_us,
        },
        "beat" => Kind::Beat {
            ballot: ballot(),
            commit: Index(after("commit")),
            sent_us: world.now_us,
            log_ms: 0,
        },
        "accepted" => Kind::Accepted {
            ballot: ballot(),
            upto: Index(after("upto")),
            sent_us: world.now_us,
        },
        "prepare" => Kind::Prepare {
            ballot: ballot(),
            from: Index(after("from").max(1)),
            released: None,
        },
        "catch-up" => Kind::CatchUp {
            first,
            entries,
            chosen: Index(after("chosen")),
        },
        "catch-up?" => Kind::CatchUpRequest {
            from: Index(after("from")),
        },
        "probe-reply" => Kind::ReadProbeReply {
            ballot: ballot(),
            round: after("round"),
        },
        "left" => Kind::Left {
            config: Config {
                number: number(words[1]),
                voters: parse_ids(words[2]),
                learners: Vec::new(),
            },
            index: Index(after("at")),
            chosen: Index(after("chosen")),
        },
        "nack" => Kind::Nack {
            ballot: ballot(),
            promised: parse_ballot(words[2]),
        },
        other => panic!("cannot inject {other}"),
    };
    world.inject(Message {
        group: GroupId(1),
        generation,
        from: parse_id(from),
        to: parse_id(to),
        kind,
    });
}

/// A line about every replica.
fn tell_state(world: &mut World) {
    let mut lines = Vec::new();
    for member in world.members.values() {
        let Some(replica) = &member.replica else {
            lines.push(format!("{} is down", name(member.id)));
            continue;
        };
        let role = match (replica.is_leader(), replica.leader()) {
            (true, _) => "leads".to_string(),
            (false, Some(leader)) => format!("follows {}", name(leader)),
            (false, None) => "knows no leader".to_string(),
        };
        let lease = match replica.lease_until() {
            0 => "no lease".to_string(),
            u64::MAX => "lease for ever".to_string(),
            until if until <= world.now_us => "lease over".to_string(),
            until => format!("lease for {} ms", (until - world.now_us) / 1000),
        };
        let more = if replica.is_leader() {
            format!(", {lease}")
        } else if replica.is_hollow() {
            ", hollow".to_string()
        } else {
            String::new()
        };
        lines.push(format!(
            "{} {role}, promised {}, chosen {}, trimmed {}, {}{more}",
            name(member.id),
            ballot_text(replica.ballot()),
            replica.chosen().0,
            replica.trimmed().0,
            config_text(replica.config()),
        ));
    }
    world.lines.append(&mut lines);
}

fn command(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[0] {
        "set" => words[1..].iter().for_each(|word| setting(world, word)),
        "group" => {
            let nodes: Vec<u32> = words[1..].iter().map(|word| node(word)).collect();
            world.found(&nodes);
        }
        "join" => world.join(parse_id(words[1])),
        "run" => world.run(number(words[1])),
        "show" => {
            world.show = match words[1] {
                "nothing" => Show::Nothing,
                "main" => Show::Main,
                _ => Show::All,
            }
        }
        "campaign" => world.step(node(words[1]), Input::Campaign),
        "propose" => {
            for text in &words[2..] {
                let payload = Bytes::copy_from_slice(text.as_bytes());
                let log_ms = world.now_us / 1000;
                world.step(node(words[1]), Input::Propose { log_ms, payload });
            }
        }
        "read" => world.step(node(words[1]), Input::Read(number(words[2]))),
        "transfer" => {
            let target = parse_id(words[2]);
            world.step(node(words[1]), Input::TransferTo(target));
        }
        "reconfigure" => {
            let voters = parse_ids(words[2]);
            let learners = parse_ids(words.get(3).copied().unwrap_or(""));
            world.step(node(words[1]), Input::Reconfigure { voters, learners });
        }
        "skip" => {
            let now_us = world.now_us;
            let member = world.members.get_mut(&node(words[1])).unwrap();
            let replica = member.replica.as_mut().unwrap();
            replica.skip(number(words[2]), 0, now_us);
            let at = replica.chosen();
            member.skip_to(at);
        }
        "down" => world.step(node(words[1]), Input::PeerDown(NodeId(node(words[2])))),
        "cut" => links(words[1])
            .into_iter()
            .for_each(|(a, b)| world.cut(a, b)),
        "heal" => world.heal(),
        "hold" => links(words[1])
            .into_iter()
            .for_each(|(a, b)| world.hold(a, b)),
        "release" => {
            let how = words.get(2).copied().unwrap_or("");
            let times = if how == "twice" { 2 } else { 1 };
            for (a, b) in links(words[1]) {
                world.release(a, b, how, times);
            }
        }
        "lose" => links(words[1])
            .into_iter()
            .for_each(|(a, b)| match words.get(3) {
                Some(kept) => world.lose_behind(a, b, number(kept) as usize),
                None => world.lose(a, b),
            }),
        "delay" => {
            for (a, b) in links(words[1]) {
                world.delay(a, b, number(words[2]) * 1000);
            }
        }
        "retire" => world.retire(node(words[1])),
        "hold-disk" => world.hold_disk(node(words[1])),
        "release-disk" => world.release_disk(node(words[1])),
        "crash" => world.crash(node(words[1])),
        "restart" => world.restart(node(words[1])),
        "inject" => inject(world, &words[1..]),
        "state" => tell_state(world),
        other => panic!("no command {other}"),
    }
}

/// The script's commands and comments, with what comes of them now.
fn play(script: &str) -> String {
    let mut world = World::new();
    let mut transcript = String::new();
    for line in script.lines() {
        if let Some(line) = line.strip_prefix("> ") {
            writeln!(transcript, "> {line}").unwrap();
            command(&mut world, line);
            for said in world.lines.drain(..) {
                writeln!(transcript, "  {said}").unwrap();
            }
        } else if line.starts_with('#') || line.is_empty() {
            writeln!(transcript, "{line}").unwrap();
        }
    }
    transcript
}

#[test]
fn stories_go_as_they_are_told() {
    // A replica that answers otherwise than a story says has another protocol.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = play(&expected);
        if expected == actual {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, actual).unwrap();
            continue;
        }
        let differs = expected.lines().zip(actual.lines()).find(|(a, b)| a != b);
        wrong.push(format!("{}: {differs:?}", path.display()));
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites: {wrong:#?}");
}
