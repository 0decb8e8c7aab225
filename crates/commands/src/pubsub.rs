//! Rows of publish and subscribe. A channel is no key, whatever slot it has.

use crate::help::help_row;
use crate::keyspec::{first_key, keys_at};
use crate::{Flags, Group, KeyAccess, Row, Session};

/// Served while data is loaded, and while it may be out of date.
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);
/// The same, and not for scripts.
const CONTROL: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row::session("publish", 3, Group::PubSub, Session::Publish)
        .flags(ANY_TIME.and(Flags::PUBSUB).and(Flags::FAST))
        .docs(
            "2.0.0",
            "Sends a message to a channel.",
            "O(N+M), N subscribers of the channel, M patterns",
        ),
    Row::session("spublish", 3, Group::PubSub, Session::Spublish)
        .flags(ANY_TIME.and(Flags::PUBSUB).and(Flags::FAST))
        .keys(&[first_key(KeyAccess::NOT_KEY)])
        .docs(
            "7.0.0",
            "Sends a message to a shard channel.",
            "O(N) in the channel's subscribers",
        ),
    Row::session("subscribe", -2, Group::PubSub, Session::Subscribe)
        .flags(CONTROL.and(Flags::PUBSUB))
        .docs("2.0.0", "Listens to channels.", "O(N) in the channels"),
    Row::session("unsubscribe", -1, Group::PubSub, Session::Unsubscribe)
        .flags(CONTROL.and(Flags::PUBSUB))
        .docs(
            "2.0.0",
            "Stops listening to channels.",
            "O(N) in the channels",
        ),
    Row::session("psubscribe", -2, Group::PubSub, Session::Psubscribe)
        .flags(CONTROL.and(Flags::PUBSUB))
        .docs(
            "2.0.0",
            "Listens to all channels that match patterns.",
            "O(N) in the patterns",
        ),
    Row::session("punsubscribe", -1, Group::PubSub, Session::Punsubscribe)
        .flags(CONTROL.and(Flags::PUBSUB))
        .docs(
            "2.0.0",
            "Stops listening to patterns.",
            "O(N) in the patterns",
        ),
    Row::session("ssubscribe", -2, Group::PubSub, Session::Ssubscribe)
        .flags(CONTROL.and(Flags::PUBSUB))
        .keys(&[keys_at(1, -1, KeyAccess::NOT_KEY)])
        .docs(
            "7.0.0",
            "Listens to shard channels.",
            "O(N) in the channels",
        ),
    Row::session("sunsubscribe", -1, Group::PubSub, Session::Sunsubscribe)
        .flags(CONTROL.and(Flags::PUBSUB))
        .keys(&[keys_at(1, -1, KeyAccess::NOT_KEY)])
        .docs(
            "7.0.0",
            "Stops listening to shard channels.",
            "O(N) in the channels",
        ),
    Row::container("pubsub", Group::PubSub, Session::Pubsub, PUBSUB)
        .summary("2.8.0", "Tells about channels and their subscribers."),
];

/// Subcommands of PUBSUB.
const PUBSUB: &[Row] = &[
    Row::session("channels", -2, Group::PubSub, Session::Pubsub)
        .flags(ANY_TIME.and(Flags::PUBSUB))
        .docs(
            "2.8.0",
            "Lists the channels that somebody listens to.",
            "O(N) in the channels",
        ),
    help_row(Group::PubSub, "6.2.0"),
    Row::session("numpat", 2, Group::PubSub, Session::Pubsub)
        .flags(ANY_TIME.and(Flags::PUBSUB))
        .docs(
            "2.8.0",
            "Counts the patterns that somebody listens to.",
            "O(1)",
        ),
    Row::session("numsub", -2, Group::PubSub, Session::Pubsub)
        .flags(ANY_TIME.and(Flags::PUBSUB))
        .docs(
            "2.8.0",
            "Counts the subscribers of channels, patterns left out.",
            "O(N) in the channels asked for",
        ),
    Row::session("shardchannels", -2, Group::PubSub, Session::Pubsub)
        .flags(ANY_TIME.and(Flags::PUBSUB))
        .docs(
            "7.0.0",
            "Lists the shard channels that somebody listens to.",
            "O(N) in the channels",
        ),
    Row::session("shardnumsub", -2, Group::PubSub, Session::Pubsub)
        .flags(ANY_TIME.and(Flags::PUBSUB))
        .docs(
            "7.0.0",
            "Counts the subscribers of shard channels.",
            "O(N) in the channels asked for",
        ),
];
