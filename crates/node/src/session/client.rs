//! CLIENT and its subcommands.

use super::{Replies, Session, Step, Turn};
use crate::client::{Client, ClientFlag, ClientId, Unblock};
use crate::pause::PauseMode;
use crate::tracking::{Caching, TrackingMode};
use commands::context::Touch;
use resp::{Args, Output, Reply, parse_i64};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) const INVALID_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
const SYNTAX: &str = "ERR syntax error";

/// Printable ASCII without spaces, as Redis wants names.
pub(super) fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Which connections CLIENT KILL and CLIENT LIST mean; all that is given must hold.
#[derive(Default)]
struct Selection<'a> {
    ids: Option<Vec<ClientId>>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    class: Option<Class>,
    skip_me: bool,
    max_age_s: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    Pubsub,
    /// Kinds of connection that Torc has none of.
    Replication,
}

fn class_of(name: &[u8]) -> Option<Class> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Some(Class::Normal),
        b"pubsub" => Some(Class::Pubsub),
        b"master" | b"replica" | b"slave" => Some(Class::Replication),
        _ => None,
    }
}

impl Selection<'_> {
    fn admits(&self, client: &Client, me: ClientId, now_us: u64) -> bool {
        let pubsub = client.has(ClientFlag::Pubsub);
        self.ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
            && self.addr.is_none_or(|addr| addr == client.addr.as_bytes())
            && self
                .laddr
                .is_none_or(|laddr| laddr == client.laddr.as_bytes())
            && self
                .user
                .is_none_or(|user| user == client.facts.lock().user.as_bytes())
            && self.class.is_none_or(|class| match class {
                Class::Normal => !pubsub,
                Class::Pubsub => pubsub,
                Class::Replication => false,
            })
            && !(self.skip_me && client.id == me)
            && self
                .max_age_s
                .is_none_or(|age_s| now_us.saturating_sub(client.connected_us) / 1_000_000 >= age_s)
    }
}

impl Session {
    pub(super) fn client_command(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        output: &mut Output,
    ) -> Step {
        let sub = args.get(1).to_ascii_lowercase();
        let mut reply = Reply::new(output, self.protocol);
        match sub.as_slice() {
            b"id" => reply.integer(self.client.id as i64),
            b"info" => reply.verbatim("txt", &self.line(turn, &self.client, "client|info")),
            b"list" => self.client_list(turn, args, &mut reply),
            b"getname" => {
                let name = self.client.facts.lock().name.clone();
                reply.bulk_or_null((!name.is_empty()).then_some(&name[..]));
            }
            b"setname" => self.set_name(args.get(2), &mut reply),
            b"setinfo" => self.set_info(args, &mut reply),
            b"kill" => return self.client_kill(turn, args, &mut reply),
            b"pause" if args.len() > 4 => reply.error_bytes(&super::server::misused(args)),
            b"pause" => pause(turn, args, &mut reply),
            b"unpause" => {
                turn.node.pause.end();
                for client in turn.node.clients_by_id() {
                    client.rouse();
                }
                reply.ok();
            }
            b"unblock" if args.len() > 4 => reply.error_bytes(&super::server::misused(args)),
            b"unblock" => self.unblock(turn, args, &mut reply),
            b"no-evict" => match on_off(args.get(2)) {
                Some(on) => {
                    set_flag(&self.client, ClientFlag::NoEvict, on);
                    reply.ok();
                }
                None => reply.error(SYNTAX),
            },
            b"no-touch" => match on_off(args.get(2)) {
                Some(on) => {
                    set_flag(&self.client, ClientFlag::NoTouch, on);
                    self.touch = if on { Touch::No } else { Touch::Yes };
                    reply.ok();
                }
                None => reply.error(SYNTAX),
            },
            b"reply" => self.client_reply(args.get(2), &mut reply),
            b"tracking" => self.client_tracking(turn, args, &mut reply),
            b"caching" => self.client_caching(turn, args.get(2), &mut reply),
            b"getredir" => reply.integer(self.client.facts.lock().redirect),
            b"trackinginfo" => self.tracking_info(turn, &mut reply),
            _ => super::server::help(b"client", &mut reply),
        }
        Step::Done
    }

