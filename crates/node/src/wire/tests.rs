//! Messages and frames: what is encoded is decoded to the same, and nothing else is taken for it.

use super::codec::{LEASE_LEFT_US_MAX, NUMBER_MAX, TIME_MAX};
use super::*;
use bytes::{Bytes, BytesMut};
use cache::{CollectionType, Sought, StreamId};
use paxos::{
    AcceptedEntry, Ballot, Config, Entry, Generation, GroupId, HeardTime, Incarnation, Index, Kind,
    Message, NodeId, ReplicaId,
};
use proptest::prelude::*;
use std::io::IoSlice;

fn ballots() -> impl Strategy<Value = Ballot> {
    (numbers(), replicas()).prop_map(|(round, replica)| Ballot { round, replica })
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, 0..=NUMBER_MAX]
}

fn times() -> impl Strategy<Value = u64> {
    0..=TIME_MAX
}

fn heard_times() -> impl Strategy<Value = HeardTime> {
    (times(), times(), ballots()).prop_map(|(ms, age_us, of)| HeardTime { ms, age_us, of })
}

fn replicas() -> impl Strategy<Value = ReplicaId> {
    (any::<u32>(), any::<u64>()).prop_map(|(node, incarnation)| ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    })
}

fn payloads() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..64),
        1 => (any::<u8>(), SHARED_BYTES_MIN - 2..SHARED_BYTES_MIN + 3).prop_map(|(b, n)| vec![b; n]),
        1 => (any::<u8>(), SLICED_BYTES_MIN..SLICED_BYTES_MIN + 3).prop_map(|(b, n)| vec![b; n]),
    ]
    .prop_map(Bytes::from)
}

