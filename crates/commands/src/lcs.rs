//! LCS: the longest common subsequence of two strings.

use crate::access::{detach, integer, read_string, reply_failure};
use crate::errors::{ErrorText, SYNTAX};
use crate::string::STRING_ROW;
use crate::{
    BeginSearch, Context, FindKeys, Flags, KeyAccess, KeySpec, Row, Run, STRING_BYTES_MAX,
};
use bytes::Bytes;
use resp::{Args, Reply};

pub(crate) const LCS: Row = Row {
    name: "lcs",
    arity: -3,
    flags: Flags::READONLY,
    keys: &[KeySpec {
        begin: BeginSearch::Index(1),
        find: FindKeys::Range {
            last: 1,
            step: 1,
            limit: 0,
        },
        access: KeyAccess::RO.and(KeyAccess::ACCESS),
    }],
    since: "7.0.0",
    summary: "Finds the longest common subsequence of the strings at two keys.",
    complexity: "O(N*M) in the lengths of both.",
    run: Run::Data(lcs),
    ..STRING_ROW
};

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The subsequence.
    Text,
    /// `LEN`: how long it is.
    Length,
    /// `IDX`: where its runs lie in both strings.
    Runs,
}

struct Options {
    form: Form,
    run_len_min: i64,
    /// Numbers that tell one run: two ranges, and its length under `WITHMATCHLEN`.
    run_fields: usize,
}

fn lcs(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = reply_lcs(ctx, args, reply);
    reply_failure(reply, outcome);
}

/// Redis's order: both keys' types, then the options, then the size.
fn reply_lcs(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let first = ctx.first_key(args.get(1));
    let second = ctx.key(args.get(2));
    let string_at = |ctx: &mut Context<'_>, key| -> Result<Bytes, ErrorText> {
        let value = read_string(ctx, key)
            .map_err(|_| "ERR The specified keys must contain string values")?;
        Ok(value.map_or_else(Bytes::new, detach))
    };
    let (first, second) = (string_at(ctx, first)?, string_at(ctx, second)?);
    let options = Options::parse(args.from(3))?;
    check_size(first.len(), second.len())?;
    match options.form {
        Form::Length => {
            let (length, _) = solve(&first, &second, Ways::Forget);
            reply.integer(i64::from(length));
        }
        Form::Text => {
            let (length, ways) = solve(&first, &second, Ways::Remember);
            let mut text = Vec::with_capacity(length as usize);
            for run in ways.runs(&first, &second) {
                text.extend(first[run.first..run.first + run.len].iter().rev());
            }
            text.reverse();
            reply.bulk(&text);
        }
        Form::Runs => {
            let (length, ways) = solve(&first, &second, Ways::Remember);
            let mut runs = ways.runs(&first, &second);
            runs.retain(|run| run.len as i64 >= options.run_len_min);
            reply.map(2);
            reply.bulk(b"matches");
            reply.array(runs.len());
            for run in &runs {
                run.reply(reply, options.run_fields);
            }
            reply.bulk(b"len");
            reply.integer(i64::from(length));
        }
    }
    Ok(())
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, ErrorText> {
        let (mut length, mut runs) = (None, None);
        let mut options = Options {
            form: Form::Text,
            run_len_min: 0,
            run_fields: 2,
        };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            match word {
                _ if is(b"idx") => runs = Some(Form::Runs),
                _ if is(b"len") => length = Some(Form::Length),
                _ if is(b"withmatchlen") => options.run_fields = 3,
                _ if is(b"minmatchlen") => {
                    options.run_len_min = integer(rest.next().ok_or(SYNTAX)?)?;
                }
                _ => return Err(SYNTAX),
            }
        }
        if length.is_some() && runs.is_some() {
            return Err("ERR If you want both the length and indexes, please just use IDX.");
        }
        options.form = length.or(runs).unwrap_or(Form::Text);
        Ok(options)
    }
}

/// Refuses what Redis refuses: a table of 32-bit cells beyond `proto-max-bulk-len`. Ours has one bit a
/// cell, so the bound is on time rather than on memory.
fn check_size(first_len: usize, second_len: usize) -> Result<(), ErrorText> {
    let cells = (first_len as u64 + 1) * (second_len as u64 + 1);
    if cells * 4 > STRING_BYTES_MAX as u64 {
        return Err("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    }
    Ok(())
}

/// Whether the way back through the table is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    Forget,
    Remember,
}

/// For each pair of prefixes that end in different bytes: whether dropping the first string's last
/// byte leaves more in common than dropping the second's. One bit a pair, row by row.
struct WayBack {
    bits: Vec<u64>,
    columns: usize,
}

/// The length of the longest common subsequence, and the way back (empty if it is to be forgotten).
/// O(N*M) time; two rows of lengths and one bit a cell of memory.
fn solve(first: &[u8], second: &[u8], ways: Ways) -> (u32, WayBack) {
    let columns = second.len();
    let cells = match ways {
        Ways::Forget => 0,
        Ways::Remember => first.len() * columns,
    };
    let mut bits = vec![0u64; cells.div_ceil(64)];
    // `row[j]` is the length for the prefix of `first` so far and the first `j` bytes of `second`.
    let mut row = vec![0u32; columns + 1];
    for (i, byte) in first.iter().enumerate() {
        let (mut diagonal, mut left) = (0, 0);
        for (j, other) in second.iter().enumerate() {
            let up = row[j + 1];
            let here = if byte == other {
                diagonal + 1
            } else {
                if up > left && ways == Ways::Remember {
                    let cell = i * columns + j;
                    bits[cell / 64] |= 1 << (cell % 64);
                }
                up.max(left)
            };
            row[j + 1] = here;
            (diagonal, left) = (up, here);
        }
    }
    (row[columns], WayBack { bits, columns })
}

/// Bytes that follow each other in both strings.
struct MatchRun {
    first: usize,
    second: usize,
    len: usize,
}

impl WayBack {
    /// The runs of the subsequence, the last one first, as Redis finds them.
    fn runs(&self, first: &[u8], second: &[u8]) -> Vec<MatchRun> {
        let mut runs: Vec<MatchRun> = Vec::new();
        let (mut i, mut j) = (first.len(), second.len());
        while i > 0 && j > 0 {
            if first[i - 1] == second[j - 1] {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut() {
                    Some(run) if run.first == i + 1 && run.second == j + 1 => {
                        *run = MatchRun {
                            first: i,
                            second: j,
                            len: run.len + 1,
                        };
                    }
                    _ => runs.push(MatchRun {
                        first: i,
                        second: j,
                        len: 1,
                    }),
                }
            } else if self.drops_first(i - 1, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }

    fn drops_first(&self, i: usize, j: usize) -> bool {
        let cell = i * self.columns + j;
        self.bits[cell / 64] >> (cell % 64) & 1 == 1
    }
}

impl MatchRun {
    fn reply(&self, reply: &mut Reply<'_>, fields: usize) {
        reply.array(fields);
        for start in [self.first, self.second] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + self.len - 1) as i64);
        }
        if fields > 2 {
            reply.integer(self.len as i64);
        }
    }
}

#[cfg(test)]
mod tests;
