//! SORT and SORT_RO: the elements of a list, a set or a sorted set in another order, or what is found at keys that are made
//! of them.
//!
//! BY and GET read keys that no argument names ([`pattern`]). A request is routed by the keys that its arguments name, so these
//! must be where the sorted key is: a pattern must have the same hash tag, as Redis's clusters have it too.

mod order;
mod pattern;

use crate::collection::{Told, put_collection};
use crate::{
    Category, Context, EventClass, Flags, KeyAccess, KeySpec, Row, Run,
    access::{integer, reply_failure},
    errors::{ErrorText, SYNTAX, WRONG_TYPE},
    key::{Look, ROW, read},
    lock_guard::{COMMAND_AT, LOCK_GUARD},
    table::{BeginSearch, FindKeys, first_key},
};
use cache::{Collection, CollectionType, List, Typed, Value};
use order::{Weighing, sort_elements};
use pattern::Pattern;
use resp::{Args, Reply};
use std::ops::Range;

const SORTED: KeySpec = first_key(KeyAccess::RO.and(KeyAccess::ACCESS));
/// BY and GET: the keys follow from the elements that are sorted.
const LOOKED_UP: KeySpec = unknown(KeyAccess::RO.and(KeyAccess::ACCESS));
/// STORE: the word may stand anywhere among the arguments.
const STORED: KeySpec = unknown(KeyAccess::OW.and(KeyAccess::UPDATE));

const fn unknown(access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Unknown,
        find: FindKeys::Unknown,
        access,
    }
}

const CATEGORIES: Category = Category::SET
    .and(Category::SORTEDSET)
    .and(Category::LIST)
    .and(Category::DANGEROUS);

/// The family's rows.
pub static ROWS: &[Row] = &[
    Row {
        name: "sort",
        arity: -2,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS),
        keys: &[SORTED, LOOKED_UP, STORED],
        categories: CATEGORIES,
        since: "1.0.0",
        summary: "Sorts the elements of a list, set or sorted set; answers or stores them.",
        complexity: "O(N+M*log(M)) for N elements of which M are answered",
        run: Run::Data(sort),
        ..ROW
    },
    Row {
        name: "sort_ro",
        arity: -2,
        flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
        keys: &[SORTED, LOOKED_UP],
        categories: CATEGORIES,
        since: "7.0.0",
        summary: "Sorts the elements of a list, set or sorted set and answers them.",
        complexity: "O(N+M*log(M)) for N elements of which M are answered",
        run: Run::Data(sort_ro),
        ..ROW
    },
];

/// Whether STORE is among the options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Writing,
    ReadOnly,
}

fn sort(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = run(ctx, args, reply, Form::Writing);
    reply_failure(reply, outcome);
}

fn sort_ro(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let outcome = run(ctx, args, reply, Form::ReadOnly);
    reply_failure(reply, outcome);
}

/// Whether a request with these options reads keys that its arguments do not name. In a script, which sees the keys that it
/// was given and no other, it would miss them.
pub fn looks_up(row: &Row, args: Args<'_>) -> bool {
    if row.name != LOCK_GUARD.name {
        return sorts_by_others(row, args);
    }
    // The command behind a guard; guards do not nest.
    let guarded = args.from(COMMAND_AT);
    crate::check(guarded).is_ok_and(|row| sorts_by_others(row, guarded))
}

fn sorts_by_others(row: &Row, args: Args<'_>) -> bool {
    let form = match row.name {
        "sort" => Form::Writing,
        "sort_ro" => Form::ReadOnly,
        _ => return false,
    };
    // Options that are refused read nothing.
    Options::parse(args, form).is_ok_and(|options| {
        matches!(options.order, Order::By(_)) || options.gets.iter().any(Pattern::is_lookup)
    })
}

