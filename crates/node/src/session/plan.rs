//! What a transaction over several shards does where, and how the replies of its commands are put together.

use super::window::Place;
use commands::{Row, Split};
use resp::{Args, Span};
use smallvec::SmallVec;

/// How the reply to one command is put together from what its shards answer.
#[derive(Debug)]
pub(super) enum How {
    /// The next reply of this part.
    One(usize),
    /// The sum of the next integers of these.
    Sum(Vec<usize>),
    /// OK, if all say so.
    AllOk(Vec<usize>),
    /// The elements of the next arrays of these, in the order of the keys.
    Gather {
        parts: Vec<usize>,
        order: Vec<usize>,
    },
}

/// What is to be done in one shard.
#[derive(Debug)]
pub(super) struct Part {
    pub shard: usize,
    /// Its operations, encoded.
    pub operations: Vec<Vec<u8>>,
}

/// A transaction over several shards: what is to be done where.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub parts: Vec<Part>,
    /// One for each command.
    pub replies: Vec<How>,
}

impl Plan {
    /// The shard and its operations, if there is but one.
    pub fn into_one(mut self) -> Result<(usize, Vec<Vec<u8>>), Plan> {
        match self.parts.len() {
            0 => Ok((0, Vec::new())),
            1 => Ok(self
                .parts
                .pop()
                .map(|part| (part.shard, part.operations))
                .expect("one")),
            _ => Err(self),
        }
    }

    /// The part of a shard.
    fn part(&mut self, shard: usize) -> usize {
        let found = self.parts.iter().position(|part| part.shard == shard);
        found.unwrap_or_else(|| {
            self.parts.push(Part {
                shard,
                operations: Vec::new(),
            });
            self.parts.len() - 1
        })
    }

    /// Adds what is done in a shard whatever the commands, or what refuses the transaction if it does not hold there.
    pub fn add_operation(&mut self, shard: usize, operation: Vec<u8>) {
        let part = self.part(shard);
        self.parts[part].operations.push(operation);
    }

    /// Adds a command. `places` are those of its keys; `encode` makes an operation of it, or of a part of it.
    ///
    /// # Errors
    /// It cannot be taken apart, and its keys live in several shards.
    pub fn add_command(
        &mut self,
        row: &Row,
        args: Args<'_>,
        places: &[Place],
        encode: &dyn Fn(Args<'_>) -> Vec<u8>,
    ) -> Result<(), NotSplit> {
        let first = places.first().map_or(0, |place| place.shard as usize);
        if places.iter().all(|place| place.shard as usize == first) {
            // One without keys refuses its arguments itself, on any shard.
            let shard = match (places.is_empty(), self.parts.first()) {
                (true, Some(part)) => part.shard,
                _ => first,
            };
            let part = self.part(shard);
            self.parts[part].operations.push(encode(args));
            self.replies.push(How::One(part));
            return Ok(());
        }
        let stride = (places[1].position - places[0].position) as usize;
        let last = places.iter().map(|place| place.position).max();
        let is_whole = last.unwrap_or(0) as usize + stride <= args.len();
        if row.split == Split::Whole || !is_whole {
            return Err(NotSplit);
        }
        let all = args.spans();
        let mut order = Vec::new();
        let mut split: Vec<(usize, SmallVec<[Span; 32]>)> = Vec::new();
        for place in places {
            let shard = place.shard as usize;
            let known = split.iter().position(|(other, _)| *other == shard);
            let at = known.unwrap_or_else(|| {
                split.push((shard, SmallVec::from_slice(&all[..1])));
                split.len() - 1
            });
            let position = place.position as usize;
            split[at]
                .1
                .extend_from_slice(&all[position..position + stride]);
            order.push(at);
        }
        let parts: Vec<usize> = split
            .iter()
            .map(|(shard, spans)| {
                let part = self.part(*shard);
                let operation = encode(Args::new(args.buffer(), spans));
                self.parts[part].operations.push(operation);
                part
            })
            .collect();
        self.replies.push(match row.split {
            Split::Sum => How::Sum(parts),
            Split::AllOk => How::AllOk(parts),
            Split::Gather => How::Gather { parts, order },
            Split::Whole => unreachable!("refused above"),
        });
        Ok(())
    }
}

/// A command cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSplit;

impl Plan {
    /// In the order in which shards are locked.
    pub fn sort(&mut self) {
        let mut places: Vec<usize> = (0..self.parts.len()).collect();
        places.sort_unstable_by_key(|at| self.parts[*at].shard);
        let mut moved_to = vec![0; places.len()];
        for (to, from) in places.iter().enumerate() {
            moved_to[*from] = to;
        }
        self.parts.sort_unstable_by_key(|part| part.shard);
        for how in &mut self.replies {
            match how {
                How::One(part) => *part = moved_to[*part],
                How::Sum(parts) | How::AllOk(parts) | How::Gather { parts, .. } => {
                    parts.iter_mut().for_each(|part| *part = moved_to[*part]);
                }
            }
        }
    }
}
