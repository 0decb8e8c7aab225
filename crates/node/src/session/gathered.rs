//! What cannot be taken apart, with keys in several shards of which one has replicas: RENAME, COPY, BITOP, SUNIONSTORE and kin,
//! scripts, EXEC with one of these in it. What the keys hold is brought together here, the commands run on copies, and what
//! they left is a transaction (`over_shards`) that goes through only if the keys still hold what was read: optimistic
//! concurrency control (Kung, Robinson, "On Optimistic Methods for Concurrency Control", TODS 1981), validated under the
//! keys' reservations.
//!
//! ```text
//!   asking ──all keys' records──▶ run on copies ──▶ transaction of checks and effects ──▶ the reply
//!     ▲                              │ a script wants more keys         │ a key was changed in between
//!     └────── holding the keys ◀─────┴────── backing off ◀──────────────┘
//! ```
//!
//! The first try is without locks; those behind it hold the keys (`hold`), so that no number of single writes starves them.
//!
//! That costs the length of the values. What moves one element (LMOVE, SMOVE …) asks for that one instead, and its
//! transaction expects it to be there still: others may change the rest of a long queue meanwhile.

use super::hold::Hold;
use super::moved::Move;
use super::over_shards::{Goal, TOO_BUSY, Trying, error_of, is_apart, shards_of};
use super::pending::Pending;
use super::plan::Plan;
use super::popping::HalfPop;
use super::records::{Records, Told, asked_of};
use super::transaction::{Seen, Watch};
use super::window::places_of;
use super::{Session, Step, Turn};
use crate::group::transact::GONE;
use crate::group::{OpKind, each_key_of};
use crate::overlay::{Invocation, Memory, Writes, looks_beyond_keys};
use crate::questions::TOO_MUCH;
use crate::shard::Events;
use commands::{Execute, Flags, Row, Run, Split};
use resp::{Args, Output, OwnedArgs, Reply};
use script::Script;
use std::collections::{BTreeMap, BTreeSet};

/// What is said of an answer that is none.
pub(super) const BROKEN: &str = "ERR a shard's answer cannot be read";
/// What is said of SORT with patterns, whose keys nobody can tell ahead.
const PATTERNS: &str = "CROSSSLOT SORT with BY or GET patterns cannot be used with keys of other shards (give them one {hash tag})";
/// What is said of LOCK commands: there is more to a lock than the key's record.
const LOCKS: &str = "CROSSSLOT LOCK commands cannot be in one MULTI with scripts, or with a command that has keys in several shards";

/// A key in its numbered database.
pub(super) type Name = (u8, Box<[u8]>);

