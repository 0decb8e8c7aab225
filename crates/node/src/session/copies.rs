//! Copies of what keys of several shards hold, in one cache: how they come together, what runs on them, and what has to be done
//! in which shard so that it is done to the keys.

use super::gathered::{HalfGather, Name, Ran};
use super::over_shards::error_of;
use super::plan::Plan;
use super::records::asked_of;
use super::{Session, Turn};
use crate::effects;
use crate::entry::Stamp;
use crate::group::{OpFlags, OpHead, OpKind, encode_op};
use crate::overlay::{Invocation, Memory, Overlay, Terms, UNDECLARED_MAX, Verdict, Writes};
use crate::questions::{RECORDS_BYTES_MAX, TOO_MUCH};
use crate::scripts::Place;
use crate::shard::Events;
use cache::{Cache, ChangeKind, Key, Pin};
use commands::{Context, Keyspace, Row, Run};
use resp::{Args, Output, OwnedArgs, Reply, parse_i64};
use std::collections::{BTreeMap, BTreeSet};

/// Records of several shards in one cache.
pub(super) struct Copies {
    cache: Cache,
    /// What each key held, to be checked: shard, name, fingerprint.
    pub seen: Vec<(usize, Name, u64)>,
    /// The fences of the locks among them.
    fences: BTreeMap<Name, u64>,
    /// How far the log times of shards are behind that of the copies, ms.
    behind_ms: BTreeMap<usize, u64>,
    stamp: Stamp,
    event_mask: u16,
    events: Events,
}

impl Session {
    /// Puts records into one cache, whose log time is that of the shard that is ahead of the others; none if one cannot be
    /// read.
    pub(super) fn copies_of(&mut self, turn: Turn<'_>, half: &HalfGather) -> Option<Copies> {
        let log_ms = &half.records.log_ms;
        let now_ms = log_ms.values().copied().max().unwrap_or(0);
        let now_ms = now_ms.max(turn.now.log_ms);
        let wall_ms = turn.now.log_ms as i64 + turn.now.wall_offset_ms;
        let nothing = |_: &mut Context<'_>, _: Args<'_>, _: &mut Reply<'_>| {};
        let call = self.call(turn, nothing, Args::new(b"", &[]));
        let mut copies = Copies {
            cache: Cache::new(turn.node.seed),
            seen: Vec::new(),
            fences: BTreeMap::new(),
            behind_ms: BTreeMap::new(),
            stamp: Stamp {
                log_ms: now_ms,
                wall_offset_ms: wall_ms - now_ms as i64,
                random: call.stamp.random,
            },
            event_mask: call.event_mask,
            events: Events::new(),
        };
        copies.cache.set_now(now_ms);
        // What is granted here is numbered when the effects are applied.
        copies.cache.leave_unnumbered();
        for (shard, names) in asked_of(&half.names, &half.watched) {
            let behind_ms = now_ms - log_ms[&shard];
            copies.behind_ms.insert(shard, behind_ms);
            for (name, is_wanted) in names {
                let fingerprint = *half.records.fingerprints.get(name)?;
                copies.seen.push((shard, name.clone(), fingerprint));
                if !is_wanted {
                    continue;
                }
                let record = half.records.get(name)?;
                let mut head = record.head.clone();
                effects::shift_expiry(&mut head, behind_ms as i64);
                effects::put(&mut copies.cache, name.0, &name.1, &head, &record.value).ok()?;
                let key = Key::new(turn.node.seed, name.0, &name.1);
                if let Some(fence) = copies.cache.fence(key) {
                    copies.fences.insert(name.clone(), fence);
                }
            }
        }
        // What is copied is no change.
        copies.cache.observe(true);
        Some(copies)
    }

    /// Runs a data command on copies; returns its reply.
    pub(super) fn run_copied(
        &mut self,
        turn: Turn<'_>,
        copies: &mut Copies,
        db: u8,
        row: &'static Row,
        args: Args<'_>,
    ) -> Vec<u8> {
        let Run::Data(execute) = row.run else {
            unreachable!("the caller looked")
        };
        let mut output = Output::new();
        let mut context = Context {
            now_ms: copies.stamp.log_ms,
            keyspace: Keyspace::One(&mut copies.cache),
            seed: turn.node.seed,
            db,
            wall_offset_ms: copies.stamp.wall_offset_ms,
            random: copies.stamp.random,
            first_key_hash: None,
            touch: self.touch,
            request: None,
            event_mask: copies.event_mask,
            events: Events::new(),
        };
        execute(
            &mut context,
            args,
            &mut Reply::new(&mut output, self.protocol),
        );
        let events = std::mem::take(&mut context.events);
        copies.events.extend(events);
        // Each command has a draw of its own.
        copies.stamp = copies.stamp.of_op(1);
        output.into_bytes().to_vec()
    }

