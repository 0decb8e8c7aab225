//! Commands that concern the server as a whole and need little: TIME, ROLE, LASTSAVE, SHUTDOWN, and the
//! clear answers for what Torc is not.

use super::{Session, Step, Turn};
use commands::{Row, Session as SessionCommand};
use resp::{Args, Output, Reply};

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
        C::Torc => {
            let status = turn.node.status(turn.now);
            let json = serde_json::to_string(&status).expect("plain data is written to memory");
            reply.bulk(json.as_bytes());
        }
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
