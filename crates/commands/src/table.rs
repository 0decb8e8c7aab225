//! The command table's types and the look-up of a row by name.

use crate::{Context, dump, expire, key, object, server, sort, string};
use resp::{Args, Reply};

/// A data command's function. It never fails: an error is a reply.
pub type Execute = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>);

/// One command (or subcommand).
#[derive(Debug)]
pub struct Row {
    /// Lower case; a subcommand's own name without its parent's.
    pub name: &'static str,
    /// As Redis counts: the command's name included; negative = at least.
    pub arity: i16,
    /// Behaviour, or-ed [`Flags`].
    pub flags: Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// ACL categories beyond those that follow from the flags, or-ed [`Category`].
    pub categories: Category,
    /// Family, for COMMAND DOCS.
    pub group: Group,
    /// Version of Redis that has it.
    pub since: &'static str,
    /// One sentence, for COMMAND DOCS.
    pub summary: &'static str,
    /// Big-O, for COMMAND DOCS.
    pub complexity: &'static str,
    /// How it is split when its keys live in several shards.
    pub split: Split,
    /// What runs it.
    pub run: Run,
    /// Its subcommands, if it is a container.
    pub subcommands: &'static [Row],
}

/// What runs a command.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// A function on the keyspace, in this crate.
    Data(Execute),
    /// Concerns a connection or the node; `node` runs it.
    Session(Session),
    /// Named by Redis, not built yet: answers an error that says so.
    Later,
}

/// Splitting of a command over shards, by its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Runs whole, on all its shards locked together.
    Whole,
    /// Per shard; the integers are added (DEL, UNLINK, EXISTS, TOUCH).
    Sum,
    /// Per shard; the replies' elements are put back in the order of the keys (MGET).
    Gather,
    /// Per shard; every part answers OK (MSET).
    AllOk,
}

/// Behaviour of a command: Redis's command flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u32);

#[allow(missing_docs)] // The names are Redis's own (redis.io/docs/latest/commands/command, "Flags").
impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1 << 0);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const PUBSUB: Flags = Flags(1 << 4);
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    pub const BLOCKING: Flags = Flags(1 << 6);
    pub const LOADING: Flags = Flags(1 << 7);
    pub const STALE: Flags = Flags(1 << 8);
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    pub const ASKING: Flags = Flags(1 << 11);
    pub const FAST: Flags = Flags(1 << 12);
    pub const NO_AUTH: Flags = Flags(1 << 13);
    pub const MAY_REPLICATE: Flags = Flags(1 << 14);
    pub const NO_MULTI: Flags = Flags(1 << 15);
    pub const MOVABLE_KEYS: Flags = Flags(1 << 16);
    pub const ALLOW_BUSY: Flags = Flags(1 << 17);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 18);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 19);

    /// Both.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` is in here.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// ACL categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Category(pub u32);

#[allow(missing_docs)] // The names are Redis's own (redis.io, "ACL", command categories).
impl Category {
    pub const NONE: Category = Category(0);
    pub const KEYSPACE: Category = Category(1 << 0);
    pub const READ: Category = Category(1 << 1);
    pub const WRITE: Category = Category(1 << 2);
    pub const SET: Category = Category(1 << 3);
    pub const SORTEDSET: Category = Category(1 << 4);
    pub const LIST: Category = Category(1 << 5);
    pub const HASH: Category = Category(1 << 6);
    pub const STRING: Category = Category(1 << 7);
    pub const BITMAP: Category = Category(1 << 8);
    pub const HYPERLOGLOG: Category = Category(1 << 9);
    pub const GEO: Category = Category(1 << 10);
    pub const STREAM: Category = Category(1 << 11);
    pub const PUBSUB: Category = Category(1 << 12);
    pub const ADMIN: Category = Category(1 << 13);
    pub const FAST: Category = Category(1 << 14);
    pub const SLOW: Category = Category(1 << 15);
    pub const BLOCKING: Category = Category(1 << 16);
    pub const DANGEROUS: Category = Category(1 << 17);
    pub const CONNECTION: Category = Category(1 << 18);
    pub const TRANSACTION: Category = Category(1 << 19);
    pub const SCRIPTING: Category = Category(1 << 20);

    /// Both.
    pub const fn and(self, other: Category) -> Category {
        Category(self.0 | other.0)
    }
}