/// What the elements are sorted by.
#[derive(Clone, Copy)]
enum Order<'a> {
    /// Themselves.
    Elements,
    /// What is at the keys that they make.
    By(Pattern<'a>),
    /// Nothing: a pattern without a `*` (`BY nosort`).
    AsTheyAre,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Numbers,
    Bytes,
}

struct Options<'a> {
    order: Order<'a>,
    direction: Direction,
    comparison: Comparison,
    /// LIMIT: how many are left out at the beginning, how many are answered (negative: all).
    limit: (i64, i64),
    /// What is answered of each element, in place of itself if there is any.
    gets: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Checks the options in Redis's order; the last STORE, BY and LIMIT count.
    fn parse(args: Args<'a>, form: Form) -> Result<Self, ErrorText> {
        let mut options = Options {
            order: Order::Elements,
            direction: Direction::Ascending,
            comparison: Comparison::Numbers,
            limit: (0, -1),
            gets: Vec::new(),
            store: None,
        };
        let sorted = args.get(1);
        let mut rest = args.from(2).iter();
        while let Some(option) = rest.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"asc" => options.direction = Direction::Ascending,
                b"desc" => options.direction = Direction::Descending,
                b"alpha" => options.comparison = Comparison::Bytes,
                // Too few arguments left is bad syntax before a bad number is.
                b"limit" if rest.len() >= 2 => {
                    let mut bound = || integer(rest.next().expect("two are left"));
                    options.limit = (bound()?, bound()?);
                }
                b"by" => {
                    let pattern = Pattern::parse(rest.next().ok_or(SYNTAX)?);
                    options.set_order(pattern, sorted)?;
                }
                b"get" => {
                    let pattern = Pattern::parse(rest.next().ok_or(SYNTAX)?);
                    if !pattern.stays_with(sorted) {
                        return Err(
                            "ERR GET option of SORT denied in cluster mode when keys formed by the \
                             pattern may be in different slots.",
                        );
                    }
                    options.gets.push(pattern);
                }
                b"store" if form == Form::Writing => {
                    options.store = Some(rest.next().ok_or(SYNTAX)?);
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(options)
    }

    fn set_order(&mut self, pattern: Pattern<'a>, sorted: &[u8]) -> Result<(), ErrorText> {
        if !pattern.is_lookup() {
            self.order = Order::AsTheyAre;
            return Ok(());
        }
        if !pattern.stays_with(sorted) {
            return Err(
                "ERR BY option of SORT denied in cluster mode when keys formed by the pattern may be in \
                 different slots.",
            );
        }
        // Once told not to sort, Redis does not, whatever pattern follows.
        if !matches!(self.order, Order::AsTheyAre) {
            self.order = Order::By(pattern);
        }
        Ok(())
    }

    /// The places of those that are answered among `len` sorted elements.
    fn answered(&self, len: usize) -> Range<usize> {
        let (skipped, count) = self.limit;
        let start = usize::try_from(skipped).unwrap_or(if skipped < 0 { 0 } else { len });
        let start = start.min(len);
        let left = len - start;
        start..start + usize::try_from(count).unwrap_or(left).min(left)
    }
}

fn run(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    form: Form,
) -> Result<(), ErrorText> {
    let mut options = Options::parse(args, form)?;
    let key = ctx.first_key(args.get(1));
    // A clone costs little, and keys can be looked up while its elements are borrowed.
    let source = match read(ctx, key, Look::Access).map(|entry| entry.value) {
        Some(Value::Collection(collection)) if is_sortable(collection) => Some(collection.clone()),
        Some(_) => return Err(WRONG_TYPE),
        None => None,
    };
    if let (Order::AsTheyAre, Some(_), Some(Collection::Set(_))) =
        (options.order, options.store, &source)
    {
        // The order of a set's members says nothing, and a list that is stored is to have one that does.
        (options.order, options.comparison) = (Order::Elements, Comparison::Bytes);
    }
    let (mut elements, is_cut) = match &source {
        Some(source) => elements_of(source, &options),
        None => (Vec::new(), Cut::Whole),
    };
    let weighing = match options.order {
        Order::AsTheyAre => None,
        Order::Elements => Some(Weighing::Themselves(options.comparison)),
        Order::By(pattern) => Some(Weighing::By(pattern, options.comparison)),
    };
    if let Some(weighing) = weighing {
        elements = sort_elements(ctx, elements, weighing, options.direction)?;
    }
    let answered = match is_cut {
        Cut::Answered => &elements[..],
        Cut::Whole => &elements[options.answered(elements.len())],
    };
    match options.store {
        None => reply_elements(ctx, answered, &options.gets, reply),
        Some(target) => store_elements(ctx, answered, &options.gets, target, reply),
    }
    Ok(())
}

