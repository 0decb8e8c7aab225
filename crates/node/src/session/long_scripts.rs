//! Scripts that take long on a node that is alone. Each is first run with its keys' shards locked, as short ones are. One that
//! is not through after 100 ms is stopped, which leaves nothing, and begun again on a thread of its own, with nothing
//! locked: on a copy of its keys, which takes effect if the keys are still what they were.
//!
//! So nobody waits for it, and SCRIPT KILL gets through.

use super::access::{Guards, held, lock_all};
use super::pending::Pending;
use super::{Session, Step, Turn};
use crate::client::ClientFlag;
use crate::group::Mode;
use crate::group::apply::fingerprint;
use crate::overlay::{Invocation, Memory, UNDECLARED_MAX, Writes};
use crate::scripts::Place;
use resp::{Output, OwnedArgs, Reply};
use script::Script;

/// How often a script is run whose keys others change meanwhile.
const RUNS_MAX: usize = 3;
/// What a client is told while too many scripts run: as Redis, which runs one.
const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// A script that is to run long.
pub(super) struct HalfScript {
    script: Script,
    /// Its keys, then its arguments.
    parts: OwnedArgs,
    keys_count: usize,
    writes: Writes,
    shards: Vec<usize>,
}

impl HalfScript {
    /// The script, to be begun again.
    pub fn new(invocation: &Invocation<'_>, writes: Writes, shards: Vec<usize>) -> HalfScript {
        let parts: Vec<&[u8]> = invocation
            .keys
            .iter()
            .chain(&invocation.args)
            .copied()
            .collect();
        HalfScript {
            script: invocation.script.clone(),
            parts: OwnedArgs::from_slices(&parts),
            keys_count: invocation.keys.len(),
            writes,
            shards,
        }
    }
}

impl Session {
    /// Has a script begun again where it may take its time.
    pub(super) fn run_long(&mut self, half: HalfScript) -> Step {
        self.pending = Some(Pending::LongScript(half));
        self.client.set(ClientFlag::Blocked);
        Step::Long
    }

    /// Runs it, on a thread that may be held up.
    pub(super) fn go_on_long(
        &mut self,
        turn: Turn<'_>,
        half: &HalfScript,
        output: &mut Output,
    ) -> Step {
        if let Err(refusal) = self.try_long(turn, half, output) {
            Reply::new(output, self.protocol).error(refusal);
        }
        Step::Done
    }

    fn try_long(
        &mut self,
        turn: Turn<'_>,
        half: &HalfScript,
        output: &mut Output,
    ) -> Result<(), &'static str> {
        let (node, shards) = (turn.node, &half.shards);
        let scripts = &node.cluster.scripts;
        let _right = scripts.begin_long().ok_or(BUSY)?;
        let args = half.parts.args();
        let invocation = Invocation {
            script: &half.script,
            keys: args.iter().take(half.keys_count).collect(),
            args: args.iter().skip(half.keys_count).collect(),
        };
        let mut undeclared: Vec<Box<[u8]>> = Vec::new();
        let mut runs = 0;
        while runs < RUNS_MAX {
            runs += 1;
            let has_room = half.writes == Writes::Refused || self.has_room(turn, args);
            let memory = match has_room {
                true => Memory::Enough,
                false => Memory::Full,
            };
            let turn = Turn {
                now: node.now(),
                ..turn
            };
            let mut guards = self.lock_alone(turn, shards)?;
            let how = (half.writes, memory, Place::Long);
            let given = invocation.with_keys(&undeclared);
            let overlay = self.overlay(turn, &given, how, shards, &mut guards);
            let before = self.contents(turn, &given, &mut guards);
            drop(guards);
            let verdict = overlay.run(&scripts.engine, &invocation);
            if let Some(key) = &verdict.missing
                && undeclared.len() < UNDECLARED_MAX
                && shards.contains(&node.shard_of(key))
            {
                undeclared.push(key.clone());
                runs -= 1;
                continue;
            }
            let turn = Turn {
                now: node.now(),
                ..turn
            };
            let mut changes = Vec::new();
            if !verdict.changed.is_empty() {
                let mut guards = self.lock_alone(turn, shards)?;
                self.tell_time(turn, shards, &mut guards);
                if self.contents(turn, &given, &mut guards) != before {
                    continue;
                }
                changes = self.commit(turn, &verdict, shards, &mut guards);
            }
            self.tell(turn, verdict, changes, output);
            if node.budget.missing() > 0 {
                node.relieve(turn.now);
            }
            return Ok(());
        }
        Err(
            "TRYAGAIN others changed the script's keys each time while it ran, nothing of what it did is left",
        )
    }

    /// Shards that nobody else holds, locked.
    fn lock_alone<'n>(&self, turn: Turn<'n>, shards: &[usize]) -> Result<Guards<'n>, &'static str> {
        let guards = lock_all(turn.node, shards);
        match guards
            .iter()
            .any(|(_, shard)| shard.mode() == Mode::Grouped)
        {
            true => Err("TRYAGAIN The shard's replicas are changing, please try again"),
            false => Ok(guards),
        }
    }

    /// Lets keys expire whose time has come.
    fn tell_time(&self, turn: Turn<'_>, shards: &[usize], guards: &mut Guards<'_>) {
        for &shard in shards {
            held(guards, shard).run_clock(turn.now);
        }
    }

    /// What the script's keys hold.
    fn contents(
        &self,
        turn: Turn<'_>,
        invocation: &Invocation<'_>,
        guards: &mut Guards<'_>,
    ) -> Vec<u64> {
        let keys = invocation.keys.iter();
        keys.map(|key| {
            let shard = held(guards, turn.node.shard_of(key));
            fingerprint(&shard.cache, self.db, key)
        })
        .collect()
    }
}