    fn set_name(&mut self, name: &[u8], reply: &mut Reply<'_>) {
        if !is_valid_name(name) {
            return reply.error(INVALID_NAME);
        }
        self.client.facts.lock().name = name.to_vec();
        reply.ok();
    }

    fn set_info(&mut self, args: Args<'_>, reply: &mut Reply<'_>) {
        let (attribute, value) = (args.get(2), args.get(3));
        let shown = String::from_utf8_lossy(attribute);
        let mut facts = self.client.facts.lock();
        let field = match attribute.to_ascii_lowercase().as_slice() {
            b"lib-name" => &mut facts.lib_name,
            b"lib-ver" => &mut facts.lib_ver,
            _ => return reply.error(&format!("ERR Unrecognized option '{shown}'")),
        };
        if !is_valid_name(value) {
            return reply.error(&format!(
                "ERR {} cannot contain spaces, newlines or special characters.",
                shown.to_ascii_lowercase()
            ));
        }
        *field = value.to_vec();
        reply.ok();
    }

    fn client_list(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let mut selection = Selection::default();
        if args.len() > 2 {
            if args.len() == 4 && args.get(2).eq_ignore_ascii_case(b"type") {
                let Some(class) = class_of(args.get(3)) else {
                    let name = String::from_utf8_lossy(args.get(3));
                    return reply.error(&format!("ERR Unknown client type '{name}'"));
                };
                selection.class = Some(class);
            } else if args.len() > 3 && args.get(2).eq_ignore_ascii_case(b"id") {
                // Any number will do: a connection that is not there is left out.
                let id = |bytes| parse_i64(bytes).map(|id| id as ClientId);
                let ids: Option<Vec<ClientId>> = args.from(3).iter().map(id).collect();
                let Some(ids) = ids else {
                    return reply.error("ERR Invalid client ID");
                };
                selection.ids = Some(ids);
            } else {
                return reply.error(SYNTAX);
            }
        }
        let mut text = Vec::new();
        for client in turn.node.clients_by_id() {
            if selection.admits(&client, self.client.id, turn.now.monotonic_us) {
                text.extend_from_slice(&self.line(turn, &client, "client|list"));
            }
        }
        reply.verbatim("txt", &text);
    }

    /// A connection's line of CLIENT LIST. `asking` is the command that this connection runs.
    fn line(&self, turn: Turn<'_>, client: &Client, asking: &'static str) -> Vec<u8> {
        let facts = client.facts.lock().clone();
        let me = client.id == self.client.id;
        let flags = [
            (ClientFlag::Monitor, 'O'),
            (ClientFlag::Pubsub, 'P'),
            (ClientFlag::Multi, 'x'),
            (ClientFlag::Blocked, 'b'),
            (ClientFlag::Tracking, 't'),
            (ClientFlag::TrackingBroken, 'R'),
            (ClientFlag::TrackingBroadcast, 'B'),
            (ClientFlag::Dirty, 'd'),
            (ClientFlag::Closing, 'c'),
            (ClientFlag::NoEvict, 'e'),
            (ClientFlag::NoTouch, 'T'),
        ];
        let mut letters: String = flags
            .iter()
            .filter(|(flag, _)| client.has(*flag))
            .map(|(_, letter)| *letter)
            .collect();
        if letters.is_empty() {
            letters.push('N');
        }
        let last_row = client.last_row.load(Ordering::Relaxed) as usize;
        let command = if me {
            asking.into()
        } else if last_row < commands::rows_count() {
            commands::row_of(last_row).full_name()
        } else {
            "NULL".into()
        };
        let queued = client.queued.load(Ordering::Relaxed);
        let db = if me {
            self.db
        } else {
            client.db.load(Ordering::Relaxed)
        };
        let input = client.input_bytes.load(Ordering::Relaxed);
        let output = client.output_bytes.load(Ordering::Relaxed);
        let outbox = client.outbox_bytes() as u64;
        let mut line = Vec::with_capacity(256);
        let _ = write!(
            line,
            "id={} addr={} laddr={} fd=0 name=",
            client.id, client.addr, client.laddr
        );
        line.extend_from_slice(&facts.name);
        let _ = write!(
            line,
            " age={} idle={} flags={letters} db={db} sub={} psub={} ssub={} multi={} watch={} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={output} oll={} omem={} tot-mem={} events=r cmd={command} user={} redir={} resp={} lib-name=",
            (turn.now.monotonic_us.saturating_sub(client.connected_us)) / 1_000_000,
            (turn
                .now
                .monotonic_us
                .saturating_sub(client.active_us.load(Ordering::Relaxed)))
                / 1_000_000,
            facts.channels,
            facts.patterns,
            facts.shard_channels,
            if queued == u32::MAX {
                -1
            } else {
                i64::from(queued)
            },
            facts.watched,
            u64::from(outbox > 0),
            output + outbox,
            input + output + outbox + size_of::<Client>() as u64,
            facts.user,
            facts.redirect,
            facts.protocol.version(),
        );
        line.extend_from_slice(&facts.lib_name);
        line.extend_from_slice(b" lib-ver=");
        line.extend_from_slice(&facts.lib_ver);
        line.push(b'\n');
        line
    }

