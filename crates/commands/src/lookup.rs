//! From a request to its row: by name, in any case of letters, without an allocation.
//!
//! The families' rows are put into one array at compile time and their subcommands into a second one, so
//! that every row has a number (for counters) and a subcommand knows its parent. A small open hash table,
//! built at compile time too, finds the row: most look-ups are one probe and one comparison.

use crate::table::FAMILIES;
use crate::{CheckError, Row};
use resp::Args;

/// How many commands there are.
const COMMANDS_COUNT: usize = {
    let (mut count, mut family) = (0, 0);
    while family < FAMILIES.len() {
        count += FAMILIES[family].len();
        family += 1;
    }
    count
};

/// How many subcommands there are.
const SUBCOMMANDS_COUNT: usize = {
    let (mut count, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            count += FAMILIES[family][row].subcommands.len();
            row += 1;
        }
        family += 1;
    }
    count
};

/// All commands, families in order. A row's subcommands are its part of [`SUBCOMMANDS`].
static COMMANDS: [Row; COMMANDS_COUNT] = {
    let mut rows = [Row::BLANK; COMMANDS_COUNT];
    let (mut at, mut subcommands_at, mut family) = (0, 0, 0);
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            let own = FAMILIES[family][row];
            let (_, rest) = SUBCOMMANDS.split_at(subcommands_at);
            let (subcommands, _) = rest.split_at(own.subcommands.len());
            rows[at] = own.subcommands(subcommands);
            subcommands_at += subcommands.len();
            at += 1;
            row += 1;
        }
        family += 1;
    }
    rows
};

/// All subcommands, in the order of their parents.
static SUBCOMMANDS: [Row; SUBCOMMANDS_COUNT] = {
    let mut rows = [Row::BLANK; SUBCOMMANDS_COUNT];
    let (mut at, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            let own = FAMILIES[family][row].subcommands;
            let mut sub = 0;
            while sub < own.len() {
                rows[at] = own[sub];
                at += 1;
                sub += 1;
            }
            row += 1;
        }
        family += 1;
    }
    rows
};

/// The position in [`COMMANDS`] of each subcommand's parent.
static PARENTS: [u16; SUBCOMMANDS_COUNT] = {
    let mut parents = [0; SUBCOMMANDS_COUNT];
    let (mut at, mut command) = (0, 0);
    while command < COMMANDS.len() {
        let mut sub = 0;
        while sub < COMMANDS[command].subcommands.len() {
            parents[at] = command as u16;
            at += 1;
            sub += 1;
        }
        command += 1;
    }
    parents
};

/// Slots of the hash table: twice the commands and more, so that few collide.
const SLOTS_COUNT: usize = (COMMANDS_COUNT * 2).next_power_of_two();

/// A place of the hash table: a command and its name's print, so that one load finds and compares both.
#[derive(Clone, Copy)]
struct Slot {
    print: Print,
    /// Position in [`COMMANDS`], or [`EMPTY`].
    command: u16,
}

/// Where no command is.
const EMPTY: u16 = u16::MAX;

/// Commands by hash; a collision goes to the next free slot.
static SLOTS: [Slot; SLOTS_COUNT] = {
    let empty = Slot {
        print: Print::of(b""),
        command: EMPTY,
    };
    let mut slots = [empty; SLOTS_COUNT];
    let mut command = 0;
    while command < COMMANDS.len() {
        let print = Print::of(COMMANDS[command].name.as_bytes());
        let mut slot = print.slot();
        while slots[slot].command != EMPTY {
            slot = (slot + 1) % SLOTS_COUNT;
        }
        slots[slot] = Slot {
            print,
            command: command as u16,
        };
        command += 1;
    }
    slots
};

/// Length and both ends of a name, its letters in lower case. Up to [`Print::BYTES_MAX`] the ends overlap or
/// meet, so that equal prints are equal names.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print {
    head: u64,
    tail: u64,
    len: usize,
}

impl Print {
    const BYTES_MAX: usize = 16;

    #[inline]
    const fn of(name: &[u8]) -> Print {
        let (head, tail) = match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => Print::ends_of_short(name),
        };
        Print {
            head: lower_case(head),
            tail: lower_case(tail),
            len: name.len(),
        }
    }

    /// Both ends of a name below 8 bytes, so that no byte is left out.
    #[inline]
    const fn ends_of_short(name: &[u8]) -> (u64, u64) {
        if let (Some(head), Some(tail)) = (name.first_chunk(), name.last_chunk()) {
            let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
            (head as u64, tail as u64)
        } else if let [first, .., last] = name {
            let middle = name[name.len() / 2];
            (*first as u64 | (middle as u64) << 8, *last as u64)
        } else if let [only] = name {
            (*only as u64, 0)
        } else {
            (0, 0)
        }
    }

    /// The first slot to look at.
    #[inline]
    const fn slot(self) -> usize {
        let word = self.head ^ self.tail.rotate_left(29) ^ self.len as u64;
        let mixed = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (u64::BITS - SLOTS_COUNT.trailing_zeros())) as usize
    }
}

