//! LPOS: the indices of elements that are equal to a value.

use crate::Context;
use crate::access::{integer, reply_failure};
use crate::collection::read_collection;
use crate::errors::{ErrorText, SYNTAX};
use cache::List;
use resp::{Args, Reply, parse_i64};

/// What LPOS was asked for, beside the value.
struct Search {
    /// Which match is the first to be answered, from 1 on.
    rank: u64,
    direction: Direction,
    /// How many matches are answered; none = one alone, and not as an array.
    count: Option<usize>,
    /// How many elements are compared.
    compared_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromFront,
    FromBack,
}

impl Search {
    /// LPOS's options, from argument 3 on.
    fn parse(args: Args<'_>) -> Result<Search, ErrorText> {
        let mut search = Search {
            rank: 1,
            direction: Direction::FromFront,
            count: None,
            compared_max: usize::MAX,
        };
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            let option = option.to_ascii_lowercase();
            let number = rest.next().ok_or(SYNTAX)?;
            match option.as_slice() {
                b"rank" => (search.rank, search.direction) = rank(number)?,
                b"count" => {
                    let count = unsigned(number).ok_or("ERR COUNT can't be negative")?;
                    search.count = Some(or_all(count));
                }
                b"maxlen" => {
                    let count = unsigned(number).ok_or("ERR MAXLEN can't be negative")?;
                    search.compared_max = or_all(count);
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(search)
    }

    /// The indices of the elements that are equal to `element`, in the order of the search.
    fn indices(&self, list: &List, element: &[u8]) -> Vec<usize> {
        let len = list.len();
        let skipped = usize::try_from(self.rank - 1).unwrap_or(usize::MAX);
        let count = self.count.unwrap_or(1);
        let is_equal = |(_, other): &(usize, &[u8])| *other == element;
        match self.direction {
            Direction::FromFront => {
                let seen = (0..len).zip(list.iter_from(0)).take(self.compared_max);
                let equal = seen.filter(is_equal).map(|(index, _)| index);
                equal.skip(skipped).take(count).collect()
            }
            Direction::FromBack => {
                let all = (0..len).rev().zip(list.iter_back(len));
                let equal = all.take(self.compared_max).filter(is_equal);
                let equal = equal.map(|(index, _)| index);
                equal.skip(skipped).take(count).collect()
            }
        }
    }
}

fn rank(argument: &[u8]) -> Result<(u64, Direction), ErrorText> {
    match integer(argument)? {
        0 => Err(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or \
             use negative to start from the end of the list",
        ),
        // Its magnitude is no signed number: later versions than 7.0 refuse it.
        i64::MIN => Err(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ),
        rank @ 1.. => Ok((rank.unsigned_abs(), Direction::FromFront)),
        rank => Ok((rank.unsigned_abs(), Direction::FromBack)),
    }
}

fn unsigned(argument: &[u8]) -> Option<usize> {
    parse_i64(argument).and_then(|number| usize::try_from(number).ok())
}

/// 0 stands for all.
fn or_all(count: usize) -> usize {
    match count {
        0 => usize::MAX,
        count => count,
    }
}

pub(super) fn lpos(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = reply_positions(ctx, args, reply);
    reply_failure(reply, outcome);
}

fn reply_positions(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), ErrorText> {
    let search = Search::parse(args)?;
    let key = ctx.first_key(args.get(1));
    let list = read_collection::<List>(ctx, key)?;
    let indices = list.map(|list| search.indices(list, args.get(2)));
    let indices = indices.unwrap_or_default();
    if search.count.is_some() {
        reply.array(indices.len());
        for index in indices {
            reply.integer(index as i64);
        }
    } else {
        match indices.first() {
            Some(index) => reply.integer(*index as i64),
            None => reply.null(),
        }
    }
    Ok(())
}