    fn client_kill(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Step {
        let old_form = args.len() == 3;
        let mut selection = Selection {
            skip_me: !old_form,
            ..Selection::default()
        };
        if old_form {
            selection.addr = Some(args.get(2));
        } else if let Err(text) = parse_selection(args, &mut selection) {
            reply.error(&text);
            return Step::Done;
        }
        let mut killed = 0;
        let mut me = false;
        for client in turn.node.clients_by_id() {
            if !selection.admits(&client, self.client.id, turn.now.monotonic_us) {
                continue;
            }
            killed += 1;
            if client.id == self.client.id {
                me = true; // its reply is still to be written
            } else {
                client.kill();
            }
        }
        match (old_form, killed) {
            (true, 0) => reply.error("ERR No such client"),
            (true, _) => reply.ok(),
            (false, _) => reply.integer(killed),
        }
        if me {
            self.client.set(ClientFlag::Closing);
            return Step::Close;
        }
        Step::Done
    }

    fn unblock(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let Some(id) = parse_i64(args.get(2)) else {
            return reply.error("ERR value is not an integer or out of range");
        };
        if args.len() > 3 {
            let reason = args.get(3);
            if !reason.eq_ignore_ascii_case(b"timeout") && !reason.eq_ignore_ascii_case(b"error") {
                return reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
            }
        }
        let how = match args.len() > 3 && args.get(3).eq_ignore_ascii_case(b"error") {
            true => Unblock::Error,
            false => Unblock::Timeout,
        };
        // WAIT ends by its time-out alone.
        let client = turn
            .node
            .clients
            .get(&(id as u64))
            .map(|client| client.value().clone());
        let unblocked = client.is_some_and(|client| client.unblock(how));
        reply.integer(i64::from(unblocked));
    }

    fn client_reply(&mut self, mode: &[u8], reply: &mut Reply<'_>) {
        match mode.to_ascii_lowercase().as_slice() {
            b"on" => {
                self.replies = Replies::On;
                reply.ok();
            }
            b"off" => self.replies = Replies::Off,
            b"skip" if self.replies != Replies::Off => self.replies = Replies::SkipNext,
            b"skip" => {}
            _ => reply.error(SYNTAX),
        }
        self.replan();
    }

    fn client_tracking(&mut self, turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
        let Some(on) = on_off(args.get(2)) else {
            return reply.error(SYNTAX);
        };
        let mut mode = TrackingMode {
            prefixes: None,
            caching: Caching::All,
            noloop: false,
            redirect: 0,
        };
        let mut broadcast = false;
        let mut prefixes: Vec<Vec<u8>> = Vec::new();
        let (mut optin, mut optout) = (false, false);
        let mut options = args.from(3).iter();
        while let Some(option) = options.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"bcast" => broadcast = true,
                b"optin" => optin = true,
                b"optout" => optout = true,
                b"noloop" => mode.noloop = true,
                b"redirect" => {
                    if mode.redirect != 0 {
                        return reply
                            .error("ERR A client can only redirect to a single other client");
                    }
                    let Some(target) = options.next() else {
                        return reply.error(SYNTAX);
                    };
                    let Some(target) = parse_i64(target) else {
                        return reply.error("ERR value is not an integer or out of range");
                    };
                    if target < 0 || !turn.node.clients.contains_key(&(target as u64)) {
                        return reply
                            .error("ERR The client ID you want redirect to does not exist");
                    }
                    mode.redirect = target as u64;
                }
                b"prefix" => match options.next() {
                    Some(prefix) => prefixes.push(prefix.to_vec()),
                    None => return reply.error(SYNTAX),
                },
                _ => return reply.error(SYNTAX),
            }
        }
        if !on {
            self.stop_tracking(turn);
            return reply.ok();
        }
        if !broadcast && !prefixes.is_empty() {
            return reply.error("ERR PREFIX option requires BCAST mode to be enabled");
        }
        if self.client.has(ClientFlag::Tracking)
            && broadcast != self.client.has(ClientFlag::TrackingBroadcast)
        {
            return reply.error("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.");
        }
        if broadcast && (optin || optout) {
            return reply.error("ERR OPTIN and OPTOUT are not compatible with BCAST");
        }
        if optin && optout {
            return reply.error("ERR You can't specify both OPTIN mode and OPTOUT mode");
        }
        let switched = (optin && self.tracking == Some(Caching::OptOut))
            || (optout && self.tracking == Some(Caching::OptIn));
        if switched {
            return reply.error("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.");
        }
        let existing = turn.node.tracking.mode(self.client.id);
        let existing = existing.and_then(|mode| mode.prefixes).unwrap_or_default();
        if let Some(text) = overlapping(&prefixes, &existing) {
            return reply.error_bytes(&text);
        }
        mode.caching = match (optin, optout) {
            (true, _) => Caching::OptIn,
            (_, true) => Caching::OptOut,
            _ => Caching::All,
        };
        if broadcast {
            if prefixes.is_empty() {
                prefixes.push(Vec::new()); // every key begins with nothing
            }
            prefixes.extend(existing);
            prefixes.sort();
            prefixes.dedup();
            mode.prefixes = Some(prefixes);
        }
        self.caching_next = None;
        self.tracking = (!broadcast).then_some(mode.caching);
        set_flag(&self.client, ClientFlag::Tracking, true);
        set_flag(&self.client, ClientFlag::TrackingBroadcast, broadcast);
        self.client.clear(ClientFlag::TrackingBroken);
        self.client.facts.lock().redirect = mode.redirect as i64;
        turn.node.tracking.add(self.client.id, mode);
        self.listen_again(turn);
        self.replan();
        reply.ok();
    }

    /// Turns client-side caching off.
    pub(super) fn stop_tracking(&mut self, turn: Turn<'_>) {
        if !self.client.has(ClientFlag::Tracking) {
            return;
        }
        self.tracking = None;
        self.caching_next = None;
        for flag in [
            ClientFlag::Tracking,
            ClientFlag::TrackingBroadcast,
            ClientFlag::TrackingBroken,
        ] {
            self.client.clear(flag);
        }
        self.client.facts.lock().redirect = -1;
        turn.node.tracking.remove(self.client.id);
        self.listen_again(turn);
        self.replan();
    }

    /// Takes CLIENT CACHING at its word, if that goes with how keys are tracked.
    pub(super) fn choose_caching(&mut self, answer: &[u8]) -> bool {
        let chosen = match (answer.to_ascii_lowercase().as_slice(), self.tracking) {
            (b"yes", Some(Caching::OptIn)) => true,
            (b"no", Some(Caching::OptOut)) => false,
            _ => return false,
        };
        self.caching_next = Some(chosen);
        true
    }

    fn client_caching(&mut self, _turn: Turn<'_>, answer: &[u8], reply: &mut Reply<'_>) {
        if !self.client.has(ClientFlag::Tracking) {
            return reply.error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled");
        }
        match (answer.to_ascii_lowercase().as_slice(), self.tracking) {
            _ if self.choose_caching(answer) => {}
            (b"yes", _) => {
                return reply.error(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                );
            }
            (b"no", _) => {
                return reply.error(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
                );
            }
            _ => return reply.error(SYNTAX),
        }
        reply.ok();
    }

    fn tracking_info(&mut self, turn: Turn<'_>, reply: &mut Reply<'_>) {
        let mode = turn.node.tracking.mode(self.client.id);
        let mut flags: Vec<&str> = Vec::new();
        match &mode {
            None => flags.push("off"),
            Some(mode) => {
                flags.push("on");
                if mode.prefixes.is_some() {
                    flags.push("bcast");
                }
                match mode.caching {
                    Caching::OptIn => flags.push("optin"),
                    Caching::OptOut => flags.push("optout"),
                    Caching::All => {}
                }
                match self.caching_next {
                    Some(true) => flags.push("caching-yes"),
                    Some(false) => flags.push("caching-no"),
                    None => {}
                }
                if mode.noloop {
                    flags.push("noloop");
                }
                if self.client.has(ClientFlag::TrackingBroken) {
                    flags.push("broken_redirect");
                }
            }
        }
        reply.map(3);
        reply.bulk(b"flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
        reply.bulk(b"redirect");
        reply.integer(self.client.facts.lock().redirect);
        reply.bulk(b"prefixes");
        let prefixes = mode.and_then(|mode| mode.prefixes).unwrap_or_default();
        reply.array(prefixes.len());
        prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    }
}