/// Family of a command: `group` of COMMAND DOCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Redis's own.
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
}

/// One range of keys in a command's arguments, as Redis's key specifications have it.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: BeginSearch,
    /// How the keys follow from there.
    pub find: FindKeys,
    /// What is done to them.
    pub access: KeyAccess,
}

/// `begin_search` of a key specification.
#[derive(Clone, Copy, Debug)]
pub enum BeginSearch {
    /// At this argument.
    Index(u8),
    /// After this keyword, searched from argument `from` (negative: from the end).
    Keyword {
        /// The keyword, upper case.
        keyword: &'static str,
        /// First argument looked at.
        from: i8,
    },
    /// Cannot be told from the arguments alone (SORT … GET).
    Unknown,
}

/// `find_keys` of a key specification.
#[derive(Clone, Copy, Debug)]
pub enum FindKeys {
    /// From there to `last` (relative; negative: from the end of the arguments) in steps.
    Range {
        /// Relative to the beginning; negative counts from the last argument (-1).
        last: i8,
        /// Distance between keys.
        step: u8,
        /// As Redis: 0 or 1 no limit, 2 = half of the rest …
        limit: u8,
    },
    /// A count of keys, then the keys.
    KeyNum {
        /// Relative position of the count.
        count_at: u8,
        /// Relative position of the first key.
        first: u8,
        /// Distance between keys.
        step: u8,
    },
    /// Cannot be told.
    Unknown,
}

/// What a command does to a key: the flags of a key specification, or-ed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAccess(pub u16);

#[allow(missing_docs)] // The names are Redis's own.
impl KeyAccess {
    pub const RO: KeyAccess = KeyAccess(1 << 0);
    pub const RW: KeyAccess = KeyAccess(1 << 1);
    pub const OW: KeyAccess = KeyAccess(1 << 2);
    pub const RM: KeyAccess = KeyAccess(1 << 3);
    pub const ACCESS: KeyAccess = KeyAccess(1 << 4);
    pub const UPDATE: KeyAccess = KeyAccess(1 << 5);
    pub const INSERT: KeyAccess = KeyAccess(1 << 6);
    pub const DELETE: KeyAccess = KeyAccess(1 << 7);
    pub const NOT_KEY: KeyAccess = KeyAccess(1 << 8);
    pub const INCOMPLETE: KeyAccess = KeyAccess(1 << 9);
    pub const VARIABLE_FLAGS: KeyAccess = KeyAccess(1 << 10);

    /// Both.
    pub const fn and(self, other: KeyAccess) -> KeyAccess {
        KeyAccess(self.0 | other.0)
    }
}

/// One key at argument 1.
pub const fn first_key(access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(1),
        find: FindKeys::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        access,
    }
}

/// Commands that `node` runs: they concern a connection, the node or the walk over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // One variant a command, named as it.
pub enum Session {
    // connection
    Auth,
    Client,
    Echo,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
    // transactions
    Discard,
    Exec,
    Multi,
    Unwatch,
    Watch,
    // publish/subscribe
    Psubscribe,
    Publish,
    Pubsub,
    Punsubscribe,
    Spublish,
    Ssubscribe,
    Subscribe,
    Sunsubscribe,
    Unsubscribe,
    // walks over all shards
    Dbsize,
    Flushall,
    Flushdb,
    Keys,
    Randomkey,
    Scan,
    // server
    Acl,
    Bgrewriteaof,
    Bgsave,
    Cluster,
    Command,
    Config,
    Debug,
    Info,
    Lastsave,
    Latency,
    Lolwut,
    Memory,
    Module,
    Monitor,
    Replconf,
    Replicaof,
    Role,
    Save,
    Shutdown,
    Slowlog,
    Swapdb,
    Sync,
    Time,
    Wait,
    Waitaof,
    Readonly,
    Readwrite,
    Asking,
    Failover,
    Migrate,
    Move,
}

/// All families, in the order of COMMAND's replies.
pub fn families() -> [&'static [Row]; 7] {
    [
        string::ROWS,
        key::ROWS,
        expire::ROWS,
        object::ROWS,
        sort::ROWS,
        dump::ROWS,
        server::ROWS,
    ]
}

/// The row of a command by its name in any case, or none.
pub fn lookup(name: &[u8]) -> Option<&'static Row> {
    families()
        .into_iter()
        .flatten()
        .find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}
