//! TORC NODE, SHARD, PLAN, REBALANCE, CLUSTER FORGET and FAILOVER: what an operator has done to the cluster.

use super::access::Access;
use super::holes::Fill;
use super::{Session, Turn};
use crate::meta::{MetaAnswer, NoAnswer};
use crate::operate::{Insistence, Operation};
use commands::Row;
use resp::{Args, Output, Reply, parse_u64};

/// A request that says nothing that can be done.
enum Refusal {
    Syntax,
    Why(String),
}

impl Session {
    /// Has something done, and answers when the cluster has agreed on it.
    pub(super) fn operate(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &Access<'_>,
        output: &mut Output,
    ) {
        if access.is_held() {
            // It holds the shards that others need for agreeing.
            let text = "ERR the cluster is not changed inside a transaction";
            return Reply::new(output, self.protocol).error(text);
        }
        let command = operation_of(args).and_then(|operation| {
            let command = turn.node.operation(&operation, turn.now);
            command.map_err(Refusal::Why)
        });
        let command = match command {
            Ok(command) => command,
            Err(refusal) => {
                let text = match refusal {
                    Refusal::Syntax => "ERR syntax error".to_owned(),
                    Refusal::Why(why) => format!("ERR {why}"),
                };
                return Reply::new(output, self.protocol).error(&text);
            }
        };
        let row: &'static Row = commands::lookup(args.get(0)).expect("it was found by its name");
        let (slot, ticket) = self.open_slot();
        let done = Box::new(move |answer| ticket.fill(&answered(answer, "")));
        turn.node.change_cluster(command, done);
        self.open_hole(row, Fill::Reply(slot), output);
    }

    /// TORC PLAN [node weight …]
    pub(super) fn plan(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let plan = match weights_of(&words_from(args, 2)) {
            Some(weights) => turn.node.plan(&weights, turn.now),
            None => return reply.error("ERR syntax error"),
        };
        match plan {
            Ok(plan) => {
                let json = serde_json::to_string(&plan).expect("plain data is written to memory");
                reply.bulk(json.as_bytes());
            }
            Err(why) => reply.error(&format!("ERR {why}")),
        }
    }
}

/// The reply to what the cluster was to agree on; `before` goes ahead of why it did not.
pub(super) fn answered(answer: Result<MetaAnswer, NoAnswer>, before: &str) -> Vec<u8> {
    let reason = match answer {
        Ok(MetaAnswer::Done { .. } | MetaAnswer::Joined { .. }) => return b"+OK\r\n".to_vec(),
        Ok(MetaAnswer::Refused { reason }) => reason,
        Err(no_answer) => no_answer.to_string(),
    };
    format!("-ERR {before}{reason}\r\n").into_bytes()
}

fn operation_of(args: Args<'_>) -> Result<Operation<'_>, Refusal> {
    let word = |at: usize| args.get(at).to_ascii_lowercase();
    let container = word(0);
    let number = |at: usize| {
        let number = parse_u64(args.get(at)).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| Refusal::Why("value is not an integer or out of range".into()))
    };
    if container == b"cluster" {
        return match (word(1).as_slice(), args.len()) {
            (b"forget", 3) => Ok(Operation::Remove(args.get(2))),
            (b"failover", 2) => Ok(Operation::LeadAll),
            (b"failover", 3) if matches!(word(2).as_slice(), b"force" | b"takeover") => {
                Ok(Operation::LeadAll)
            }
            _ => Err(Refusal::Syntax),
        };
    }
    let sub = word(1);
    if sub == b"rebalance" {
        let (weights, insistence) = match &words_from(args, 2)[..] {
            [weights @ .., last] if last.eq_ignore_ascii_case(b"force") => {
                (weights_of(weights), Insistence::Force)
            }
            weights => (weights_of(weights), Insistence::Careful),
        };
        let weights = weights.ok_or(Refusal::Syntax)?;
        return Ok(Operation::Rebalance(weights, insistence));
    }
    match (sub.as_slice(), word(2).as_slice(), args.len()) {
        (b"node", b"drain", 4) => Ok(Operation::Drain(args.get(3), Insistence::Careful)),
        (b"node", b"drain", 5) if word(4) == b"force" => {
            Ok(Operation::Drain(args.get(3), Insistence::Force))
        }
        (b"node", b"remove", 4) => Ok(Operation::Remove(args.get(3))),
        (b"node", b"weight", 5) => {
            let careful = Insistence::Careful;
            Ok(Operation::Weigh(args.get(3), number(4)?, careful))
        }
        (b"node", b"weight", 6) if args.get(5).eq_ignore_ascii_case(b"force") => {
            let force = Insistence::Force;
            Ok(Operation::Weigh(args.get(3), number(4)?, force))
        }
        (b"node", b"zone", 5) => Ok(Operation::Zone(args.get(3), args.get(4))),
        (b"shard", b"move", 6) => Ok(Operation::Move {
            shard: number(3)?,
            from: args.get(4),
            to: args.get(5),
        }),
        (b"shard", b"lead", 5) => Ok(Operation::Lead(number(3)?, args.get(4))),
        _ => Err(Refusal::Syntax),
    }
}

fn words_from(args: Args<'_>, first: usize) -> Vec<&[u8]> {
    (first..args.len()).map(|at| args.get(at)).collect()
}

/// Pairs of node and weight.
fn weights_of<'a>(words: &[&'a [u8]]) -> Option<Vec<(&'a [u8], u32)>> {
    let (pairs, rest) = words.as_chunks();
    let weight_of = |[node, weight]: &[&'a [u8]; 2]| {
        let weight = u32::try_from(parse_u64(weight)?).ok()?;
        Some((*node, weight))
    };
    rest.is_empty()
        .then(|| pairs.iter().map(weight_of).collect())?
}
