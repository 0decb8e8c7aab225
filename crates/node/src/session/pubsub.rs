//! SUBSCRIBE and kin, PUBLISH, PUBSUB: the connection's side.

use super::access::Access;
use super::holes::Fill;
use super::{Session, Turn};
use crate::client::ClientFlag;
use crate::node::Node;
use crate::pubsub::Kind;
use crate::wire::PublishKind;
use commands::{Row, Run, Session as SessionCommand};
use resp::{Args, Output, Reply};
use std::collections::BTreeSet;

/// What a RESP2 connection with subscriptions may send.
pub(super) fn allowed_while_subscribed(row: &Row) -> bool {
    use SessionCommand as C;
    match row.run {
        Run::Session(command) => matches!(
            command,
            C::Subscribe
                | C::Psubscribe
                | C::Ssubscribe
                | C::Unsubscribe
                | C::Punsubscribe
                | C::Sunsubscribe
                | C::Ping
                | C::Quit
                | C::Reset
        ),
        Run::Data(_) | Run::Later => false,
    }
}

/// Whether the command's replies are confirmations: pushes, which CLIENT REPLY does not silence.
pub(super) fn confirms(row: &Row) -> bool {
    use SessionCommand as C;
    match row.run {
        Run::Session(command) => matches!(
            command,
            C::Subscribe
                | C::Psubscribe
                | C::Ssubscribe
                | C::Unsubscribe
                | C::Punsubscribe
                | C::Sunsubscribe
        ),
        Run::Data(_) | Run::Later => false,
    }
}

impl Session {
    fn subscriptions(&mut self, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::ShardChannel => &mut self.shard_channels,
        }
    }

    /// The count that a confirmation carries: channels and patterns together, shard channels apart.
    fn confirmed_count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
            Kind::ShardChannel => self.shard_channels.len(),
        }
    }

    fn subscriptions_changed(&mut self) {
        let mut facts = self.client.facts.lock();
        facts.channels = self.channels.len();
        facts.patterns = self.patterns.len();
        facts.shard_channels = self.shard_channels.len();
        if self.subscriptions_count() > 0 {
            self.client.set(ClientFlag::Pubsub);
        } else {
            self.client.clear(ClientFlag::Pubsub);
        }
        drop(facts);
        self.replan();
    }

    pub(super) fn subscribe(
        &mut self,
        turn: Turn<'_>,
        kind: Kind,
        args: Args<'_>,
        output: &mut Output,
    ) {
        let word = match kind {
            Kind::Channel => "subscribe",
            Kind::Pattern => "psubscribe",
            Kind::ShardChannel => "ssubscribe",
        };
        for name in args.from(1).iter() {
            if self.subscriptions(kind).insert(name.into()) {
                turn.node.pubsub.subscribe(kind, name, &self.client);
            }
            confirm(
                word,
                Some(name),
                self.confirmed_count(kind),
                &mut Reply::new(output, self.protocol),
            );
        }
        self.subscriptions_changed();
        if !self.holds_shards {
            turn.node.announce_listening();
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        turn: Turn<'_>,
        kind: Kind,
        args: Args<'_>,
        output: &mut Output,
    ) {
        let word = match kind {
            Kind::Channel => "unsubscribe",
            Kind::Pattern => "punsubscribe",
            Kind::ShardChannel => "sunsubscribe",
        };
        let names: Vec<Box<[u8]>> = if args.len() > 1 {
            args.from(1).iter().map(Box::from).collect()
        } else {
            self.subscriptions(kind).iter().cloned().collect()
        };
        if names.is_empty() {
            confirm(
                word,
                None,
                self.confirmed_count(kind),
                &mut Reply::new(output, self.protocol),
            );
        }
        for name in names {
            if self.subscriptions(kind).remove(&name) {
                turn.node.pubsub.unsubscribe(kind, &name, self.client.id);
                self.subscriptions_changed();
                // No message comes from here on; those that did are not to follow the confirmation.
                self.client.drain_outbox(output);
            }
            confirm(
                word,
                Some(&name),
                self.confirmed_count(kind),
                &mut Reply::new(output, self.protocol),
            );
        }
        self.subscriptions_changed();
    }

    pub(super) fn leave_all_channels(&mut self, node: &Node) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::ShardChannel] {
            for name in std::mem::take(self.subscriptions(kind)) {
                node.pubsub.unsubscribe(kind, &name, self.client.id);
            }
        }
        self.subscriptions_changed();
    }

    /// PUBLISH, SPUBLISH: to the subscribers of all nodes. In a transaction, whose reply waits for nobody else, only the
    /// receivers on this node are counted.
    pub(super) fn publish(
        &mut self,
        turn: Turn<'_>,
        kind: PublishKind,
        args: Args<'_>,
        access: &Access<'_>,
        output: &mut Output,
    ) {
        let (channel, message) = (args.get(1), args.get(2));
        if access.is_held() || !turn.node.has_peers() {
            let node = turn.node;
            let receivers = node.publish_everywhere(kind, channel, message, None, turn.now);
            return Reply::new(output, self.protocol).integer(receivers as i64);
        }
        let (slot, ticket) = self.open_slot();
        turn.node
            .publish_everywhere(kind, channel, message, Some(ticket), turn.now);
        let row = commands::lookup(args.get(0)).expect("it was found by its name");
        self.open_hole(row, Fill::Reply(slot), output);
    }

    pub(super) fn pubsub(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let pubsub = &turn.node.pubsub;
        let sub = args.get(1).to_ascii_lowercase();
        match sub.as_slice() {
            b"channels" | b"shardchannels" => {
                let kind = if sub == b"channels" {
                    Kind::Channel
                } else {
                    Kind::ShardChannel
                };
                if args.len() > 3 {
                    return reply.error_bytes(&super::server::misused(args));
                }
                let names = pubsub.names(kind, (args.len() == 3).then(|| args.get(2)));
                reply.array(names.len());
                names.iter().for_each(|name| reply.bulk(name));
            }
            b"numsub" | b"shardnumsub" => {
                let kind = if sub == b"numsub" {
                    Kind::Channel
                } else {
                    Kind::ShardChannel
                };
                reply.array((args.len() - 2) * 2);
                for name in args.from(2).iter() {
                    reply.bulk(name);
                    reply.integer(pubsub.subscribers_count(kind, name) as i64);
                }
            }
            b"numpat" => reply.integer(pubsub.patterns_count() as i64),
            _ => super::server::help(b"pubsub", reply),
        }
    }
}

fn confirm(word: &str, name: Option<&[u8]>, count: usize, reply: &mut Reply<'_>) {
    reply.push(3);
    reply.bulk(word.as_bytes());
    reply.bulk_or_null(name);
    reply.integer(count as i64);
}

#[cfg(test)]
mod tests;