/// Something that needs the records of several shards.
pub(super) struct HalfGather {
    pub what: What,
    /// By shard, the keys whose records it needs; of a [`What::Move`] none.
    pub names: BTreeMap<usize, BTreeSet<Name>>,
    /// By shard, the keys of which it need only know whether they changed.
    pub watched: BTreeMap<usize, BTreeSet<Name>>,
    /// What is known of both.
    pub records: Records,
    /// What else refuses the transaction: its shard, and an operation.
    pub condition: Option<(usize, Vec<u8>)>,
    pub trying: Trying,
    /// Its keys, from its second try on.
    pub hold: Option<Hold>,
    stage: Stage,
    /// Of a script, how many keys were added.
    pub undeclared_count: usize,
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
pub(super) enum Ran {
    /// The client is told.
    Refused(Vec<u8>),
    /// Values are longer than what is told unasked: they are asked for.
    Asks,
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
        if !is_apart(turn, shards_of(&places)) {
            return None;
        }
        if let Some(refusal) = self.lacks_room(turn, row, args) {
            Reply::new(output, self.protocol).error(refusal);
            return Some(Step::Done);
        }
        self.remember_reads_ahead(turn, [(row, args)].into_iter());
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
        if let Some(refusal) = self.not_on_copies(turn, &what) {
            Reply::new(output, self.protocol).error(refusal);
            return Step::Done;
        }
        let mut names: BTreeMap<usize, BTreeSet<Name>> = BTreeMap::new();
        let mut watched: BTreeMap<usize, BTreeSet<Name>> = BTreeMap::new();
        let mut add = |db: u8, key: &[u8]| {
            let of_shard = names.entry(turn.node.shard_of(key)).or_default();
            of_shard.insert((db, key.into()));
        };
        match &what {
            What::Command(_, args) => each_key_of(self.db, args.args(), &mut add),
            What::Exec { commands, watches } => {
                for watch in watches {
                    let of_shard = watched.entry(watch.shard).or_default();
                    of_shard.insert((watch.db, watch.key.clone()));
                }
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
        let mut half = HalfGather::new(turn, what, names, condition);
        half.watched = watched;
        self.wait_alone(turn, Pending::Gather(Box::new(half)), output)
    }

    /// Why something cannot run on copies of its keys' records, if it cannot.
    fn not_on_copies(&self, turn: Turn<'_>, what: &What) -> Option<&'static str> {
        let is_sort = |row: &Row| matches!(row.name, "sort" | "sort_ro");
        match what {
            What::Command(row, args) if is_sort(row) && looks_beyond_keys(row, args.args()) => {
                Some(PATTERNS)
            }
            What::Exec { commands, .. } => {
                let mut refusal = None;
                self.each_of_exec(turn, commands, &mut |_, row, args| {
                    if is_sort(row) && looks_beyond_keys(row, args) {
                        refusal = Some(PATTERNS);
                    } else if row.name.starts_with("lock.") {
                        refusal = Some(LOCKS);
                    }
                });
                refusal
            }
            _ => None,
        }
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
                Stage::BackingOff { .. } if half.hold.is_none() && !half.trying.is_first() => {
                    return self.begin_hold(turn, half, output);
                }
                Stage::BackingOff { .. } => {
                    if let Err(refusal) = self.ask_for_records(turn, &half) {
                        self.void_tickets();
                        return self.end_gather(turn, *half, &error_of(&refusal), output);
                    }
                    half.stage = Stage::Asking;
                }
                Stage::Asking => {
                    let Some(answers) = self.take_answers(half.questions_count()) else {
                        self.pending = Some(Pending::Gather(half));
                        return Step::Replies;
                    };
                    if answers.iter().any(|answer| answer == GONE) {
                        let trying = half.trying;
                        return self.gather_again(turn, half, trying, output);
                    }
                    let ran = self.run_on_copies(turn, &mut half, &answers);
                    match ran {
                        Ran::Refused(reply) => {
                            return self.end_gather(turn, *half, &reply, output);
                        }
                        Ran::Asks => half.stage = Stage::BackingOff { until_us: 0 },
                        Ran::Lacks(shard, name) => {
                            half.undeclared_count += 1;
                            half.names.entry(shard).or_default().insert(name);
                            self.let_go(turn, &mut half);
                            half.stage = Stage::BackingOff { until_us: 0 };
                        }
                        Ran::Nothing(reply) => {
                            self.let_go(turn, &mut half);
                            return match half.what {
                                What::Move(_, Some(pop)) => {
                                    self.wait_after_move(turn, pop, reply, output)
                                }
                                _ => self.end_gather(turn, *half, &reply, output),
                            };
                        }
                        Ran::Did {
                            mut plan,
                            replies,
                            events,
                        } => {
                            if let Some(hold) = &half.hold {
                                self.add_take_over(hold, &mut plan);
                            }
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

    /// A key was changed before the transaction had it, or another transaction has it: all is read and run again, unless that
    /// was tried for long enough, as `trying` says.
    pub(super) fn gather_again(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfGather>,
        trying: Trying,
        output: &mut Output,
    ) -> Step {
        self.let_go(turn, &mut half);
        if trying.is_over(turn) || half.pop().is_some_and(|pop| pop.is_late(turn)) {
            return self.leave_move(turn, half, output);
        }
        half.trying = trying;
        half.stage = Stage::BackingOff {
            until_us: trying.back_off_until_us(turn),
        };
        self.wait_alone(turn, Pending::Gather(half), output)
    }

    /// All keys are held: asks anew, for the last time.
    pub(super) fn ask_again(
        &mut self,
        turn: Turn<'_>,
        mut half: Box<HalfGather>,
        output: &mut Output,
    ) -> Step {
        half.stage = Stage::BackingOff { until_us: 0 };
        self.wait_alone(turn, Pending::Gather(half), output)
    }

    /// Others were there first, again and again, or the time of a pop is over: it waits on, or has its answer; others are told.
    fn leave_move(&mut self, turn: Turn<'_>, half: Box<HalfGather>, output: &mut Output) -> Step {
        if let What::Move(_, Some(pop)) = half.what {
            let mut null = Output::new();
            Reply::new(&mut null, self.protocol).null_array();
            return self.wait_after_move(turn, pop, null.into_bytes().to_vec(), output);
        }
        self.end_gather(turn, *half, &error_of(TOO_BUSY), output)
    }

    /// Whoever asked is told.
    pub(super) fn end_gather(
        &mut self,
        turn: Turn<'_>,
        mut half: HalfGather,
        reply: &[u8],
        output: &mut Output,
    ) -> Step {
        self.let_go(turn, &mut half);
        if let What::Move(_, Some(pop)) = half.what {
            return self.end_pop(turn, *pop, reply, output);
        }
        output.tail_mut().extend_from_slice(reply);
        Step::Done
    }

    fn ask_for_records(&mut self, turn: Turn<'_>, half: &HalfGather) -> Result<(), String> {
        if let What::Move(moved, _) = &half.what {
            for (shard, question) in &moved.questions {
                self.ask_read(turn, (*shard, moved.db), half.hold.as_ref(), question)?;
            }
        }
        for (shard, keys) in asked_of(&half.names, &half.watched) {
            let question = half.records.question(&keys);
            self.ask_held(turn, (shard, self.db), half.hold.as_ref(), &question)?;
        }
        turn.node.request_flush();
        Ok(())
    }

    /// Asks whoever leads a shard what a command that reads answers.
    fn ask_read(
        &mut self,
        turn: Turn<'_>,
        (shard, db): (usize, u8),
        hold: Option<&Hold>,
        read: &OwnedArgs,
    ) -> Result<(), String> {
        let as_read = (OpKind::Read, self.op_flags(self.touch), read);
        if let Some(held) = self.as_held(turn, (shard, db), hold, as_read) {
            self.ask(turn, shard, db, &held)?;
            return Ok(());
        }
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
    fn run_on_copies(&mut self, turn: Turn<'_>, half: &mut HalfGather, answers: &[Vec<u8>]) -> Ran {
        if let What::Move(moved, _) = &half.what {
            return self.run_move(moved, answers);
        }
        if let Some(refusal) = answers.iter().find(|answer| answer.starts_with(b"-")) {
            return Ran::Refused(refusal.clone());
        }
        let asked = asked_of(&half.names, &half.watched);
        match half.records.take(&asked, answers) {
            None => return Ran::Refused(error_of(BROKEN)),
            Some(Told::TooMuch) => return Ran::Refused(error_of(TOO_MUCH)),
            Some(Told::Lengths) => return Ran::Asks,
            Some(Told::All) => {}
        }
        let half = &*half;
        let Some(mut copies) = self.copies_of(turn, half) else {
            return Ran::Refused(error_of(BROKEN));
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

impl HalfGather {
    /// To be asked for.
    pub fn new(
        turn: Turn<'_>,
        what: What,
        names: BTreeMap<usize, BTreeSet<Name>>,
        condition: Option<(usize, Vec<u8>)>,
    ) -> HalfGather {
        HalfGather {
            what,
            names,
            watched: BTreeMap::new(),
            records: Records::default(),
            condition,
            trying: Trying::new(turn),
            hold: None,
            stage: Stage::BackingOff { until_us: 0 },
            undeclared_count: 0,
        }
    }

    /// Whether it is refused where keys grow and there is no memory.
    pub fn needs_memory(&self) -> bool {
        let row_does = |row: &Row| row.flags.has(Flags::DENYOOM);
        match &self.what {
            What::Command(row, _) => row_does(row),
            What::Exec { commands, .. } => commands
                .iter()
                .any(|(row, _)| row_does(row) || matches!(row.run, Run::Session(_))),
            What::Script(eval) => eval.writes == Writes::Allowed,
            What::Move(..) => false,
        }
    }

    fn questions_count(&self) -> usize {
        match &self.what {
            What::Move(moved, _) => moved.questions.len(),
            _ => asked_of(&self.names, &self.watched).len(),
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

/// Whether a row's keys have to be together.
pub(super) fn is_whole(row: &Row) -> bool {
    row.split == Split::Whole && !row.is_single_key()
}