fn configs() -> impl Strategy<Value = Config> {
    let members = |min| proptest::collection::btree_map(any::<u32>(), any::<u64>(), min..4);
    let replicas = |members: std::collections::BTreeMap<u32, u64>| {
        let replica = |(node, incarnation)| ReplicaId {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        };
        members.into_iter().map(replica).collect::<Vec<_>>()
    };
    (numbers(), members(1), members(0)).prop_map(move |(number, voters, learners)| {
        let voters = replicas(voters);
        let mut learners = replicas(learners);
        learners.retain(|id| !voters.contains(id));
        Config {
            number,
            voters,
            learners,
        }
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    prop_oneof![
        Just(Entry::Noop),
        (times(), payloads()).prop_map(|(log_ms, payload)| Entry::Batch { log_ms, payload }),
        configs().prop_map(Entry::Config),
    ]
}

fn indexes() -> impl Strategy<Value = Index> {
    numbers().prop_map(Index)
}

fn lists() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(entries(), 0..5)
}

/// Each of the kinds of messages between replicas, by its number.
fn kinds() -> impl Strategy<Value = Kind> {
    let accepted =
        (indexes(), ballots(), entries()).prop_map(|(index, ballot, entry)| AcceptedEntry {
            index,
            ballot,
            entry,
        });
    let accepted = proptest::collection::vec(accepted, 0..4);
    prop_oneof![
        ballots().prop_map(|ballot| Kind::PreVote { ballot }),
        (ballots(), any::<bool>())
            .prop_map(|(ballot, granted)| Kind::PreVoteReply { ballot, granted }),
        (ballots(), indexes(), proptest::option::of(ballots())).prop_map(
            |(ballot, from, released)| {
                Kind::Prepare {
                    ballot,
                    from,
                    released,
                }
            }
        ),
        (
            ballots(),
            indexes(),
            accepted,
            (any::<bool>(), 0..=LEASE_LEFT_US_MAX),
            (heard_times(), heard_times())
        )
            .prop_map(
                |(ballot, chosen, accepted, (more, lease_left_us), (log_seen, log_line))| {
                    Kind::Promise {
                        ballot,
                        chosen,
                        accepted,
                        more,
                        lease_left_us,
                        log_seen,
                        log_line,
                    }
                }
            ),
        (ballots(), indexes(), lists(), indexes(), any::<u64>()).prop_map(
            |(ballot, first, entries, commit, sent_us)| Kind::Accept {
                ballot,
                first,
                entries,
                commit,
                sent_us,
            }
        ),
        (ballots(), indexes(), (any::<u64>(), times())).prop_map(
            |(ballot, commit, (sent_us, log_ms))| {
                Kind::Beat {
                    ballot,
                    commit,
                    sent_us,
                    log_ms,
                }
            }
        ),
        (ballots(), indexes(), any::<u64>()).prop_map(|(ballot, upto, sent_us)| Kind::Accepted {
            ballot,
            upto,
            sent_us
        }),
        (ballots(), ballots()).prop_map(|(ballot, promised)| Kind::Nack { ballot, promised }),
        indexes().prop_map(|from| Kind::CatchUpRequest { from }),
        (configs(), indexes(), indexes()).prop_map(|(config, index, chosen)| Kind::Left {
            config,
            index,
            chosen
        }),
        (indexes(), lists(), indexes()).prop_map(|(first, entries, chosen)| Kind::CatchUp {
            first,
            entries,
            chosen
        }),
        (any::<u64>(), indexes(), configs()).prop_map(|(stream, base, config)| {
            Kind::SnapshotOffer {
                stream,
                base,
                config,
            }
        }),
        (any::<(u64, u64, bool)>(), payloads()).prop_map(|((stream, sequence, last), bytes)| {
            Kind::SnapshotChunk {
                stream,
                sequence,
                bytes,
                last,
            }
        }),
        any::<(u64, u64, bool)>().prop_map(|(stream, next, abort)| Kind::SnapshotAck {
            stream,
            next,
            abort
        }),
        (ballots(), times()).prop_map(|(ballot, log_ms)| Kind::Transfer { ballot, log_ms }),
        (ballots(), numbers(), times()).prop_map(|(ballot, round, log_ms)| {
            Kind::ReadProbe {
                ballot,
                round,
                log_ms,
            }
        }),
        (ballots(), numbers()).prop_map(|(ballot, round)| Kind::ReadProbeReply { ballot, round }),
    ]
}

fn changes() -> impl Strategy<Value = KeyChange> {
    let kinds = prop_oneof![
        Just(KeyChangeKind::Modified),
        Just(KeyChangeKind::Expired),
        Just(KeyChangeKind::Evicted),
        Just(KeyChangeKind::Flushed),
        (any::<u16>(), payloads()).prop_map(|(class, name)| KeyChangeKind::Event { class, name }),
    ];
    (any::<u8>(), kinds, payloads()).prop_map(|(db, kind, key)| KeyChange { db, kind, key })
}

fn messages() -> impl Strategy<Value = PeerMessage> {
    let group = || any::<u32>().prop_map(GroupId);
    let request = || prop_oneof![Just(RequestKind::Write), Just(RequestKind::Read)];
    let reply = (request(), any::<u64>(), payloads());
    let leads = proptest::collection::vec((group(), ballots()), 0..5);
    prop_oneof![
        8 => (group(), any::<u32>(), replicas(), replicas(), kinds()).prop_map(
            |(group, generation, from, to, kind)| PeerMessage::Paxos(Message {
                group,
                generation: Generation(generation),
                from,
                to,
                kind,
            })
        ),
        1 => (group(), replicas(), any::<u64>(), payloads()).prop_map(
            |(group, origin, done_seq, ops)| PeerMessage::Forward(Forward { group, origin, done_seq, ops })
        ),
        1 => (group(), replicas(), proptest::collection::vec(reply, 0..4)).prop_map(
            |(group, to, items)| {
                let mut answers = AnswerBuffer::default();
                for (kind, number, reply) in items {
                    answers.push_shared(kind, number, reply);
                }
                let items = answers.finish();
                PeerMessage::ForwardReply(ForwardReply { group, to, items })
            }
        ),
        1 => (group(), proptest::option::of(any::<u32>())).prop_map(|(group, leader)| {
            PeerMessage::ForwardRefused(ForwardRefused { group, leader: leader.map(NodeId) })
        }),
        1 => (any::<(u64, u64, u64, u8)>(), leads).prop_map(
            |((sent_us, meta_epoch, needs_room_bytes, listens_to), leads)| PeerMessage::NodeBeat(NodeBeat {
                sent_us,
                meta_epoch,
                leads,
                needs_room_bytes,
                listens_to,
            })
        ),
        1 => (any::<(u64, bool)>(), proptest::option::of(places()), payloads(), payloads()).prop_map(
            |((call, shard), place, channel, payload)| {
                let kind = if shard { PublishKind::Shard } else { PublishKind::Channel };
                PeerMessage::Publish(Publish { call, kind, place, channel, payload })
            }
        ),
        1 => any::<(u64, i64)>()
            .prop_map(|(call, integer)| PeerMessage::Called(Called { call, integer })),
        1 => (any::<(u32, u64)>(), proptest::collection::vec(changes(), 0..4)).prop_map(
            |((node, client), items)| PeerMessage::Changed(Changed { by: (NodeId(node), client), items })
        ),
        1 => (group(), times(), proptest::collection::vec((any::<u8>(), payloads()), 0..4)).prop_map(
            |(group, log_ms, keys)| PeerMessage::Touched(Touched { group, log_ms, keys })
        ),
        1 => payloads().prop_map(PeerMessage::Meta),
        1 => (group(), replicas(), 1..u64::MAX, lock_requests(), lock_requests()).prop_map(
            |(group, origin, sent_us, requests, held)| PeerMessage::LockAsk(LockAsk {
                group,
                origin,
                sent_us,
                requests,
                held,
            })
        ),
        1 => (
            group(),
            replicas(),
            any::<u64>(),
            proptest::collection::vec((any::<u64>(), any::<u64>()), 0..4),
            proptest::collection::vec(any::<u64>(), 0..4),
            proptest::collection::vec(any::<u64>(), 0..4),
        )
            .prop_map(|(group, to, sent_us, granted, settled, ended)| PeerMessage::LockTold(LockTold {
                group,
                to,
                sent_us,
                granted,
                settled,
                ended,
            })),
        1 => (
            group(),
            replicas(),
            proptest::collection::vec((any::<u64>(), 0u8..16, any::<bool>(), payloads()), 0..4),
            proptest::collection::vec(any::<u64>(), 0..4),
        )
            .prop_map(|(group, origin, waits, ended)| PeerMessage::Expect(Expect {
                group,
                origin,
                waits: waits
                    .into_iter()
                    .map(|(number, db, is_list, key)| Expected {
                        number,
                        db,
                        sought: match (is_list, number % 3) {
                            (true, 0) => Sought::Any(CollectionType::List),
                            (false, 0) => Sought::Any(CollectionType::SortedSet),
                            (_, 1) => Sought::After(StreamId {
                                ms: number,
                                seq: u64::from(db),
                            }),
                            (_, _) => Sought::Unread(key.as_ref().into()),
                        },
                        key,
                    })
                    .collect(),
                ended,
            })),
        1 => (group(), replicas(), proptest::collection::vec(any::<u64>(), 0..4)).prop_map(
            |(group, to, numbers)| PeerMessage::Ready(Ready { group, to, numbers })
        ),
    ]
}

fn places() -> impl Strategy<Value = Place> {
    any::<(u32, u32, u64, u32)>().prop_map(|(group, generation, index, ordinal)| Place {
        group: GroupId(group),
        generation,
        index,
        ordinal,
    })
}

fn lock_requests() -> impl Strategy<Value = Vec<(u8, Bytes, u64)>> {
    proptest::collection::vec((0u8..16, payloads(), any::<u64>()), 0..4)
}

/// A sealed frame's bytes.
fn bytes_of(messages: &[PeerMessage], class: Class, sequence: u64) -> Vec<u8> {
    let mut frame = Frame::new();
    for message in messages {
        frame.push(message).expect("small enough");
    }
    frame.seal(class, sequence);
    let mut bytes = Vec::new();
    while !frame.is_empty() {
        // Few slices at a time, as a socket would take them.
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = frame.io_slices(&mut slices);
        let before = bytes.len();
        slices[..filled]
            .iter()
            .for_each(|slice| bytes.extend_from_slice(slice));
        let written = bytes.len() - before;
        frame.advance(written);
    }
    assert_eq!(frame.count(), 0, "a written frame can be filled again");
    bytes
}

/// Everything that a reader makes of bytes that come `step` at a time.
fn read_all(bytes: &[u8], class: Class, step: usize) -> Result<Vec<PeerMessage>, WireError> {
    let (mut reader, mut buffer) = (FrameReader::new(class), BytesMut::new());
    let mut messages = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(message) = reader.next(&mut buffer)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A message would reach the other node as another one, or not at all.
    #[test]
    fn what_is_sent_is_received(
        first in proptest::collection::vec(messages(), 1..6),
        second in proptest::collection::vec(messages(), 1..3),
        step in 1usize..5000,
    ) {
        let mut bytes = bytes_of(&first, Class::Fast, 0);
        bytes.extend(bytes_of(&second, Class::Fast, 1));
        let read = read_all(&bytes, Class::Fast, step).expect("just encoded");
        let sent: Vec<_> = first.into_iter().chain(second).collect();
        prop_assert_eq!(read, sent);
    }

    /// A node would panic, or allocate without bound, on the bytes of a broken or hostile one.
    #[test]
    fn damaged_messages_are_errors(message in messages(), at in any::<u32>(), xor in 1u8.., cut in any::<u32>()) {
        let mut output = resp::Output::new();
        encode(&message, &mut output).expect("small enough");
        let mut slices = vec![IoSlice::new(&[]); 64];
        let filled = output.io_slices(&mut slices);
        let whole: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        let short = &whole[..cut as usize % whole.len()];
        prop_assert!(decode(&mut Bytes::copy_from_slice(short)).is_err());
        let mut flipped = whole.clone();
        let at = at as usize % flipped.len();
        flipped[at] ^= xor;
        if let Ok(other) = decode(&mut Bytes::from(flipped)) {
            prop_assert_ne!(other, message, "every byte means something");
        }
    }

    /// A flipped bit on the wire would be obeyed.
    #[test]
    fn damaged_frames_are_refused(messages in proptest::collection::vec(messages(), 1..4), at in any::<u32>(), bit in 0u8..8) {
        let mut bytes = bytes_of(&messages, Class::Bulk, 0);
        let at = at as usize % bytes.len();
        bytes[at] ^= 1 << bit;
        // A length that grew only waits for more.
        prop_assert!(read_all(&bytes, Class::Bulk, 1 << 20).is_ok_and(|read| read.is_empty() && at < 4)
            || read_all(&bytes, Class::Bulk, 1 << 20).is_err());
    }
}

/// Nodes of two builds would misread each other without noticing: the layout is what it was.
#[test]
fn the_bytes_are_as_drawn() {
    let called = PeerMessage::Called(Called {
        call: 7,
        integer: 2,
    });
    let bytes = bytes_of(&[called], Class::Fast, 3);
    assert_eq!(
        &bytes[HEAD_BYTES..],
        b"\x11\0\0\0\x25\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
    );
    assert_eq!(bytes[..4], (bytes.len() as u32 - 8).to_le_bytes());
    assert_eq!(
        bytes[8..28],
        *b"\x0a\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0"
    );
}

/// A replica would count beyond the last number, or take nobody's vote for a majority.
#[test]
fn numbers_and_configurations_that_nobody_comes_to_are_refused() {
    let ballot = |round| Ballot {
        round,
        replica: ReplicaId::default(),
    };
    let id = |node, incarnation| ReplicaId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    };
    let offer = |voters: &[ReplicaId], learners: &[ReplicaId]| Kind::SnapshotOffer {
        stream: 1,
        base: Index(1),
        config: Config {
            number: 1,
            voters: voters.to_vec(),
            learners: learners.to_vec(),
        },
    };
    let promise = |lease_left_us| Kind::Promise {
        ballot: ballot(1),
        chosen: Index(0),
        accepted: Vec::new(),
        more: false,
        lease_left_us,
        log_seen: HeardTime::default(),
        log_line: HeardTime::default(),
    };
    let many: Vec<ReplicaId> = (0..65).map(|node| id(node, 1)).collect();
    let refused = [
        Kind::PreVote {
            ballot: ballot(NUMBER_MAX + 1),
        },
        Kind::CatchUpRequest {
            from: Index(u64::MAX),
        },
        Kind::Transfer {
            ballot: ballot(1),
            log_ms: TIME_MAX + 1,
        },
        promise(LEASE_LEFT_US_MAX + 1),
        offer(&[], &[id(1, 1)]),
        offer(&[id(2, 1), id(1, 1)], &[]),
        offer(&[id(1, 1), id(1, 2)], &[]),
        offer(&[id(1, 1)], &[id(1, 1)]),
        offer(&[id(1, 1)], &[id(2, 1), id(2, 1)]),
        offer(&many, &[]),
    ];
    let taken = [
        promise(LEASE_LEFT_US_MAX),
        offer(&[id(1, 1)], &[id(1, 2), id(2, 1), id(2, 2)]),
        offer(&many[..64], &[]),
    ];
    let read = |kind: Kind| {
        let message = PeerMessage::Paxos(Message {
            group: GroupId(1),
            generation: Generation(0),
            from: ReplicaId::default(),
            to: ReplicaId::default(),
            kind,
        });
        read_all(&bytes_of(&[message], Class::Fast, 0), Class::Fast, 1 << 20)
    };
    for kind in refused {
        let what = format!("{kind:?}");
        assert!(matches!(read(kind), Err(WireError::Value(_))), "{what}");
    }
    for kind in taken {
        assert_eq!(read(kind).expect("sound").len(), 1);
    }
}

