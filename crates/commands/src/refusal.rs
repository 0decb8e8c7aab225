//! Why a request does not reach a command: Redis's own words.

use crate::Row;
use resp::Args;

/// At most this many bytes of a request are repeated in an error.
const ECHO_BYTES_MAX: usize = 128;

/// Why a request is not run.
#[derive(Clone, Copy, Debug)]
pub enum CheckError<'a> {
    /// No command has this name.
    UnknownCommand(Args<'a>),
    /// The command has subcommands, but not this one.
    UnknownSubcommand(Args<'a>),
    /// Too few or too many arguments.
    WrongArity(&'static Row),
}

impl CheckError<'_> {
    /// The error as a client sees it, with its code. It may hold bytes of the client's that are no text.
    pub fn text(&self) -> Vec<u8> {
        match self {
            CheckError::UnknownCommand(args) => unknown_command(*args),
            CheckError::UnknownSubcommand(args) => {
                let name = args.get(0).to_ascii_uppercase();
                [
                    b"ERR unknown subcommand '",
                    echo(args.get(1), ECHO_BYTES_MAX),
                    b"'. Try ",
                    &name,
                    b" HELP.",
                ]
                .concat()
            }
            CheckError::WrongArity(row) => format!(
                "ERR wrong number of arguments for '{}' command",
                row.full_name()
            )
            .into_bytes(),
        }
    }
}

/// The error that answers a command which Redis has and this version of Torc has not.
pub fn later_error(row: &'static Row) -> String {
    format!(
        "ERR command '{}' is not supported by this version of Torc",
        row.full_name()
    )
}

/// The name, and of the arguments as many as fit.
fn unknown_command(args: Args<'_>) -> Vec<u8> {
    let mut repeated = Vec::with_capacity(2 * ECHO_BYTES_MAX);
    for argument in args.from(1).iter() {
        if repeated.len() >= ECHO_BYTES_MAX {
            break;
        }
        let room = ECHO_BYTES_MAX - repeated.len();
        repeated.push(b'\'');
        repeated.extend_from_slice(echo(argument, room));
        repeated.extend_from_slice(b"' ");
    }
    [
        b"ERR unknown command '",
        echo(args.get(0), ECHO_BYTES_MAX),
        b"', with args beginning with: ",
        &repeated,
    ]
    .concat()
}

/// The bytes up to the first NUL, which ends them in Redis, and no more than `bytes_max`.
fn echo(bytes: &[u8], bytes_max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(bytes_max)];
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}
