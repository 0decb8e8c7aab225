//! Rows of the commands that walk over the keys of all shards.

use crate::{Category, Flags, Group, Row, Session};

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::session("keys", 2, Group::Generic, Session::Keys)
        .flags(Flags::READONLY)
        .categories(Category::KEYSPACE.and(Category::DANGEROUS))
        .docs(
            "1.0.0",
            "Lists the keys that match a pattern.",
            "O(N) in the keys of the database",
        ),
    Row::session("scan", -2, Group::Generic, Session::Scan)
        .flags(Flags::READONLY)
        .docs(
            "2.8.0",
            "Walks the keys in steps.",
            "O(1) a call, O(N) for the whole walk",
        ),
    Row::session("lock.list", -1, Group::String, Session::LockList)
        .flags(Flags::READONLY)
        .docs(
            "7.4.0",
            "Walks the keys of locks that somebody holds, in steps.",
            "O(1) a call, O(N) for the whole walk over all keys",
        ),
    Row::session("randomkey", 1, Group::Generic, Session::Randomkey)
        .flags(Flags::READONLY)
        .docs("1.0.0", "Answers some key of the database.", "O(1)"),
    Row::session("dbsize", 1, Group::Server, Session::Dbsize)
        .flags(Flags::READONLY.and(Flags::FAST))
        .categories(Category::KEYSPACE)
        .docs("1.0.0", "Counts the keys of the database.", "O(1)"),
    Row::session("flushdb", -1, Group::Server, Session::Flushdb)
        .flags(Flags::WRITE)
        .categories(Category::KEYSPACE.and(Category::DANGEROUS))
        .docs(
            "1.0.0",
            "Deletes the keys of the database.",
            "O(N) in the keys deleted",
        ),
    Row::session("flushall", -1, Group::Server, Session::Flushall)
        .flags(Flags::WRITE)
        .categories(Category::KEYSPACE.and(Category::DANGEROUS))
        .docs(
            "1.0.0",
            "Deletes the keys of all databases.",
            "O(N) in the keys deleted",
        ),
];