/// Eight ASCII bytes with their letters in lower case; other bytes stay as they are. All bytes at once: a
/// byte's top bit tells whether a sum reached 128, and no sum carries into the next byte.
#[inline]
const fn lower_case(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = bytes & (0x7f * EACH);
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let past_z = low + (0x80 - b'Z' as u64 - 1) * EACH;
    let letters = from_a & !past_z & !bytes & (0x80 * EACH);
    // Bit 7 of a letter becomes bit 5, which is the difference of the cases.
    bytes | letters >> 2
}

/// All commands, in the order of `COMMAND`'s reply; those that are not built yet are among them
/// ([`Row::is_built`]).
pub fn commands() -> &'static [Row] {
    &COMMANDS
}

/// How many rows have a number: [`Row::id`] is below it.
pub const fn rows_count() -> usize {
    COMMANDS_COUNT + SUBCOMMANDS_COUNT
}

/// The row of this number. Panics at [`rows_count`] and beyond.
pub fn row_of(id: usize) -> &'static Row {
    COMMANDS
        .get(id)
        .unwrap_or_else(|| &SUBCOMMANDS[id - COMMANDS_COUNT])
}

/// The row of a command by its name in any case, or none.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Row> {
    let print = Print::of(name);
    let mut slot = print.slot();
    loop {
        let Slot {
            print: known,
            command,
        } = SLOTS[slot];
        if command == EMPTY {
            return None;
        }
        if known == print {
            let row = &COMMANDS[command as usize];
            let is_told = name.len() <= Print::BYTES_MAX;
            if is_told || row.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(row);
            }
        }
        slot = (slot + 1) % SLOTS_COUNT;
    }
}

/// The subcommand of `row` by its name in any case, or none.
pub fn lookup_subcommand(row: &Row, name: &[u8]) -> Option<&'static Row> {
    let subcommands = row.subcommands;
    subcommands
        .iter()
        .find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The row of a command or, as `client|kill`, of a subcommand: how `COMMAND INFO` and ACL rules name them.
pub fn lookup_full_name(name: &[u8]) -> Option<&'static Row> {
    match name.iter().position(|byte| *byte == b'|') {
        None => lookup(name),
        Some(bar) => lookup_subcommand(lookup(&name[..bar])?, &name[bar + 1..]),
    }
}

/// The row of the subcommand that `args` name, or of the command itself if it has none or is asked for none.
///
/// # Errors
/// A [`CheckError`] with Redis's words: unknown command, unknown subcommand. The number of arguments is not
/// looked at.
#[inline]
pub fn find<'a>(args: Args<'a>) -> Result<&'static Row, CheckError<'a>> {
    let row = lookup(args.get(0)).ok_or(CheckError::UnknownCommand(args))?;
    if row.subcommands.is_empty() || args.len() == 1 {
        return Ok(row);
    }
    lookup_subcommand(row, args.get(1)).ok_or(CheckError::UnknownSubcommand(args))
}

/// The row that runs `args`, if they are a command that can be run: known, and with a fitting number of
/// arguments. A row that is not built yet is answered too: see [`later_error`](crate::later_error).
///
/// # Errors
/// A [`CheckError`] with Redis's words: unknown command, unknown subcommand, wrong number of arguments.
#[inline]
pub fn check<'a>(args: Args<'a>) -> Result<&'static Row, CheckError<'a>> {
    let row = find(args)?;
    if row.takes(args.len()) {
        Ok(row)
    } else {
        Err(CheckError::WrongArity(row))
    }
}

impl Row {
    /// Its number, below [`rows_count`]: commands first, then subcommands. Dense, the same in every process
    /// of one build, and no part of any format.
    ///
    /// Panics for a row that no look-up returned.
    #[inline]
    pub fn id(&'static self) -> usize {
        match position_in(&COMMANDS, self) {
            Some(position) => position,
            None => {
                let position = position_in(&SUBCOMMANDS, self);
                COMMANDS_COUNT + position.expect("a row of the table, for look-ups return no other")
            }
        }
    }

    /// The container that this is a subcommand of, or none.
    pub fn parent(&'static self) -> Option<&'static Row> {
        let position = position_in(&SUBCOMMANDS, self)?;
        Some(&COMMANDS[PARENTS[position] as usize])
    }
}

/// Where in `rows` this very row lies.
#[inline]
fn position_in(rows: &'static [Row], row: &'static Row) -> Option<usize> {
    let offset = std::ptr::from_ref(row)
        .addr()
        .checked_sub(rows.as_ptr().addr())?;
    let position = offset / size_of::<Row>();
    (position < rows.len()).then_some(position)
}

#[cfg(test)]
mod tests;
