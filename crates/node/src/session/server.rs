//! Commands that concern the server as a whole and need little: TIME, ROLE, LASTSAVE, WAIT, SHUTDOWN, and the
//! clear answers for what Torc is not.

use super::access::Access;
use super::{Pending, ReplicasReply, Session, Step, Turn};
use crate::client::ClientFlag;
use commands::{Row, Session as SessionCommand};
use resp::{Args, Output, Reply, parse_i64};

/// The error for a subcommand whose arguments are of no form that it takes.
pub(super) fn misused(args: Args<'_>) -> Vec<u8> {
    [
        b"ERR unknown subcommand or wrong number of arguments for '",
        args.get(1),
        b"'. Try ",
        &args.get(0).to_ascii_uppercase(),
        b" HELP.",
    ]
    .concat()
}

/// The HELP of a container command, from its rows.
pub(super) fn help(parent: &[u8], reply: &mut Reply<'_>) {
    let row: &'static Row = commands::lookup(parent).expect("containers are in the table");
    commands::help(row, reply);
}

/// Commands with a short answer.
pub(super) fn answer(
    turn: Turn<'_>,
    command: SessionCommand,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) {
    use SessionCommand as C;
    match command {
        C::Time => {
            let wall_us = turn.node.host.wall_us();
            reply.array(2);
            reply.bulk_integer((wall_us / 1_000_000) as i64);
            reply.bulk_integer((wall_us % 1_000_000) as i64);
        }
        C::Role => {
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(0);
            reply.array(0);
        }
        C::Lastsave => reply.integer((turn.node.host.wall_us() / 1_000_000) as i64),
        C::Lolwut => lolwut(turn, reply),
        C::Acl => acl(turn, args, reply),
        C::Module => {
            if args.get(1).eq_ignore_ascii_case(b"list") {
                reply.array(0);
            } else {
                reply.error("ERR Torc has no modules");
            }
        }
        C::Help => help(args.get(0), reply),
        C::Cluster => reply.error("ERR This instance has cluster support disabled"),
        C::Readonly | C::Readwrite | C::Asking => reply.error("ERR This instance has cluster support disabled"),
        C::Replconf | C::Sync => reply.error("ERR Torc does not replicate to Redis replicas"),
        C::Replicaof => reply.error("ERR REPLICAOF is not supported by Torc: a node replicates no other server"),
        C::Save | C::Bgsave => reply.error("ERR Torc keeps no RDB file"),
        C::Bgrewriteaof => reply.error("ERR Torc keeps no append only file"),
        C::Swapdb => reply.error("ERR SWAPDB is not supported by Torc: databases cannot be swapped while shards are replicated one by one"),
        C::Failover => reply.error("ERR FAILOVER requires connected replicas."),
        C::Migrate => reply.error("ERR MIGRATE is not supported by Torc; use DUMP and RESTORE"),
        other => unreachable!("{other:?} is answered elsewhere"),
    }
}

fn acl(turn: Turn<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let sub = args.get(1).to_ascii_lowercase();
    let rule = if turn.settings.requirepass.is_empty() {
        "nopass"
    } else {
        "#<hidden>"
    };
    match sub.as_slice() {
        b"whoami" => reply.bulk(b"default"),
        b"users" => {
            reply.array(1);
            reply.bulk(b"default");
        }
        b"list" => {
            reply.array(1);
            reply.bulk(format!("user default on {rule} ~* &* +@all").as_bytes());
        }
        b"cat" => commands::categories(args, reply),
        _ => reply.error("ERR ACL rules are not supported by this version of Torc; there is one user, 'default', with 'requirepass'"),
    }
}

fn lolwut(turn: Turn<'_>, reply: &mut Reply<'_>) {
    // A ring of slots, one mark a shard: what the node looks like from far away.
    const WIDTH: usize = 33;
    const HEIGHT: usize = 17;
    let mut rows = vec![vec![' '; WIDTH]; HEIGHT];
    let marks = turn.node.shards_count().min(48);
    for mark in 0..marks {
        let angle = mark as f64 / marks as f64 * std::f64::consts::TAU;
        let x = (angle.sin() * 15.0 + 16.0).round() as usize;
        let y = (8.0 - angle.cos() * 7.5).round() as usize;
        rows[y][x] = if mark % 3 == 0 { 'o' } else { '.' };
    }
    let mut text: String = rows
        .into_iter()
        .map(|row| row.into_iter().collect::<String>().trim_end().to_owned() + "\n")
        .collect();
    text.push_str(&format!(
        "\nRedis ver. {}, Torc {}\n",
        super::info::REDIS_VERSION,
        env!("CARGO_PKG_VERSION")
    ));
    reply.verbatim("txt", text.as_bytes());
}