/// Which elements were taken.
enum Cut {
    /// All.
    Whole,
    /// Those alone that are answered, as nothing is to be sorted.
    Answered,
}

fn is_sortable(collection: &Collection) -> bool {
    match collection.type_of() {
        CollectionType::List | CollectionType::Set | CollectionType::SortedSet => true,
        CollectionType::Hash | CollectionType::Stream => false,
    }
}

/// The elements of `source`, before they are sorted. Lists and sorted sets have an order of their own, which DESC turns round
/// if nothing is to be sorted.
fn elements_of<'c>(source: &'c Collection, options: &Options<'_>) -> (Vec<&'c [u8]>, Cut) {
    let len = source.len();
    let is_descending = options.direction == Direction::Descending;
    let answered = options.answered(len);
    let keeps_order = matches!(options.order, Order::AsTheyAre);
    let elements = match source {
        Collection::Set(set) => return (set.iter().collect(), Cut::Whole),
        Collection::Hash(_) | Collection::Stream(_) => unreachable!("they are wrong types"),
        Collection::List(list) if !keeps_order => list.iter_from(0).collect(),
        Collection::SortedSet(set) if !keeps_order => set.iter_from(0).map(|one| one.0).collect(),
        Collection::List(list) if is_descending => {
            let from_back = list.iter_back(len - answered.start);
            return (from_back.take(answered.len()).collect(), Cut::Answered);
        }
        Collection::List(list) => {
            let from_front = list.iter_from(answered.start);
            return (from_front.take(answered.len()).collect(), Cut::Answered);
        }
        Collection::SortedSet(set) if is_descending => {
            let from_back = set.iter_back(len - answered.start).map(|one| one.0);
            return (from_back.take(answered.len()).collect(), Cut::Answered);
        }
        Collection::SortedSet(set) => {
            let from_front = set.iter_from(answered.start).map(|one| one.0);
            return (from_front.take(answered.len()).collect(), Cut::Answered);
        }
    };
    (elements, Cut::Whole)
}

fn reply_elements(
    ctx: &mut Context<'_>,
    elements: &[&[u8]],
    gets: &[Pattern<'_>],
    reply: &mut Reply<'_>,
) {
    reply.array(elements.len() * gets.len().max(1));
    for element in elements {
        if gets.is_empty() {
            reply.bulk(element);
        }
        for pattern in gets {
            pattern.look_up(ctx, element, |found| reply.bulk_or_null(found));
        }
    }
}

/// What is missing is stored as an empty element.
fn store_elements(
    ctx: &mut Context<'_>,
    elements: &[&[u8]],
    gets: &[Pattern<'_>],
    target: &[u8],
    reply: &mut Reply<'_>,
) {
    let mut stored = List::empty();
    for element in elements {
        if gets.is_empty() {
            stored.push_back(element);
        }
        for pattern in gets {
            pattern.look_up(ctx, element, |found| stored.push_back(found.unwrap_or(b"")));
        }
    }
    let target = ctx.key(target);
    reply.integer(stored.len() as i64);
    let told = Told {
        class: EventClass::List,
        name: "sortstore",
    };
    put_collection(ctx, target, stored, told);
}

#[cfg(test)]
mod tests;