    /// Runs EVAL or its kin, which is one of EXEC's commands.
    pub(super) fn run_eval_copied(
        &mut self,
        turn: Turn<'_>,
        half: &HalfGather,
        copies: &mut Copies,
        db: u8,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<Vec<u8>, Box<Ran>> {
        let found = self.script_of(turn, row, args);
        self.share_scripts(turn);
        let (script, count, writes) = match found {
            Ok(found) => found,
            Err(refusal) => return Ok(error_of(&refusal)),
        };
        let memory = self.memory_for(turn, args, writes);
        let invocation = Invocation {
            script: &script,
            keys: args.iter().skip(3).take(count).collect(),
            args: args.iter().skip(3 + count).collect(),
        };
        self.run_script_copied(turn, half, copies, db, &invocation, (writes, memory))
    }

    /// Runs a script on copies; returns its reply, or what has to be done first.
    pub(super) fn run_script_copied(
        &mut self,
        turn: Turn<'_>,
        half: &HalfGather,
        copies: &mut Copies,
        db: u8,
        invocation: &Invocation<'_>,
        (writes, memory): (Writes, Memory),
    ) -> Result<Vec<u8>, Box<Ran>> {
        let node = turn.node;
        let terms = Terms {
            db,
            stamp: copies.stamp,
            protocol: self.protocol,
            touch: self.touch,
            writes,
            memory,
            lock_memory: Memory::for_locks(&node.budget),
            // The shards look at what comes of it.
            locks_withheld_ms: 0,
            event_mask: copies.event_mask,
            pubsub: node.pubsub.clone(),
            watchdog: node.cluster.scripts.begin(Place::Briefly),
        };
        let given = half.names.values().flatten();
        let given: Vec<&[u8]> = given
            .filter(|(its_db, _)| *its_db == db)
            .map(|(_, key)| &**key)
            .collect();
        let overlay = Overlay::new(node.seed, &given, terms, |_| Some(&copies.cache));
        let Verdict {
            reply,
            changed,
            events,
            missing,
            ..
        } = overlay.run(&node.cluster.scripts.engine, invocation);
        if let Some(key) = missing {
            let shard = node.shard_of(&key);
            if half.names.contains_key(&shard) && half.undeclared_count < UNDECLARED_MAX {
                return Err(Box::new(Ran::Lacks(shard, (db, key))));
            }
        }
        for key in changed.keys() {
            changed.put_into(&mut copies.cache, key);
        }
        changed.give_back(&node.cluster.scripts);
        copies.events.extend(events);
        copies.stamp = copies.stamp.of_op(1);
        Ok(reply)
    }

    /// What is to be done where, so that what was done to copies is done to the keys.
    pub(super) fn plan_of_copies(
        &mut self,
        turn: Turn<'_>,
        half: &HalfGather,
        mut copies: Copies,
        replies: Vec<Vec<u8>>,
    ) -> Ran {
        let mut plan = Plan::default();
        if let Some((shard, operation)) = &half.condition {
            plan.add_operation(*shard, operation.clone());
        }
        for (shard, (db, key), fingerprint) in &copies.seen {
            let check = OwnedArgs::from_slices(&[key, &fingerprint.to_le_bytes()]);
            let check = self.operation(OpKind::Check, *db, check.args());
            plan.add_operation(*shard, check);
        }
        let changes = copies.cache.take_changes().into_iter();
        let modified = changes.filter(|change| change.kind == ChangeKind::Modified);
        let modified: BTreeSet<Name> = modified.map(|change| (change.db, change.key)).collect();
        let mut effects: BTreeMap<(usize, u8), Vec<Vec<u8>>> = BTreeMap::new();
        let (mut bytes, mut grows) = (0, false);
        for name in modified {
            let (db, key) = &name;
            let shard = turn.node.shard_of(key);
            assert!(
                half.names
                    .get(&shard)
                    .is_some_and(|names| names.contains(&name)),
                "a command changes its keys and no others"
            );
            let entry = copies.cache.peek(Key::new(turn.node.seed, *db, key));
            let mut head = effects::head_of(entry);
            // A lock that was changed is the same grant; one that came from elsewhere, and any collection, gets a number here.
            let is_same = entry.is_some_and(|entry| {
                entry.pin == Pin::Pinned && copies.fences.get(&name).copied() == Some(entry.fence)
            });
            if !is_same {
                effects::unnumber(&mut head);
            }
            effects::shift_expiry(&mut head, -(copies.behind_ms[&shard] as i64));
            let value = effects::value_of(entry).into_owned();
            bytes += key.len() + value.len();
            grows |= entry.is_some();
            let of_shard = effects.entry((shard, *db)).or_default();
            of_shard.extend([key.to_vec(), head.to_vec(), value]);
        }
        if bytes > RECORDS_BYTES_MAX {
            return Ran::Refused(error_of(TOO_MUCH));
        }
        for ((shard, db), triples) in effects {
            let triples: Vec<&[u8]> = triples.iter().map(Vec::as_slice).collect();
            let triples = OwnedArgs::from_slices(&triples);
            let flags = match grows && half.needs_memory() {
                true => OpFlags::GROWS,
                false => OpFlags::NONE,
            };
            let head = OpHead {
                kind: OpKind::Effects,
                db,
                flags,
                seq: 0,
                after: 0,
            };
            let mut operation = Vec::new();
            encode_op(&mut operation, head, triples.args().iter());
            plan.add_operation(shard, operation);
        }
        Ran::Did {
            plan,
            replies,
            events: copies.events,
        }
    }
}

/// What a bulk string holds.
pub(super) fn bulk_of(reply: &[u8]) -> Option<&[u8]> {
    let line_end = reply.iter().position(|byte| *byte == b'\r')?;
    let len = parse_i64(reply.strip_prefix(b"$")?.get(..line_end - 1)?)?;
    let start = line_end + 2;
    reply.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}
