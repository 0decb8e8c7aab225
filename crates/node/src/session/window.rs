//! The requests of a batch that are looked at together, ahead of their execution: their rows, where their keys live,
//! and a hint to the CPU to load what they will touch, so that the waits for memory overlap.

use super::{Session, Turn};
use crate::node::Node;
use cache::Key;
use commands::{Row, Run};
use resp::{Args, Batch};
use smallvec::SmallVec;

/// Requests of one window.
pub(super) const REQUESTS_MAX: usize = 32;
/// Keys that are touched ahead for one window.
const KEYS_MAX: usize = 128;
/// Fewer keys than this are not worth passes of their own.
const KEYS_MIN: usize = 3;

/// A request with what was found out about it ahead of its turn.
#[derive(Clone, Copy)]
pub(super) struct Prepared {
    /// Its row; none if the request is refused for its name or number of arguments.
    pub row: Option<&'static Row>,
    /// Shard and hash of its only key.
    pub place: Option<(u32, u32)>,
}

pub(super) type Window = SmallVec<[Prepared; REQUESTS_MAX]>;
type Touches<'a> = SmallVec<[(u32, Key<'a>); REQUESTS_MAX]>;

impl Session {
    /// Looks at the requests from `first` on, as many as make a window.
    pub(super) fn look_ahead(
        &self,
        turn: Turn<'_>,
        buffer: &[u8],
        batch: &Batch,
        first: usize,
        window: &mut Window,
    ) {
        let node = turn.node;
        let mut touches = Touches::new();
        // Neighbours in a pipeline are mostly of one kind.
        let mut last: (&[u8], Option<&'static Row>) = (b"", None);
        for i in first..batch.len().min(first + REQUESTS_MAX) {
            if touches.len() >= KEYS_MAX {
                break;
            }
            let args = batch.args(buffer, i);
            let row = match last {
                (name, Some(row)) if name == args.get(0) && row.takes(args.len()) => Some(row),
                _ => {
                    let row = commands::check(args).ok();
                    // A subcommand's row says nothing of the next request of the same first word.
                    if let Some(row) = row
                        && row.subcommands.is_empty()
                        && row.parent().is_none()
                    {
                        last = (args.get(0), Some(row));
                    }
                    row
                }
            };
            let mut prepared = Prepared { row, place: None };
            if let Some(row) = row {
                if row.is_single_key() && matches!(row.run, Run::Data(_)) {
                    let key = Key::new(node.seed, self.db, args.get(1));
                    let shard = node.shard_of(key.bytes) as u32;
                    prepared.place = Some((shard, key.hash));
                    touches.push((shard, key));
                } else if matches!(row.run, Run::Data(_)) {
                    self.touch_all(node, row, args, &mut touches);
                }
            }
            window.push(prepared);
        }
        if touches.len() >= KEYS_MIN {
            touch_ahead(node, &touches);
        }
    }

    fn touch_all<'a>(&self, node: &Node, row: &Row, args: Args<'a>, touches: &mut Touches<'a>) {
        let mut positions = SmallVec::new();
        if commands::keys_of(row, args, &mut positions).is_ok() {
            for &position in positions.iter().take(KEYS_MAX) {
                let key = Key::new(node.seed, self.db, args.get(position));
                touches.push((node.shard_of(key.bytes) as u32, key));
            }
        }
    }
}

/// Asks for the memory of all keys before the first of them is used, in two passes, the second of which needs
/// what the first asked for: index bucket, record. A shard that somebody else holds is passed over: it is not worth
/// a wait.
fn touch_ahead(node: &Node, keys: &[(u32, Key<'_>)]) {
    for &(shard, key) in keys {
        if let Some(shard) = node.try_lock(shard as usize) {
            shard.cache.touch_index(key);
        }
    }
    for &(shard, key) in keys {
        if let Some(shard) = node.try_lock(shard as usize) {
            shard.cache.touch_entry(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Client, node};

    #[test]
    fn neighbours_with_one_first_word_run_each_their_own_subcommand() {
        // Breaks if the row that was found for OBJECT ENCODING is taken for the OBJECT REFCOUNT behind it.
        let (node, _) = node();
        let mut client = Client::new(&node);
        let requests = [
            "SET a x",
            "OBJECT ENCODING a",
            "OBJECT REFCOUNT a",
            "OBJECT IDLETIME a",
        ];
        assert_eq!(client.pipeline(&requests), "+OK $6 embstr :1 :0");
    }
}