fn parse_selection<'a>(args: Args<'a>, selection: &mut Selection<'a>) -> Result<(), String> {
    let mut options = args.from(2).iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or(SYNTAX)?;
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                selection.ids = Some(vec![
                    client_id(value).ok_or("ERR client-id should be greater than 0")?,
                ])
            }
            b"addr" => selection.addr = Some(value),
            b"laddr" => selection.laddr = Some(value),
            b"type" => {
                let unknown = || {
                    format!(
                        "ERR Unknown client type '{}'",
                        String::from_utf8_lossy(value)
                    )
                };
                selection.class = Some(class_of(value).ok_or_else(unknown)?);
            }
            b"user" if value == b"default" => selection.user = Some(value),
            b"user" => {
                return Err(format!(
                    "ERR No such user '{}'",
                    String::from_utf8_lossy(value)
                ));
            }
            b"skipme" => {
                selection.skip_me = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(SYNTAX.into()),
                }
            }
            b"maxage" => {
                let age_s =
                    parse_i64(value).ok_or("ERR maxage is not an integer or out of range")?;
                selection.max_age_s =
                    Some(u64::try_from(age_s).map_err(|_| "ERR maxage should be greater than 0")?);
            }
            _ => return Err(SYNTAX.into()),
        }
    }
    Ok(())
}

