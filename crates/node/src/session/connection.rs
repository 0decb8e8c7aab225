//! AUTH, HELLO, PING, RESET, SELECT.

use super::access::Access;
use super::{Replies, Session, Turn};
use crate::client::ClientFlag;
use resp::{Args, Output, Protocol, Reply, parse_i64};

const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

impl Session {
    pub(super) fn ping(&mut self, args: Args<'_>, reply: &mut Reply<'_>) {
        if args.len() > 2 {
            return reply.error("ERR wrong number of arguments for 'ping' command");
        }
        let subscribed = self.subscriptions_count() > 0 && self.protocol == Protocol::Resp2;
        if subscribed {
            reply.array(2);
            reply.bulk(b"pong");
            return reply.bulk(if args.len() == 2 { args.get(1) } else { b"" });
        }
        if args.len() == 2 {
            reply.bulk(args.get(1))
        } else {
            reply.simple("PONG")
        }
    }

    pub(super) fn auth(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        if args.len() > 3 {
            return reply.error("ERR syntax error");
        }
        if args.len() == 2 && turn.node.settings.load().requirepass.is_empty() {
            return reply.error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            );
        }
        let (user, password): (&[u8], _) = if args.len() == 2 {
            (b"default", args.get(1))
        } else {
            (args.get(1), args.get(2))
        };
        if self.log_in(turn, user, password) {
            reply.ok()
        } else {
            reply.error(WRONGPASS)
        }
    }

    /// Checks a password; there is one user, `default`.
    fn log_in(&mut self, turn: Turn<'_>, user: &[u8], password: &[u8]) -> bool {
        let settings = turn.node.settings.load();
        let expected = settings.requirepass.as_bytes();
        // Without a password, any is right for the default user, as with Redis's `nopass`.
        let right = user == b"default"
            && (expected.is_empty() || equal_in_constant_time(password, expected));
        if right {
            self.authenticated = true;
            self.replan();
        }
        right
    }

    pub(super) fn hello(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let mut protocol = self.protocol;
        let mut at = 1;
        if args.len() > 1 {
            let Some(version) = parse_i64(args.get(1)) else {
                return reply.error("ERR Protocol version is not an integer or out of range");
            };
            match Protocol::from_version(version) {
                Some(wanted) => protocol = wanted,
                None => return reply.error("NOPROTO unsupported protocol version"),
            }
            at = 2;
        }
        let mut credentials = None;
        let mut name = None;
        while at < args.len() {
            let option = args.get(at);
            let left = args.len() - at - 1;
            if option.eq_ignore_ascii_case(b"auth") && left >= 2 {
                credentials = Some((args.get(at + 1), args.get(at + 2)));
                at += 3;
            } else if option.eq_ignore_ascii_case(b"setname") && left >= 1 {
                name = Some(args.get(at + 1));
                if !super::client::is_valid_name(args.get(at + 1)) {
                    return reply.error(super::client::INVALID_NAME);
                }
                at += 2;
            } else {
                let option = String::from_utf8_lossy(option);
                return reply.error(&format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
        if let Some((user, password)) = credentials
            && !self.log_in(turn, user, password)
        {
            return reply.error(WRONGPASS);
        }
        if !self.authenticated {
            return reply.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            );
        }
        if let Some(name) = name {
            self.client.facts.lock().name = name.to_vec();
        }
        self.speak(protocol);
        let output = reply.output();
        // What was pushed in the former protocol goes ahead of the reply that ends it.
        self.client.drain_outbox(output);
        let mut reply = Reply::new(output, protocol);
        reply.map(7);
        reply.bulk(b"server");
        reply.bulk(b"redis");
        reply.bulk(b"version");
        reply.bulk(super::info::REDIS_VERSION.as_bytes());
        reply.bulk(b"proto");
        reply.integer(protocol.version());
        reply.bulk(b"id");
        reply.integer(self.client.id as i64);
        reply.bulk(b"mode");
        reply.bulk(b"standalone");
        reply.bulk(b"role");
        reply.bulk(b"master");
        reply.bulk(b"modules");
        reply.array(0);
    }

    pub(super) fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.client.facts.lock().protocol = protocol;
        self.replan();
    }

    pub(super) fn select(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        match parse_i64(args.get(1)) {
            None => reply.error("ERR value is not an integer or out of range"),
            Some(db) if i32::try_from(db).is_err() => reply
                .error("ERR value is out of range, value must between -2147483648 and 2147483647"),
            Some(db) if db < 0 || db >= i64::from(turn.settings.databases) => {
                reply.error("ERR DB index is out of range")
            }
            Some(db) => {
                self.db = db as u8;
                reply.ok();
            }
        }
    }

    /// Back to the state of a new connection.
    pub(super) fn reset(&mut self, turn: Turn<'_>, output: &mut Output) {
        self.end_transaction();
        self.forget_watches(turn.node, &mut Access::Free);
        self.leave_all_channels(turn.node);
        self.stop_tracking(turn);
        if self.client.has(ClientFlag::Monitor) {
            turn.node.monitors.remove(self.client.id);
            self.client.clear(ClientFlag::Monitor);
        }
        self.db = 0;
        self.replies = Replies::On;
        self.touch = commands::context::Touch::Yes;
        self.client.clear(ClientFlag::NoTouch);
        self.client.clear(ClientFlag::NoEvict);
        self.client.facts.lock().name.clear();
        self.authenticated = turn.settings.requirepass.is_empty();
        self.speak(Protocol::Resp2);
        // Nothing is pushed from here on; what was is not to follow the reply.
        self.client.drain_outbox(output);
        Reply::new(output, self.protocol).simple("RESET");
    }
}

/// Compares without telling by its time where the first difference is.
fn equal_in_constant_time(given: &[u8], expected: &[u8]) -> bool {
    let mut difference = given.len() ^ expected.len();
    for (i, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ expected[i % expected.len().max(1)]);
    }
    difference == 0
}

#[cfg(test)]
mod tests;