impl Session {
    /// WAIT: no replicas exist yet, so what is asked of them is never reached; the time-out ends the wait.
    pub(super) fn wait(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let Some(timeout_ms) = timeout(args.get(2), &mut reply) else {
            return Step::Done;
        };
        let Some(replicas) = parse_i64(args.get(1)) else {
            reply.error("ERR value is not an integer or out of range");
            return Step::Done;
        };
        self.wait_for(
            turn,
            replicas,
            timeout_ms,
            ReplicasReply::Wait,
            access,
            output,
        )
    }

    /// WAITAOF numlocal numreplicas timeout.
    pub(super) fn waitaof(
        &mut self,
        turn: Turn<'_>,
        args: Args<'_>,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let (Some(local), Some(replicas)) = (parse_i64(args.get(1)), parse_i64(args.get(2))) else {
            reply.error("ERR value is not an integer or out of range");
            return Step::Done;
        };
        if !(0..=1).contains(&local) || replicas < 0 {
            reply.error("ERR value is out of range, must be positive");
            return Step::Done;
        }
        let Some(timeout_ms) = timeout(args.get(3), &mut reply) else {
            return Step::Done;
        };
        if local > 0 {
            reply.error(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            );
            return Step::Done;
        }
        self.wait_for(
            turn,
            replicas,
            timeout_ms,
            ReplicasReply::WaitAof,
            access,
            output,
        )
    }

    fn wait_for(
        &mut self,
        turn: Turn<'_>,
        replicas: i64,
        timeout_ms: i64,
        reply: ReplicasReply,
        access: &mut Access<'_>,
        output: &mut Output,
    ) -> Step {
        if replicas <= 0 || access.is_held() {
            self.no_replicas(reply, output);
            return Step::Done;
        }
        let until_us = (timeout_ms > 0).then(|| turn.now.monotonic_us + timeout_ms as u64 * 1000);
        self.pending = Some(Pending::Replicas { until_us, reply });
        self.client.set(ClientFlag::Blocked);
        Step::Wait { until_us }
    }

    pub(super) fn no_replicas(&mut self, reply: ReplicasReply, output: &mut Output) {
        let mut out = Reply::new(output, self.protocol);
        match reply {
            ReplicasReply::Wait => out.integer(0),
            ReplicasReply::WaitAof => {
                out.array(2);
                out.integer(0);
                out.integer(0);
            }
        }
    }

    /// SHUTDOWN: nothing is kept on disk, so all its save options come to the same.
    pub(super) fn shutdown(&mut self, turn: Turn<'_>, args: Args<'_>, output: &mut Output) -> Step {
        let mut reply = Reply::new(output, self.protocol);
        let (mut save, mut nosave) = (false, false);
        for option in args.from(1).iter() {
            match option.to_ascii_lowercase().as_slice() {
                b"save" => save = true,
                b"nosave" => nosave = true,
                b"now" | b"force" => {}
                b"abort" if args.len() == 2 => {
                    reply.error("ERR No shutdown in progress.");
                    return Step::Done;
                }
                _ => {
                    reply.error("ERR syntax error");
                    return Step::Done;
                }
            }
        }
        if save && nosave {
            reply.error("ERR syntax error");
            return Step::Done;
        }
        tracing::info!(
            client = self.client.id,
            uptime_us = turn.node.stats.uptime_us(turn.now.monotonic_us),
            "asked to shut down"
        );
        Step::Shutdown
    }
}

/// A time-out in milliseconds, or an error reply.
fn timeout(bytes: &[u8], reply: &mut Reply<'_>) -> Option<i64> {
    match parse_i64(bytes) {
        None => reply.error("ERR timeout is not an integer or out of range"),
        Some(timeout_ms) if timeout_ms < 0 => reply.error("ERR timeout is negative"),
        // The sum with the present time must not overflow.
        Some(timeout_ms) if timeout_ms > i64::MAX / 2000 => {
            reply.error("ERR timeout is out of range")
        }
        Some(timeout_ms) => return Some(timeout_ms),
    }
    None
}