fn client_id(bytes: &[u8]) -> Option<ClientId> {
    parse_i64(bytes)
        .and_then(|id| u64::try_from(id).ok())
        .filter(|id| *id > 0)
}

fn on_off(word: &[u8]) -> Option<bool> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

fn set_flag(client: &Arc<Client>, flag: ClientFlag, on: bool) {
    if on {
        client.set(flag)
    } else {
        client.clear(flag)
    }
}

fn pause(turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let mode = match args.len() {
        3 => PauseMode::All,
        4 => match args.get(3).to_ascii_lowercase().as_slice() {
            b"all" => PauseMode::All,
            b"write" => PauseMode::Write,
            _ => return reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        },
        _ => return reply.error(SYNTAX),
    };
    match parse_i64(args.get(2)) {
        None => reply.error("ERR timeout is not an integer or out of range"),
        Some(timeout_ms) if timeout_ms < 0 => reply.error("ERR timeout is negative"),
        Some(timeout_ms) => {
            let now_us = turn.node.host.monotonic_us();
            let until_us = now_us.saturating_add((timeout_ms as u64).saturating_mul(1000));
            turn.node.pause.start(mode, until_us, now_us);
            reply.ok();
        }
    }
}

/// Redis refuses prefixes of which one begins with another: a key would be told twice.
fn overlapping(prefixes: &[Vec<u8>], existing: &[Vec<u8>]) -> Option<Vec<u8>> {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let text = |one: &[u8], kind: &[u8], other: &[u8]| {
        let end = b"'. Prefixes for a single client must not overlap.";
        [
            b"ERR Prefix '",
            one,
            b"' overlaps with ",
            kind,
            b" prefix '",
            other,
            end,
        ]
        .concat()
    };
    for (i, one) in prefixes.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| overlap(one, other)) {
            return Some(text(one, b"an existing", other));
        }
        if let Some(other) = prefixes[i + 1..].iter().find(|other| overlap(one, other)) {
            return Some(text(one, b"another provided", other));
        }
    }
    None
}

#[cfg(test)]
mod tests;
