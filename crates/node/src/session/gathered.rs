//! What cannot be taken apart, with keys in several shards of which one has replicas: RENAME, COPY, BITOP, SUNIONSTORE and kin,
//! scripts, EXEC with one of these in it. What the keys hold is brought together here, the commands run on copies, and what
//! they left is a transaction (`over_shards`) that goes through only if the keys still hold what was read: optimistic
//! concurrency control (Kung, Robinson, "On Optimistic Methods for Concurrency Control", TODS 1981), validated under the
//! keys' reservations.
//!
//! ```text
//!   asking ──all keys' records──▶ run on copies ──▶ transaction of checks and effects ──▶ the reply
//!     ▲                              │ a script wants more keys         │ a key was changed in between
//!     └──────────────────────────────┴────── backing off ◀──────────────┘
//! ```
//!
//! That costs the length of the values. What moves one element (LMOVE, SMOVE …) asks for that one instead, and its
//! transaction expects it to be there still: others may change the rest of a long queue meanwhile.

use super::over_shards::{Goal, Plan, Trying, is_apart, is_null, kind_of};
use super::pending::Pending;
use super::popping::HalfPop;
use super::transaction::{Seen, Watch};
use super::window::places_of;
use super::{Session, Step, Turn};
use crate::effects;
use crate::entry::Stamp;
use crate::group::{OpKind, each_key_of};
use crate::overlay::{Invocation, Memory, Overlay, Terms, UNDECLARED_MAX, Verdict, Writes};
use crate::questions::{RECORDS, RECORDS_BYTES_MAX, TOO_MUCH};
use crate::scripts::Place;
use crate::shard::Events;
use cache::{Cache, ChangeKind, Key, Pin};
use commands::{Context, Execute, Keyspace, Row, Run, Split};
use resp::{Args, Output, OwnedArgs, Reply, parse_i64, split_array, split_reply};
use script::Script;
use std::collections::{BTreeMap, BTreeSet};

/// What is said of an answer that is none.
const BROKEN: &str = "ERR a shard's answer cannot be read";
/// What Redis says of a key of another type.
const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// A key in its numbered database.
type Name = (u8, Box<[u8]>);

/// Something that needs the records of several shards.
pub(super) struct HalfGather {
    pub what: What,
    /// By shard, the keys whose records it needs; of a [`What::Move`] none.
    names: BTreeMap<usize, BTreeSet<Name>>,
    /// What else refuses the transaction: its shard, and an operation.
    condition: Option<(usize, Vec<u8>)>,
    pub trying: Trying,
    stage: Stage,
    undeclared_count: usize,
}

