//! Replies of COMMAND and of ACL CAT: the table as clients read it.
//!
//! They speak of what this version runs. A command of a later step is unknown to them, so that a client which
//! asks before it uses one is told the truth; only COMMAND GETKEYS finds the keys of those too.

mod docs;
mod info;
mod syntax;
mod syntax_table;
mod tips;

use crate::{Category, CheckError, Flags, KeyAccess, Row};
use crate::{commands, find, glob, help, keys_with_access, lookup_full_name};
use resp::{Args, Reply, Tree};

pub(crate) use syntax::usage;

/// Answers COMMAND and its subcommands. The number of arguments must fit the row of `args`.
pub fn command(args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() == 1 {
        return all(info::info, reply);
    }
    let row = find(args).expect("the caller checked the subcommand");
    match row.name {
        "count" => reply.integer(built().count() as i64),
        "docs" => docs_of(args.from(2), reply),
        "getkeys" => keys(args.from(2), reply, |reply, key, _| reply.bulk(key)),
        "getkeysandflags" => keys(args.from(2), reply, |reply, key, access| {
            reply.array(2);
            reply.bulk(key);
            reply.set(access.names().count());
            access.names().for_each(|name| reply.simple(name));
        }),
        "help" => help(
            row.parent().expect("COMMAND HELP is COMMAND's subcommand"),
            reply,
        ),
        "info" if args.len() == 2 => all(info::info, reply),
        "info" => info_of(args.from(2), reply),
        "list" => list(args, reply),
        name => unreachable!("COMMAND has no subcommand {name}"),
    }
}

/// Answers ACL CAT: the categories, or the commands of one. `args` begin with the two words.
pub fn categories(args: Args<'_>, reply: &mut Reply<'_>) {
    match args.len() {
        2 => {
            reply.array(Category::all().count());
            Category::all().for_each(|(_, name)| reply.bulk(name.as_bytes()));
        }
        3 => match Category::from_name(args.get(2)) {
            Some(category) => names(|row| row.all_categories().has(category), reply),
            None => reply.error_bytes(&[b"ERR Unknown category '", args.get(2), b"'"].concat()),
        },
        _ => {
            // Redis repeats the subcommand as the client wrote it.
            let text: [&[u8]; 3] = [
                b"ERR unknown subcommand or wrong number of arguments for '",
                args.get(1),
                b"'. Try ACL HELP.",
            ];
            reply.error_bytes(&text.concat());
        }
    }
}

/// The commands that this version runs.
fn built() -> impl Iterator<Item = &'static Row> + Clone {
    commands().iter().filter(|row| row.is_built())
}

/// The same with their subcommands.
fn built_with_subcommands() -> impl Iterator<Item = &'static Row> + Clone {
    built().flat_map(|row| {
        let subcommands = row.subcommands.iter().filter(|sub| sub.is_built());
        std::iter::once(row).chain(subcommands)
    })
}

fn all(describe: fn(&'static Row) -> Tree, reply: &mut Reply<'_>) {
    reply.array(built().count());
    built().for_each(|row| reply.tree(&describe(row)));
}

fn info_of(names: Args<'_>, reply: &mut Reply<'_>) {
    reply.array(names.len());
    for name in names.iter() {
        match lookup_full_name(name).filter(|row| row.is_built()) {
            Some(row) => reply.tree(&info::info(row)),
            None => reply.null(),
        }
    }
}

/// Unknown names are left out.
fn docs_of(names: Args<'_>, reply: &mut Reply<'_>) {
    let rows: Vec<&'static Row> = if names.is_empty() {
        built().collect()
    } else {
        let rows = names.iter().filter_map(lookup_full_name);
        rows.filter(|row| row.is_built()).collect()
    };
    reply.map(rows.len());
    for row in rows {
        reply.bulk(row.full_name().as_bytes());
        reply.tree(&docs::docs(row));
    }
}

fn list(args: Args<'_>, reply: &mut Reply<'_>) {
    const SYNTAX: &str = "ERR syntax error";
    if args.len() == 2 {
        return names(|_| true, reply);
    }
    if args.len() != 5 || !args.get(2).eq_ignore_ascii_case(b"filterby") {
        return reply.error(SYNTAX);
    }
    let wanted = args.get(4);
    match args.get(3).to_ascii_lowercase().as_slice() {
        // There are no modules, hence no commands of one.
        b"module" => reply.array(0),
        b"aclcat" => match Category::from_name(wanted) {
            Some(category) => names(|row| row.all_categories().has(category), reply),
            None => reply.array(0),
        },
        b"pattern" => names(
            |row| glob::matches_ignoring_case(wanted, row.full_name().as_bytes()),
            reply,
        ),
        _ => reply.error(SYNTAX),
    }
}

/// The full names of the commands and subcommands that `is_wanted`.
fn names(is_wanted: impl Fn(&'static Row) -> bool, reply: &mut Reply<'_>) {
    let rows: Vec<_> = built_with_subcommands()
        .filter(|row| is_wanted(row))
        .collect();
    reply.array(rows.len());
    for row in rows {
        reply.bulk(row.full_name().as_bytes());
    }
}

/// Answers the keys of the command `args`, each written by `write`.
fn keys(args: Args<'_>, reply: &mut Reply<'_>, write: impl Fn(&mut Reply<'_>, &[u8], KeyAccess)) {
    let row = match find(args) {
        Ok(row) => row,
        Err(CheckError::UnknownCommand(_) | CheckError::UnknownSubcommand(_)) => {
            return reply.error("ERR Invalid command specified");
        }
        Err(CheckError::WrongArity(_)) => unreachable!("arity is looked at below"),
    };
    let is_key = |access: KeyAccess| !access.has(KeyAccess::NOT_KEY);
    if !row.keys.iter().any(|spec| is_key(spec.access)) {
        return reply.error("ERR The command has no key arguments");
    }
    if !row.takes(args.len()) {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    let keys = keys_with_access(row, args).unwrap_or_default();
    if keys.is_empty() && !row.flags.has(Flags::NO_MANDATORY_KEYS) {
        return reply.error("ERR Invalid arguments specified for command");
    }
    reply.array(keys.len());
    for (position, access) in keys {
        write(reply, args.get(position), access);
    }
}

#[cfg(test)]
mod tests;
