//! The requests of a batch that are looked at together, ahead of their execution: their rows, where their keys live,
//! and a hint to the CPU to load what they will touch, so that the waits for memory overlap.

use super::transaction::runs_script;
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

/// Where a key of a request lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its argument.
    pub position: u32,
    /// Its shard.
    pub shard: u32,
    /// Its hash ([`Key::hash`]).
    pub hash: u32,
}

/// Places of a request's keys, in the order of the arguments.
pub(super) type Places = SmallVec<[Place; 16]>;

/// A request with what was found out about it ahead of its turn.
#[derive(Clone, Copy)]
pub(super) struct Prepared {
    /// Its row; none if the request is refused for its name or number of arguments.
    pub row: Option<&'static Row>,
    /// Its keys' places, from here on in the window's.
    first_place: u32,
    /// How many; none if they are not known ahead.
    places_count: u32,
}

/// Some requests of a batch.
pub(super) struct Window {
    requests: SmallVec<[Prepared; REQUESTS_MAX]>,
    places: SmallVec<[Place; REQUESTS_MAX]>,
}

impl Window {
    /// An empty window.
    #[inline]
    pub fn new() -> Self {
        Window {
            requests: SmallVec::new(),
            places: SmallVec::new(),
        }
    }

    /// The requests, in order.
    pub fn requests(&self) -> &[Prepared] {
        &self.requests
    }

    /// Keys that are known of all of them.
    #[inline]
    pub fn keys_count(&self) -> u32 {
        self.places.len() as u32
    }

    /// Where the keys of one of them live; empty if it has none or they are not known ahead.
    #[inline]
    pub fn places(&self, request: Prepared) -> &[Place] {
        let first = request.first_place as usize;
        &self.places[first..first + request.places_count as usize]
    }
}

/// Where the keys of a request live. A command whose keys cannot be told refuses its arguments itself: it has none.
pub(super) fn places_of(node: &Node, row: &Row, args: Args<'_>) -> Places {
    let mut places = Places::new();
    push_places(node, row, args, &mut places);
    places
}

fn push_places<A: smallvec::Array<Item = Place>>(
    node: &Node,
    row: &Row,
    args: Args<'_>,
    places: &mut SmallVec<A>,
) {
    let mut positions = SmallVec::new();
    if commands::keys_of(row, args, &mut positions).is_ok() {
        for position in positions {
            places.push(place(node, args, position));
        }
    }
}

#[inline]
fn place(node: &Node, args: Args<'_>, position: usize) -> Place {
    let bytes = args.get(position);
    Place {
        position: position as u32,
        shard: node.shard_of(bytes) as u32,
        hash: Key::new(node.seed, 0, bytes).hash,
    }
}

impl Session {
    /// Has one key of a window counted, of which there is at least one: for whoever asks which are hot.
    #[cold]
    pub(super) fn sample_key(
        &self,
        turn: Turn<'_>,
        buffer: &[u8],
        batch: &Batch,
        first: usize,
        window: &Window,
    ) {
        let drawn = turn.node.host.random() % u64::from(window.keys_count());
        let is_behind = |request: &Prepared| u64::from(request.first_place) > drawn;
        let behind = window.requests.iter().position(is_behind);
        let request = behind.unwrap_or(window.requests.len()) - 1;
        let place = window.places[drawn as usize];
        let args = batch.args(buffer, first + request);
        let key = args.get(place.position as usize);
        turn.node
            .hot_keys
            .sample(self.db, place.hash, key, turn.now);
    }

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
        // Neighbours in a pipeline are mostly of one kind.
        let mut last: (&[u8], Option<&'static Row>) = (b"", None);
        for i in first..batch.len().min(first + REQUESTS_MAX) {
            if window.places.len() >= KEYS_MAX {
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
            let first_place = window.places.len();
            if let Some(row) = row
                && has_keys_here(row)
            {
                if row.is_single_key() {
                    window.places.push(place(node, args, 1));
                } else {
                    push_places(node, row, args, &mut window.places);
                }
            }
            window.requests.push(Prepared {
                row,
                first_place: first_place as u32,
                places_count: (window.places.len() - first_place) as u32,
            });
        }
        if window.places.len() >= KEYS_MIN {
            touch_ahead(node, self.db, &window.places);
        }
    }
}

/// Whether a request's keys are worth looking at ahead: those of data commands and of scripts.
#[inline]
fn has_keys_here(row: &Row) -> bool {
    match row.run {
        Run::Data(_) => true,
        Run::Session(command) => runs_script(command),
        Run::Later => false,
    }
}

/// Asks for the memory of all keys before the first of them is used, in two passes, the second of which needs
/// what the first asked for: index bucket, record. A shard that somebody else holds is passed over: it is not worth
/// a wait.
fn touch_ahead(node: &Node, db: u8, places: &[Place]) {
    // A request with very many keys would push the first out of the caches again.
    let places = &places[..places.len().min(2 * KEYS_MAX)];
    let key = |place: &Place| Key {
        db,
        hash: place.hash,
        bytes: b"",
    };
    // What another node is asked for is not touched here.
    let is_asked_here = |place: &&Place| node.answers_reads(place.shard as usize);
    for place in places.iter().filter(is_asked_here) {
        if let Some(shard) = node.try_lock(place.shard as usize) {
            shard.cache.touch_index(key(place));
        }
    }
    for place in places.iter().filter(is_asked_here) {
        if let Some(shard) = node.try_lock(place.shard as usize) {
            shard.cache.touch_entry(key(place));
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