/// Which one.
pub(super) enum What {
    /// A command.
    Command(&'static Row, OwnedArgs),
    /// EXEC's commands, and what was watched.
    Exec {
        commands: Vec<(&'static Row, OwnedArgs)>,
        watches: Vec<Watch>,
    },
    /// A script.
    Script(HalfEval),
    /// One element goes from here to there. If there is none, who waits for it waits on.
    Move(Move, Option<Box<HalfPop>>),
}

/// A script with what it was given.
pub(super) struct HalfEval {
    script: Script,
    /// Its keys, then its arguments.
    parts: OwnedArgs,
    keys_count: usize,
    writes: Writes,
    memory: Memory,
}

/// LMOVE, RPOPLPUSH, SMOVE and kin: questions about the source and the destination, in this order, and the commands by
/// which the element goes.
pub(super) struct Move {
    db: u8,
    source: usize,
    destination: usize,
    questions: Vec<(usize, OwnedArgs)>,
    /// For lists, how the element is taken and put; SMOVE has its element already.
    list: Option<(&'static [u8], &'static [u8])>,
    /// The keys and, of SMOVE, the element.
    words: OwnedArgs,
}

enum Stage {
    BackingOff { until_us: u64 },
    Asking,
}

/// A transaction made of gathered records: its reply, once it is committed.
pub(super) struct Gathered {
    pub half: Box<HalfGather>,
    /// What its commands answered.
    pub replies: Vec<Vec<u8>>,
    /// Keyspace events that no shard knows of.
    pub events: Events,
}

/// What came of a run on copies.
enum Ran {
    /// The client is told.
    Refused(Vec<u8>),
    /// It is to be run again with one key more.
    Lacks(usize, Name),
    /// There was nothing to move.
    Nothing(Vec<u8>),
    /// It did.
    Did {
        plan: Plan,
        replies: Vec<Vec<u8>>,
        events: Events,
    },
}

/// Records of several shards in one cache.
struct Copies {
    cache: Cache,
    /// What each key held, to be checked: shard, name, fingerprint.
    seen: Vec<(usize, Name, u64)>,
    /// The fences of the locks among them.
    fences: BTreeMap<Name, u64>,
    /// How far the log times of shards are behind that of the copies, ms.
    behind_ms: BTreeMap<usize, u64>,
    stamp: Stamp,
    event_mask: u16,
    events: Events,
}

impl Session {
    /// A command that cannot be taken apart, if its keys live apart; none if it takes the usual way.
    pub(super) fn gather_command(
        &mut self,
        turn: Turn<'_>,
        (row, execute): (&'static Row, Execute),
        args: Args<'_>,
        output: &mut Output,
    ) -> Option<Step> {
        let places = places_of(turn.node, row, args);
        let shards: Vec<usize> = places.iter().map(|place| place.shard as usize).collect();
        if places.len() < 2 || !is_apart(turn, &shards) {
            return None;
        }
        if let Some(refusal) = self.lacks_room(turn, row, args) {
            Reply::new(output, self.protocol).error(refusal);
            return Some(Step::Done);
        }
        self.remember_read(turn, row, args);
        if let Some(moved) = self.move_of(turn, row, args) {
            return Some(self.begin_move(turn, execute, args, moved, None, output));
        }
        let what = What::Command(row, args.to_owned());
        Some(self.gather(turn, what, None, output))
    }

    /// Begins to bring together what is needed. `condition` is of a shard, and refuses the transaction.
    pub(super) fn gather(
        &mut self,
        turn: Turn<'_>,
        what: What,
        condition: Option<(usize, Vec<u8>)>,
        output: &mut Output,
    ) -> Step {
        let mut names: BTreeMap<usize, BTreeSet<Name>> = BTreeMap::new();
        let mut add = |db: u8, key: &[u8]| {
            let of_shard = names.entry(turn.node.shard_of(key)).or_default();
            of_shard.insert((db, key.into()));
        };
        match &what {
            What::Command(_, args) => each_key_of(self.db, args.args(), &mut add),
            What::Exec { commands, watches } => {
                watches.iter().for_each(|watch| add(watch.db, &watch.key));
                self.each_of_exec(turn, commands, &mut |db, row, args| match row.run {
                    Run::Data(_) => each_key_of(db, args, &mut add),
                    _ => {
                        let mut positions = commands::KeyPositions::new();
                        // A script whose arguments do not tell its keys refuses them itself.
                        let _ = commands::keys_of(row, args, &mut positions);
                        positions.iter().for_each(|at| add(db, args.get(*at)));
                    }
                });
            }
            What::Script(half) => {
                let keys = half.parts.args();
                (0..half.keys_count).for_each(|at| add(self.db, keys.get(at)));
            }
            What::Move(..) => {}
        }
        let half = HalfGather {
            what,
            names,
            condition,
            trying: Trying::new(turn),
            stage: Stage::BackingOff { until_us: 0 },
            undeclared_count: 0,
        };
        self.wait_alone(turn, Pending::Gather(Box::new(half)), output)
    }

    /// EVAL with keys in several shards.
    pub(super) fn gather_script(
        &mut self,
        turn: Turn<'_>,
        invocation: &Invocation<'_>,
        (writes, memory): (Writes, Memory),
        output: &mut Output,
    ) -> Step {
        let parts = invocation.keys.iter().chain(&invocation.args).copied();
        let parts: Vec<&[u8]> = parts.collect();
        let half = HalfEval {
            script: invocation.script.clone(),
            parts: OwnedArgs::from_slices(&parts),
            keys_count: invocation.keys.len(),
            writes,
            memory,
        };
        self.gather(turn, What::Script(half), None, output)
    }

    /// Tells of each of EXEC's commands that is part of the transaction: its database, row and arguments.
    fn each_of_exec(
        &self,
        turn: Turn<'_>,
        commands: &[(&'static Row, OwnedArgs)],
        tell: &mut dyn FnMut(u8, &'static Row, Args<'_>),
    ) {
        let mut db = self.db;
        for (row, args) in commands {
            match row.run {
                Run::Data(_) => tell(db, row, args.args()),
                Run::Session(command) if super::transaction::runs_script(command) => {
                    tell(db, row, args.args());
                }
                Run::Session(commands::Session::Select) => {
                    db = super::exec::selected(turn, args).unwrap_or(db);
                }
                Run::Session(_) | Run::Later => {}
            }
        }
    }

    /// Goes on with what brings records together.
    pub(super) fn go_on_gather(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfGather>,
        output: &mut Output,
    ) -> Step {
        loop {
            match half.stage {
                Stage::BackingOff { until_us } if until_us > turn.now.monotonic_us => {
                    self.pending = Some(Pending::Gather(half));
                    return Step::Wait {
                        until_us: Some(until_us),
                    };
                }
                Stage::BackingOff { .. } => {
                    if let Err(refusal) = self.ask_for_records(turn, &half) {
                        self.void_tickets();
                        let refusal = format!("-{refusal}\r\n").into_bytes();
                        return self.end_gather(turn, *half, &refusal, output);
                    }
                    half.stage = Stage::Asking;
                }
                Stage::Asking => {
                    let count = half.questions_count() as u32;
                    let answers = self.take_replies(|slots| {
                        let answers = (0..count).map(|slot| slots.get(slot).unwrap_or_default());
                        answers.map(<[u8]>::to_vec).collect::<Vec<_>>()
                    });
                    let Some(answers) = answers else {
                        self.pending = Some(Pending::Gather(half));
                        return Step::Replies;
                    };
                    let ran = self.run_on_copies(turn, &half, &answers);
                    match ran {
                        Ran::Refused(reply) => {
                            return self.end_gather(turn, *half, &reply, output);
                        }
                        Ran::Lacks(shard, name) => {
                            half.undeclared_count += 1;
                            half.names.entry(shard).or_default().insert(name);
                            half.stage = Stage::BackingOff { until_us: 0 };
                        }
                        Ran::Nothing(reply) => {
                            return match half.what {
                                What::Move(_, Some(pop)) => {
                                    self.wait_after_move(turn, pop, reply, output)
                                }
                                _ => self.end_gather(turn, *half, &reply, output),
                            };
                        }
                        Ran::Did {
                            plan,
                            replies,
                            events,
                        } => {
                            let trying = half.trying;
                            let goal = Goal::Gathered(Box::new(Gathered {
                                half,
                                replies,
                                events,
                            }));
                            return self.begin_over_since(turn, plan, goal, trying, output);
                        }
                    }
                }
            }
        }
    }

    /// A key was changed before the transaction had it: all is read and run again.
    pub(super) fn gather_again(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfGather>,
        output: &mut Output,
    ) -> Step {
        half.stage = Stage::BackingOff {
            until_us: half.trying.back_off_until_us(turn),
        };
        self.wait_alone(turn, Pending::Gather(half), output)
    }

    /// Whoever asked is told.
    pub(super) fn end_gather(
        &mut self,
        turn: Turn<'_>,
        half: HalfGather,
        reply: &[u8],
        output: &mut Output,
    ) -> Step {
        if let What::Move(_, Some(pop)) = half.what {
            return self.end_pop(turn, *pop, reply, output);
        }
        output.tail_mut().extend_from_slice(reply);
        Step::Done
    }

    fn ask_for_records(&mut self, turn: Turn<'_>, half: &HalfGather) -> Result<(), String> {
        if let What::Move(moved, _) = &half.what {
            for (shard, question) in &moved.questions {
                self.ask_read(turn, *shard, moved.db, question)?;
            }
        }
        for (shard, names) in &half.names {
            let databases: Vec<[u8; 1]> = names.iter().map(|(db, _)| [*db]).collect();
            let mut words: Vec<&[u8]> = vec![RECORDS];
            for (db, (_, key)) in databases.iter().zip(names) {
                words.extend([&db[..], key]);
            }
            self.ask(turn, *shard, self.db, &OwnedArgs::from_slices(&words))?;
        }
        turn.node.request_flush();
        Ok(())
    }

    /// Asks whoever leads a shard what a command that reads answers.
    fn ask_read(
        &mut self,
        turn: Turn<'_>,
        shard: usize,
        db: u8,
        read: &OwnedArgs,
    ) -> Result<(), String> {
        let row = commands::check(read.args()).expect("of a row");
        let Run::Data(execute) = row.run else {
            unreachable!("a command on data")
        };
        let call = crate::shard::Call {
            db,
            ..self.call(turn, execute, read.args())
        };
        self.run_part(turn, row, call, shard);
        Ok(())
    }

    /// Runs what records were gathered for on copies of them.
    fn run_on_copies(&mut self, turn: Turn<'_>, half: &HalfGather, answers: &[Vec<u8>]) -> Ran {
        if let What::Move(moved, _) = &half.what {
            return self.run_move(moved, answers);
        }
        if let Some(refusal) = answers.iter().find(|answer| answer.starts_with(b"-")) {
            return Ran::Refused(refusal.clone());
        }
        let Some(mut copies) = self.copies_of(turn, half, answers) else {
            return Ran::Refused(format!("-{BROKEN}\r\n").into_bytes());
        };
        let mut replies = Vec::new();
        match &half.what {
            What::Command(row, args) => {
                replies.push(self.run_copied(turn, &mut copies, self.db, row, args.args()));
            }
            What::Script(eval) => {
                let parts = eval.parts.args();
                let invocation = Invocation {
                    script: &eval.script,
                    keys: parts.iter().take(eval.keys_count).collect(),
                    args: parts.iter().skip(eval.keys_count).collect(),
                };
                let how = (eval.writes, eval.memory);
                match self.run_script_copied(turn, half, &mut copies, self.db, &invocation, how) {
                    Ok(reply) => replies.push(reply),
                    Err(ran) => return *ran,
                }
            }
            What::Exec { commands, watches } => {
                let is_unchanged = |watch: &Watch| {
                    let mut seen = copies.seen.iter();
                    let now = seen.find(|(_, (db, key), _)| *db == watch.db && *key == watch.key);
                    let now = now.map(|(_, _, fingerprint)| *fingerprint);
                    matches!(watch.seen, Seen::Contents(contents) if now == Some(contents))
                };
                if !watches.iter().all(is_unchanged) {
                    let mut bytes = Output::new();
                    Reply::new(&mut bytes, self.protocol).null_array();
                    return Ran::Refused(bytes.into_bytes().to_vec());
                }
                let mut stopped = None;
                let mut each: Vec<(u8, &'static Row, OwnedArgs)> = Vec::new();
                self.each_of_exec(turn, commands, &mut |db, row, args| {
                    each.push((db, row, args.to_owned()));
                });
                for (db, row, args) in each {
                    let args = args.args();
                    let ran = match row.run {
                        Run::Data(_) => Ok(self.run_copied(turn, &mut copies, db, row, args)),
                        _ => self.run_eval_copied(turn, half, &mut copies, db, row, args),
                    };
                    match ran {
                        Ok(reply) => replies.push(reply),
                        Err(ran) => {
                            stopped = Some(*ran);
                            break;
                        }
                    }
                }
                if let Some(ran) = stopped {
                    return ran;
                }
            }
            What::Move(..) => unreachable!("ran above"),
        }
        self.plan_of_copies(turn, half, copies, replies)
    }

    /// Puts answers about records into one cache, whose log time is that of the shard that is ahead of the others.
    fn copies_of(
        &mut self,
        turn: Turn<'_>,
        half: &HalfGather,
        answers: &[Vec<u8>],
    ) -> Option<Copies> {
        let mut elements: Vec<&[u8]> = Vec::new();
        let mut log_ms = BTreeMap::new();
        for (answer, shard) in answers.iter().zip(half.names.keys()) {
            let (first, rest) = split_reply(split_array(answer)?)?;
            let its_ms = super::holes::integer_of(first)?;
            log_ms.insert(*shard, its_ms.max(0) as u64);
            elements.push(rest);
        }
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
        for ((shard, names), mut rest) in half.names.iter().zip(elements) {
            let behind_ms = now_ms - log_ms[shard];
            copies.behind_ms.insert(*shard, behind_ms);
            for name in names {
                let mut next = || {
                    let (element, after) = split_reply(rest)?;
                    rest = after;
                    bulk_of(element)
                };
                let (head, value, fingerprint) = (next()?, next()?, next()?);
                let fingerprint = u64::from_le_bytes(*fingerprint.first_chunk()?);
                if !effects::is_head(head) || effects::is_further(head) {
                    return None;
                }
                let mut head = effects::Head::from_slice(head);
                effects::shift_expiry(&mut head, behind_ms as i64);
                effects::put(&mut copies.cache, name.0, &name.1, &head, value).ok()?;
                let key = Key::new(turn.node.seed, name.0, &name.1);
                if let Some(fence) = copies.cache.fence(key) {
                    copies.fences.insert(name.clone(), fence);
                }
                copies.seen.push((*shard, name.clone(), fingerprint));
            }
        }
        // What is copied is no change.
        copies.cache.observe(true);
        Some(copies)
    }

    /// Runs a data command on copies; returns its reply.
    fn run_copied(
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
    fn run_eval_copied(
        &mut self,
        turn: Turn<'_>,
        half: &HalfGather,
        copies: &mut Copies,
        db: u8,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<Vec<u8>, Box<Ran>> {
        let found = self.script_of(turn, row, args);
        let (script, count, writes) = match found {
            Ok(found) => found,
            Err(refusal) => return Ok(format!("-{refusal}\r\n").into_bytes()),
        };
        let memory = match writes == Writes::Refused || self.has_room(turn, args) {
            true => Memory::Enough,
            false => Memory::Full,
        };
        let invocation = Invocation {
            script: &script,
            keys: args.iter().skip(3).take(count).collect(),
            args: args.iter().skip(3 + count).collect(),
        };
        self.run_script_copied(turn, half, copies, db, &invocation, (writes, memory))
    }

    /// Runs a script on copies; returns its reply, or what has to be done first.
    fn run_script_copied(
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
        for (key, entry) in changed {
            let key = Key::new(node.seed, db, &key);
            match entry {
                Some(entry) => copies.cache.put_entry(key, entry),
                None => {
                    copies.cache.remove(key);
                }
            }
        }
        copies.events.extend(events);
        copies.stamp = copies.stamp.of_op(1);
        Ok(reply)
    }

    /// What is to be done where, so that what was done to copies is done to the keys.
    fn plan_of_copies(
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
        let mut bytes = 0;
        for name in modified {
            let (db, key) = &name;
            let shard = turn.node.shard_of(key);
            assert!(
                half.names
                    .get(&shard)
                    .is_some_and(|names| names.contains(&name)),
                "a command changes its keys and no others"
            );
            let mut entry = copies.cache.copy(Key::new(turn.node.seed, *db, key));
            if let Some(entry) = &mut entry {
                // A lock that was changed is the same grant; one that came from elsewhere, and any collection, gets a number here.
                let is_same = entry.pin == Pin::Pinned
                    && copies.fences.get(&name).copied() == Some(entry.fence);
                if !is_same {
                    entry.fence = 0;
                }
            }
            let (mut head, value) = effects::of_entry(entry.as_ref());
            effects::shift_expiry(&mut head, -(copies.behind_ms[&shard] as i64));
            bytes += key.len() + value.len();
            let of_shard = effects.entry((shard, *db)).or_default();
            of_shard.extend([key.to_vec(), head, value]);
        }
        if bytes > RECORDS_BYTES_MAX {
            return Ran::Refused(format!("-{TOO_MUCH}\r\n").into_bytes());
        }
        for ((shard, db), triples) in effects {
            let triples: Vec<&[u8]> = triples.iter().map(Vec::as_slice).collect();
            let triples = OwnedArgs::from_slices(&triples);
            plan.add_operation(shard, self.operation(OpKind::Effects, db, triples.args()));
        }
        Ran::Did {
            plan,
            replies,
            events: copies.events,
        }
    }

    /// Carries out what was gathered and committed: tells of it, and answers.
    pub(super) fn end_gathered(
        &mut self,
        turn: Turn<'_>,
        gathered: Gathered,
        output: &mut Output,
    ) -> Step {
        let Gathered {
            half,
            replies,
            events,
        } = gathered;
        if !events.is_empty() {
            self.announce(turn, events, Vec::new());
        }
        match half.what {
            What::Exec { ref commands, .. } => {
                let mut replies = replies.iter();
                self.answer_exec(turn, commands, output, &mut |_, output| {
                    let reply = replies.next().expect("one for each command");
                    output.tail_mut().extend_from_slice(reply);
                })
            }
            _ => {
                let reply = replies.into_iter().next().unwrap_or_default();
                self.end_gather(turn, *half, &reply, output)
            }
        }
    }
}

/// One element from one shard to another.
impl Session {
    /// What a command moves; none if it is another command.
    pub(super) fn move_of(
        &self,
        turn: Turn<'_>,
        row: &'static Row,
        args: Args<'_>,
    ) -> Option<Move> {
        let is_left = |at: usize| args.get(at).eq_ignore_ascii_case(b"left");
        let list = match row.name {
            "lmove" | "blmove" => Some((is_left(3), is_left(4))),
            "rpoplpush" | "brpoplpush" => Some((false, true)),
            "smove" => None,
            _ => return None,
        };
        let (source, destination) = (args.get(1), args.get(2));
        let places = (turn.node.shard_of(source), turn.node.shard_of(destination));
        let type_of = (
            places.1,
            OwnedArgs::from_slices(&[b"TYPE", destination]),
        );
        let about_source = match list {
            Some((from_left, _)) => {
                let at: &[u8] = if from_left { b"0" } else { b"-1" };
                vec![OwnedArgs::from_slices(&[b"LINDEX", source, at])]
            }
            None => vec![
                OwnedArgs::from_slices(&[b"SISMEMBER", source, args.get(3)]),
                OwnedArgs::from_slices(&[b"EXISTS", source]),
            ],
        };
        let about_source = about_source.into_iter().map(|question| (places.0, question));
        let element = list.is_none().then(|| args.get(3));
        let words: Vec<&[u8]> = [source, destination].into_iter().chain(element).collect();
        Some(Move {
            db: self.db,
            source: places.0,
            destination: places.1,
            questions: about_source.chain([type_of]).collect(),
            list: list.map(|(from_left, to_left)| {
                let pop: &[u8] = if from_left { b"LPOP" } else { b"RPOP" };
                let push: &[u8] = if to_left { b"LPUSH" } else { b"RPUSH" };
                (pop, push)
            }),
            words: OwnedArgs::from_slices(&words),
        })
    }

    /// Begins to move an element, for `pop` if that waits for one.
    pub(super) fn begin_move(
        &mut self,
        turn: Turn<'_>,
        execute: Execute,
        args: Args<'_>,
        moved: Move,
        pop: Option<Box<HalfPop>>,
        output: &mut Output,
    ) -> Step {
        // What its own function has against the arguments it says of keys that are not there, too.
        let mut nowhere = Output::new();
        let call = self.call(turn, execute, args);
        self.run_nowhere(turn, call, &mut nowhere);
        let nowhere = nowhere.into_bytes();
        let what = What::Move(moved, pop);
        if nowhere.starts_with(b"-") {
            let half = HalfGather {
                what,
                names: BTreeMap::new(),
                condition: None,
                trying: Trying::new(turn),
                stage: Stage::Asking,
                undeclared_count: 0,
            };
            return self.end_gather(turn, half, &nowhere, output);
        }
        self.gather(turn, what, None, output)
    }

    /// The answers to a move's questions came.
    fn run_move(&self, moved: &Move, answers: &[Vec<u8>]) -> Ran {
        let (first, kind) = (&answers[0], &answers[answers.len() - 1]);
        if let Some(refusal) = answers.iter().find(|answer| answer.starts_with(b"-")) {
            return Ran::Refused(refusal.clone());
        }
        let is_missing = match moved.list {
            Some(_) => is_null(first),
            None => answers[1] == b":0\r\n",
        };
        if is_missing {
            return Ran::Nothing(first.clone());
        }
        let wanted: &[u8] = match moved.list {
            Some(_) => b"+list\r\n",
            None => b"+set\r\n",
        };
        if *kind != wanted && *kind != b"+none\r\n" {
            return Ran::Refused(format!("-{WRONG_TYPE}\r\n").into_bytes());
        }
        if moved.list.is_none() && first == b":0\r\n" {
            return Ran::Nothing(first.clone());
        }
        let mut plan = Plan::default();
        for ((shard, question), answer) in moved.questions.iter().zip(answers) {
            let read = self.operation(OpKind::Read, moved.db, question.args());
            let expect = OwnedArgs::from_slices(&[&read, answer]);
            let expect = self.operation(OpKind::Expect, moved.db, expect.args());
            plan.add_operation(*shard, expect);
        }
        let words = moved.words.args();
        let (source, destination) = (words.get(0), words.get(1));
        let (take, put) = match moved.list {
            Some((pop, push)) => {
                let Some(element) = bulk_of(first) else {
                    return Ran::Refused(format!("-{BROKEN}\r\n").into_bytes());
                };
                (
                    OwnedArgs::from_slices(&[pop, source]),
                    OwnedArgs::from_slices(&[push, destination, element]),
                )
            }
            None => (
                OwnedArgs::from_slices(&[b"SREM", source, words.get(2)]),
                OwnedArgs::from_slices(&[b"SADD", destination, words.get(2)]),
            ),
        };
        for (shard, command) in [(moved.source, take), (moved.destination, put)] {
            let row = commands::check(command.args()).expect("of a row");
            let operation = self.operation(kind_of(row), moved.db, command.args());
            plan.add_operation(shard, operation);
        }
        Ran::Did {
            plan,
            replies: vec![first.clone()],
            events: Events::new(),
        }
    }
}

impl HalfGather {
    fn questions_count(&self) -> usize {
        match &self.what {
            What::Move(moved, _) => moved.questions.len(),
            _ => self.names.len(),
        }
    }

    /// The pop that this is a try of, if it is one.
    pub fn pop(&self) -> Option<&HalfPop> {
        match &self.what {
            What::Move(_, pop) => pop.as_deref(),
            _ => None,
        }
    }
}

/// What a bulk string holds.
fn bulk_of(reply: &[u8]) -> Option<&[u8]> {
    let line_end = reply.iter().position(|byte| *byte == b'\r')?;
    let len = parse_i64(reply.strip_prefix(b"$")?.get(..line_end - 1)?)?;
    let start = line_end + 2;
    reply.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// Whether a row's keys have to be together.
pub(super) fn is_whole(row: &Row) -> bool {
    row.split == Split::Whole && !row.is_single_key()
}
