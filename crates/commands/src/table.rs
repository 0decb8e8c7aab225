//! The command table's types: what is known of a command before it runs.

use crate::blocking::Blocks;
use crate::{Category, Context, Flags, KeySpec};
use crate::{
    cluster, connection, dump, expire, hash, key, later, list, lock, object, pubsub, replication,
    scripting, server, set, sort, sorted_set, stream, string, transactions, walks,
};
use resp::{Args, Reply};
use std::borrow::Cow;

pub use crate::keyspec::{BeginSearch, FindKeys, first_key};

/// A data command's function. It never fails: an error is a reply.
pub type Execute = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>);

/// One command (or subcommand).
#[derive(Clone, Copy, Debug)]
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
    /// How long a request may want to wait, if the command can block; given its arguments, its name at 0.
    pub patience: Option<fn(Args<'_>) -> Option<Patience>>,
    /// How the command waits for a collection to have something in it, if it does.
    pub blocks: Option<Blocks>,
    /// Its subcommands, if it is a container.
    pub subcommands: &'static [Row],
}

impl Row {
    /// What a row says unless it says otherwise: no key, no flag, and not built.
    pub(crate) const BLANK: Row = Row {
        name: "",
        arity: 0,
        flags: Flags::NONE,
        keys: &[],
        categories: Category::NONE,
        group: Group::Generic,
        since: "",
        summary: "",
        complexity: "",
        split: Split::Whole,
        run: Run::Later,
        patience: None,
        blocks: None,
        subcommands: &[],
    };

    /// A command that `node` runs.
    pub const fn session(name: &'static str, arity: i16, group: Group, session: Session) -> Row {
        Row {
            name,
            arity,
            group,
            categories: group.category(),
            run: Run::Session(session),
            ..Row::BLANK
        }
    }

    /// A command with subcommands, which `node` runs. Of no category of its own: its subcommands are.
    pub const fn container(
        name: &'static str,
        group: Group,
        session: Session,
        subcommands: &'static [Row],
    ) -> Row {
        Row {
            name,
            arity: -2,
            group,
            complexity: "That of the subcommand.",
            run: Run::Session(session),
            subcommands,
            ..Row::BLANK
        }
    }

    /// A command of Redis's that is not built yet. It has no documentation: nobody is told of it but
    /// who asks for it.
    pub const fn later(name: &'static str, arity: i16, group: Group, since: &'static str) -> Row {
        Row {
            name,
            arity,
            group,
            categories: group.category(),
            since,
            ..Row::BLANK
        }
    }

    /// With these flags.
    pub const fn flags(self, flags: Flags) -> Row {
        Row { flags, ..self }
    }

    /// With these keys.
    pub const fn keys(self, keys: &'static [KeySpec]) -> Row {
        Row { keys, ..self }
    }

    /// With these categories beyond those that follow from the flags, in place of its group's.
    pub const fn categories(self, categories: Category) -> Row {
        Row { categories, ..self }
    }

    /// With its documentation: the version that has it, a sentence, and what it costs.
    pub const fn docs(
        self,
        since: &'static str,
        summary: &'static str,
        complexity: &'static str,
    ) -> Row {
        Row {
            since,
            summary,
            complexity,
            ..self
        }
    }

    /// With its documentation, where the cost is said already.
    pub const fn summary(self, since: &'static str, summary: &'static str) -> Row {
        Row {
            since,
            summary,
            ..self
        }
    }

    /// With these subcommands.
    pub const fn subcommands(self, subcommands: &'static [Row]) -> Row {
        Row {
            subcommands,
            ..self
        }
    }

    /// Whether a request of `args_count` arguments, the name included, fits.
    #[inline]
    pub const fn takes(&self, args_count: usize) -> bool {
        if self.arity >= 0 {
            args_count == self.arity as usize
        } else {
            args_count >= self.arity.unsigned_abs() as usize
        }
    }

    /// Its only key is argument 1, whatever the others are: the most common commands by far, which need no
    /// search for their keys.
    #[inline]
    pub const fn is_single_key(&self) -> bool {
        match self.keys {
            [spec] => spec.is_first_argument(),
            _ => false,
        }
    }

    /// Whether this version of Torc runs it.
    pub const fn is_built(&self) -> bool {
        !matches!(self.run, Run::Later)
    }

    /// All its ACL categories: those written in the row and those that follow from its flags.
    pub const fn all_categories(&self) -> Category {
        Category::implied(self.flags, self.categories)
    }

    /// `set`, `client|kill`: the name that errors, statistics and `COMMAND INFO` use.
    pub fn full_name(&'static self) -> Cow<'static, str> {
        match self.parent() {
            Some(parent) => Cow::Owned(format!("{}|{}", parent.name, self.name)),
            None => Cow::Borrowed(self.name),
        }
    }
}

/// What a request wants that may be answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long it waits, ms; 0 = as long as it takes, none = not at all.
    pub wait_ms: Option<u64>,
    /// Whether what it gets hangs on its connection.
    pub is_session: bool,
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

impl Group {
    /// As COMMAND DOCS names it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }

    /// The ACL category that nearly all commands of the group are in.
    const fn category(self) -> Category {
        match self {
            Group::Generic => Category::KEYSPACE,
            Group::String => Category::STRING,
            Group::List => Category::LIST,
            Group::Set => Category::SET,
            Group::SortedSet => Category::SORTEDSET,
            Group::Hash => Category::HASH,
            Group::Transactions => Category::TRANSACTION,
            Group::Connection => Category::CONNECTION,
            Group::Scripting => Category::SCRIPTING,
            Group::Hyperloglog => Category::HYPERLOGLOG,
            Group::Geo => Category::GEO,
            Group::Stream => Category::STREAM,
            Group::Bitmap => Category::BITMAP,
            // Publish and subscribe have theirs from the flag.
            Group::Server | Group::Cluster | Group::PubSub => Category::NONE,
        }
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
    // scripts
    Eval,
    EvalRo,
    Evalsha,
    EvalshaRo,
    Script,
    // walks over all shards
    Dbsize,
    Flushall,
    Flushdb,
    Keys,
    Randomkey,
    Scan,
    LockList,
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
    Operate,
    Torc,
    TorcHot,
    TorcPlan,
    Wait,
    Waitaof,
    Readonly,
    Readwrite,
    Asking,
    Failover,
    Migrate,
    Move,
    // HELP of any command with subcommands
    Help,
}

/// All families, in the order of COMMAND's replies.
pub(crate) static FAMILIES: &[&[Row]] = &[
    string::ROWS,
    hash::ROWS,
    list::ROWS,
    list::blocking::ROWS,
    set::ROWS,
    sorted_set::ROWS,
    stream::ROWS,
    lock::ROWS,
    key::ROWS,
    expire::ROWS,
    object::ROWS,
    sort::ROWS,
    dump::ROWS,
    walks::ROWS,
    transactions::ROWS,
    pubsub::ROWS,
    scripting::ROWS,
    connection::ROWS,
    server::ROWS,
    replication::ROWS,
    cluster::ROWS,
    later::hash::ROWS,
    later::geo::ROWS,
    later::hyperloglog::ROWS,
    later::scripting::ROWS,
];

#[cfg(test)]
mod tests;
