use super::*;
use crate::{Row, commands};

fn all_rows() -> impl Iterator<Item = &'static Row> {
    let rows = commands().iter().filter(|row| row.is_built());
    rows.flat_map(|row| std::iter::once(row).chain(row.subcommands))
}

/// The fewest words that an argument may be.
fn words_min(argument: &Argument) -> usize {
    let words = argument.kind.members().iter().map(words_min);
    let value = match &argument.kind {
        Kind::OneOf(_) => words.min().unwrap_or(0),
        Kind::Block(_) => words.sum(),
        _ => 1,
    };
    match (argument.is_optional, &argument.kind, argument.token) {
        (true, _, _) => 0,
        (false, Kind::Token, _) | (false, _, None) => value,
        (false, _, Some(_)) => value + 1,
    }
}

/// Whether an argument may be more words than the fewest.
fn is_flexible(argument: &Argument) -> bool {
    argument.is_optional
        || argument.repeat != Repeat::Once
        || argument.kind.members().iter().any(is_flexible)
        || matches!(&argument.kind, Kind::OneOf(members)
            if members.iter().any(|member| words_min(member) != words_min(&members[0])))
}

#[test]
fn syntax_fits_the_number_of_arguments() {
    // Breaks if COMMAND DOCS and redis-cli's hints name more or fewer arguments than the command takes.
    for row in all_rows() {
        // QUIT and RESET-like commands ignore what follows them: there is nothing to name.
        if row.name == "quit" || !row.subcommands.is_empty() {
            continue;
        }
        let arguments = arguments(row);
        let name_words = 1 + usize::from(row.parent().is_some());
        let words = name_words + arguments.iter().map(words_min).sum::<usize>();
        let name = row.full_name();
        // KILL and TRACKING-like filters may each be left out, but not all of them.
        if name == "client|kill" {
            continue;
        }
        assert_eq!(
            words,
            row.arity.unsigned_abs() as usize,
            "{name}: {arguments:?}"
        );
        assert_eq!(row.arity < 0, arguments.iter().any(is_flexible), "{name}");
    }
}

#[test]
fn every_line_of_syntax_is_of_a_command() {
    // Breaks if a command was renamed and its hints stayed behind.
    let unknown: Vec<_> = SYNTAX
        .iter()
        .filter(|(name, _)| all_rows().all(|row| row.full_name() != *name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(SYNTAX.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn keys_of_syntax_are_keys_of_the_row() {
    // Breaks if a client that finds keys by COMMAND DOCS looks for a specification that is not there.
    fn check(row: &Row, arguments: &[Argument]) {
        for argument in arguments {
            if let Kind::Key(index) = argument.kind {
                assert!(usize::from(index) < row.keys.len(), "{}", row.name);
            }
            check(row, argument.kind.members());
        }
    }
    all_rows().for_each(|row| check(row, &arguments(row)));
}

#[test]
fn usage_reads_as_redis_writes_it() {
    // Breaks if HELP shows a person the language of the table.
    let usage_of = |name: &str| usage(crate::lookup_full_name(name.as_bytes()).unwrap());
    assert_eq!(usage_of("get"), "key");
    assert_eq!(usage_of("ping"), "[message]");
    assert_eq!(usage_of("expire"), "key seconds [NX | XX | GT | LT]");
    assert_eq!(usage_of("mset"), "key value [key value ...]");
    assert_eq!(usage_of("client|reply"), "<ON | OFF | SKIP>");
    assert_eq!(
        usage_of("sort"),
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] \
         [STORE destination]"
    );
}
