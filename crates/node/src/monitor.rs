//! MONITOR: every command that runs is shown to those who listen.

use crate::client::{Client, ClientClass, ClientId};
use crate::node::Node;
use bytes::Bytes;
use commands::{Flags, Row, Run, Session};
use parking_lot::Mutex;
use resp::{Args, OwnedArgs};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who listens.
#[derive(Debug, Default)]
pub struct Monitors {
    listeners: Mutex<Vec<Arc<Client>>>,
    count: AtomicUsize,
}

impl Monitors {
    /// Whether anybody listens: one load on the way of a command.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Adds a listener.
    pub fn add(&self, client: &Arc<Client>) {
        let mut listeners = self.listeners.lock();
        if listeners.iter().all(|listener| listener.id != client.id) {
            listeners.push(client.clone());
        }
        self.count.store(listeners.len(), Ordering::Relaxed);
    }

    /// Removes a listener.
    pub fn remove(&self, client: ClientId) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| listener.id != client);
        self.count.store(listeners.len(), Ordering::Relaxed);
    }

    /// Shows a command of `client` to all listeners.
    pub fn show(&self, node: &Node, client: &Client, db: u8, row: &Row, args: Args<'_>) {
        // SKIP_MONITOR is but what COMMAND says: Redis shows scripts too, by their own hand.
        if row.flags.has(Flags::ADMIN) {
            return;
        }
        let hidden = without_secrets(row, args);
        let args = hidden.as_ref().map_or(args, |hidden| hidden.args());
        let wall_us = node.host.wall_us();
        let mut line = Vec::new();
        let _ = write!(
            line,
            "+{}.{:06} [{} {}]",
            wall_us / 1_000_000,
            wall_us % 1_000_000,
            db,
            client.addr
        );
        for argument in args.iter() {
            line.push(b' ');
            quote(argument, &mut line);
        }
        line.extend_from_slice(b"\r\n");
        let frame = Bytes::from(line);
        let limit = node.output_limit(ClientClass::Normal);
        let now_us = node.host.monotonic_us();
        // Locked: nothing is on its way to one that has been removed.
        for listener in &*self.listeners.lock() {
            listener.push(frame.clone(), limit, now_us);
        }
    }
}

/// The arguments with `(redacted)` for passwords, if there are any: they are for nobody's eyes.
pub fn without_secrets(row: &Row, args: Args<'_>) -> Option<OwnedArgs> {
    let Run::Session(command) = row.run else {
        return None;
    };
    let is = |at: usize, word: &str| args.get(at).eq_ignore_ascii_case(word.as_bytes());
    let secret: Vec<usize> = match command {
        Session::Auth => (1..args.len()).collect(),
        Session::Hello => {
            let auth = (2..args.len()).find(|&at| is(at, "auth"));
            auth.map_or(Vec::new(), |auth| vec![auth + 1, auth + 2])
        }
        Session::Config if is(1, "set") => (2..args.len())
            .step_by(2)
            .filter(|&at| is(at, "requirepass") || is(at, "masterauth"))
            .map(|at| at + 1)
            .collect(),
        _ => return None,
    };
    let shown = args.iter().enumerate().map(|(at, argument)| {
        if secret.contains(&at) {
            b"(redacted)"
        } else {
            argument
        }
    });
    Some(OwnedArgs::from_slices(&shown.collect::<Vec<_>>()))
}

/// Bytes in quotes, what does not print escaped, as MONITOR and SLOWLOG's readers expect.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..0x7f => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push(b'"');
}