/// A frame of another connection, class or version, or one that claims to be huge, would be taken.
#[test]
fn frames_that_do_not_belong_are_refused() {
    let message = PeerMessage::Meta(Bytes::from_static(b"x"));
    let bytes = |class, sequence| bytes_of(std::slice::from_ref(&message), class, sequence);
    let error = |bytes: &[u8]| read_all(bytes, Class::Fast, 1 << 20).expect_err("does not belong");
    let (wanted, got) = (0, 1);
    assert_eq!(
        error(&bytes(Class::Fast, 1)),
        WireError::Sequence { wanted, got }
    );
    assert_eq!(error(&bytes(Class::Bulk, 0)), WireError::Head);
    let mut other = bytes(Class::Fast, 0);
    other[8] = 1;
    assert_eq!(error(&other), WireError::Version(1));
    let mut huge = bytes(Class::Fast, 0);
    huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        error(&huge[..HEAD_BYTES]),
        WireError::TooLong(u32::MAX as usize)
    );
    let mut many = bytes(Class::Fast, 0);
    many[12..16].copy_from_slice(&1000u32.to_le_bytes());
    assert_eq!(error(&many), WireError::Head);
}

/// A log that keeps a short entry would keep the read buffer of many frames.
#[test]
fn kept_payloads_share_little_and_long_ones_are_not_copied() {
    let accept = |payload: Bytes| {
        PeerMessage::Paxos(Message {
            group: GroupId(1),
            generation: Generation(0),
            from: ReplicaId::default(),
            to: ReplicaId::default(),
            kind: Kind::Accept {
                ballot: Ballot::default(),
                first: Index(1),
                entries: vec![Entry::Batch { log_ms: 1, payload }],
                commit: Index(0),
                sent_us: 0,
            },
        })
    };
    for (size, shared) in [(100, false), (SLICED_BYTES_MIN, true)] {
        let bytes = bytes_of(&[accept(vec![7; size].into())], Class::Fast, 0);
        let mut buffer = BytesMut::from(&bytes[..]);
        let memory = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
        let message = FrameReader::new(Class::Fast).next(&mut buffer);
        let Ok(Some(PeerMessage::Paxos(Message {
            kind: Kind::Accept { entries, .. },
            ..
        }))) = message
        else {
            panic!("an accept was sent");
        };
        let Entry::Batch { payload, .. } = &entries[0] else {
            panic!("a batch was sent");
        };
        assert_eq!(
            memory.contains(&(payload.as_ptr() as usize)),
            shared,
            "{size} bytes"
        );
    }
}
