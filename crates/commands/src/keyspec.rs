//! Where a command's keys are in its arguments, and what it does to them: Redis's key specifications
//! (redis.io, "Command key specifications").

/// One range of keys in a command's arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: BeginSearch,
    /// How the keys follow from there.
    pub find: FindKeys,
    /// What is done to them.
    pub access: KeyAccess,
}

impl KeySpec {
    /// Whether it names argument 1 and nothing else.
    #[inline]
    pub(crate) const fn is_first_argument(&self) -> bool {
        matches!(
            (self.begin, self.find),
            (BeginSearch::Index(1), FindKeys::Range { last: 0, .. })
        ) && !self.access.has(KeyAccess::NOT_KEY)
    }
}

/// `begin_search` of a key specification.
#[derive(Clone, Copy, Debug)]
pub enum BeginSearch {
    /// At this argument.
    Index(u8),
    /// After this keyword, searched from argument `from` (negative: from the end, backwards).
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

    /// Whether all of `other` is in here.
    pub const fn has(self, other: KeyAccess) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names as `COMMAND INFO` prints them, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        ACCESS_NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, name)| *name)
    }
}

/// Names of the key flags, from bit 0 on.
const ACCESS_NAMES: [&str; 11] = [
    "RO",
    "RW",
    "OW",
    "RM",
    "access",
    "update",
    "insert",
    "delete",
    "not_key",
    "incomplete",
    "variable_flags",
];

/// One key at argument 1.
pub const fn first_key(access: KeyAccess) -> KeySpec {
    key_at(1, access)
}

/// One key at argument `index`.
pub const fn key_at(index: u8, access: KeyAccess) -> KeySpec {
    keys_at(index, 0, access)
}

/// Keys from argument `index` to `last`: relative, or negative from the last argument (-1) on.
pub const fn keys_at(index: u8, last: i8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(index),
        find: FindKeys::Range {
            last,
            step: 1,
            limit: 0,
        },
        access,
    }
}

/// A count of keys at argument `index`, the keys right behind it.
pub const fn counted_keys(index: u8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(index),
        find: FindKeys::KeyNum {
            count_at: 0,
            first: 1,
            step: 1,
        },
        access,
    }
}

/// One key behind `keyword`, which is looked for from argument `from` on.
pub const fn key_after(keyword: &'static str, from: i8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Keyword { keyword, from },
        find: FindKeys::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        access,
    }
}

/// Keys behind `keyword`, looked for from argument `from` on, up to argument `last` from the end.
pub const fn keys_after(keyword: &'static str, from: i8, last: i8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Keyword { keyword, from },
        find: FindKeys::Range {
            last,
            step: 1,
            limit: 0,
        },
        access,
    }
}

/// Keys behind `keyword`, looked for from argument `from` on: the first half of what follows it.
pub const fn half_of_rest(keyword: &'static str, from: i8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Keyword { keyword, from },
        find: FindKeys::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
        access,
    }
}
