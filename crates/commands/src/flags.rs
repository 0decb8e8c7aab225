//! Behaviour of commands and ACL categories: Redis's own words for both.

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
    /// None of Redis's, and shown to nobody: not `fast` by Redis's count, but as short as what is. A batch of such
    /// commands is timed as a whole and not one by one.
    pub const BRIEF: Flags = Flags(1 << 31);

    /// Both.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether any of `other` is in here.
    pub const fn has_any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of `other` is in here.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names as `COMMAND INFO` prints them, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        FLAG_NAMES
            .iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
    }
}

const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::MAY_REPLICATE, "may_replicate"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLE_KEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

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

    /// Whether all of `other` is in here.
    pub const fn has(self, other: Category) -> bool {
        self.0 & other.0 == other.0
    }

    /// The category of this name, without its `@`, in any case.
    pub fn from_name(name: &[u8]) -> Option<Category> {
        Category::all()
            .find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|(category, _)| category)
    }

    /// Every category with its name (without `@`), in the order of `ACL CAT`.
    pub fn all() -> impl Iterator<Item = (Category, &'static str)> + Clone {
        CATEGORY_NAMES
            .iter()
            .enumerate()
            .map(|(bit, name)| (Category(1 << bit), *name))
    }

    /// The names of these categories (without `@`), in the order of `COMMAND INFO`.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Category::all()
            .filter(move |(category, _)| self.has(*category))
            .map(|(_, name)| name)
    }

    /// The categories that follow from a command's flags (redis.io, "ACL"): nobody writes them down twice.
    /// A script that reads is no `@read`: what it reads is up to the script.
    pub(crate) const fn implied(flags: Flags, written: Category) -> Category {
        let mut all = written;
        if flags.has(Flags::WRITE) {
            all = all.and(Category::WRITE);
        }
        if flags.has(Flags::READONLY) && !written.has(Category::SCRIPTING) {
            all = all.and(Category::READ);
        }
        if flags.has(Flags::ADMIN) {
            all = all.and(Category::ADMIN).and(Category::DANGEROUS);
        }
        if flags.has(Flags::PUBSUB) {
            all = all.and(Category::PUBSUB);
        }
        if flags.has(Flags::BLOCKING) {
            all = all.and(Category::BLOCKING);
        }
        all.and(if flags.has(Flags::FAST) {
            Category::FAST
        } else {
            Category::SLOW
        })
    }
}

/// Names of the categories, from bit 0 on.
const CATEGORY_NAMES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];
