//! Rows of the commands about copies of the data: on disk, on replicas, in another database.

use crate::keyspec::{key_at, keys_after};
use crate::{Category, Flags, Group, KeyAccess, Row, Session};

/// Served while data is loaded, and while it may be out of date.
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);
/// The same, for administrators.
const ADMIN_CONTROL: Flags = Flags::ADMIN
    .and(Flags::NOSCRIPT)
    .and(Flags::LOADING)
    .and(Flags::STALE);
/// Concerns how a cluster of Redis is put together.
const REFUSED: Flags = Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::session("save", 1, Group::Server, Session::Save)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING)
                .and(Flags::NO_MULTI),
        )
        .docs(
            "1.0.0",
            "Saves the data while all else waits.",
            "O(N) in the keys",
        ),
    Row::session("bgsave", -1, Group::Server, Session::Bgsave)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING),
        )
        .docs("1.0.0", "Saves the data in the background.", "O(1)"),
    Row::session("bgrewriteaof", 1, Group::Server, Session::Bgrewriteaof)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING),
        )
        .docs("1.0.0", "Rewrites the append-only file.", "O(1)"),
    Row::session("lastsave", 1, Group::Server, Session::Lastsave)
        .flags(ANY_TIME.and(Flags::FAST))
        .categories(Category::ADMIN.and(Category::DANGEROUS))
        .docs("1.0.0", "Answers when the data was last saved.", "O(1)"),
    Row::session("replicaof", 3, Group::Server, Session::Replicaof)
        .flags(REFUSED.and(Flags::NOSCRIPT))
        .docs("5.0.0", "Makes the server follow another.", "O(1)"),
    Row::session("slaveof", 3, Group::Server, Session::Replicaof)
        .flags(REFUSED.and(Flags::NOSCRIPT))
        .docs("1.0.0", "Older name of REPLICAOF.", "O(1)"),
    Row::session("failover", -1, Group::Server, Session::Failover)
        .flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE))
        .docs("6.2.0", "Hands leadership over.", "O(1)"),
    Row::session("replconf", -1, Group::Server, Session::Replconf)
        .flags(ADMIN_CONTROL.and(Flags::ALLOW_BUSY))
        .docs("3.0.0", "Settles how to replicate.", "O(1)"),
    Row::session("sync", 1, Group::Server, Session::Sync)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING)
                .and(Flags::NO_MULTI),
        )
        .docs("1.0.0", "Begins replication.", "O(N) in the keys"),
    Row::session("psync", -3, Group::Server, Session::Sync)
        .flags(
            Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::NO_ASYNC_LOADING)
                .and(Flags::NO_MULTI),
        )
        .docs("2.8.0", "Begins replication where it stopped.", "O(1)"),
    Row::session("wait", 3, Group::Generic, Session::Wait)
        .flags(Flags::NOSCRIPT)
        .categories(Category::CONNECTION)
        .docs(
            "3.0.0",
            "Waits until replicas hold the connection's writes.",
            "O(1)",
        ),
    Row::session("waitaof", 4, Group::Generic, Session::Waitaof)
        .flags(Flags::NOSCRIPT)
        .categories(Category::CONNECTION)
        .docs(
            "7.2.0",
            "Waits until the connection's writes are on disk.",
            "O(1)",
        ),
    Row::session("swapdb", 3, Group::Server, Session::Swapdb)
        .flags(Flags::WRITE.and(Flags::FAST))
        .categories(Category::KEYSPACE.and(Category::DANGEROUS))
        .docs(
            "4.0.0",
            "Exchanges two databases.",
            "O(N) in the clients that watch keys",
        ),
    Row::session("migrate", -6, Group::Generic, Session::Migrate)
        .flags(Flags::WRITE.and(Flags::MOVABLE_KEYS))
        .categories(Category::KEYSPACE.and(Category::DANGEROUS))
        .keys(&[
            key_at(
                3,
                KeyAccess::RW.and(KeyAccess::ACCESS).and(KeyAccess::DELETE),
            ),
            keys_after(
                "KEYS",
                -2,
                -1,
                KeyAccess::RW
                    .and(KeyAccess::ACCESS)
                    .and(KeyAccess::DELETE)
                    .and(KeyAccess::INCOMPLETE),
            ),
        ])
        .docs(
            "2.6.0",
            "Moves keys to another server.",
            "O(N) in the values' bytes",
        ),
];
