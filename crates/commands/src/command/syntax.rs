//! What arguments a command takes: for COMMAND DOCS, from which redis-cli makes its hints, and for HELP.
//!
//! A command's syntax is one line of a small language:
//!
//! ```text
//! key:key0           a value: its name and type; keyN is a key of the row's N-th specification, no type a string
//! NX                 a word that stands for itself
//! EX=seconds:integer a word, then a value
//! [ITEM]             may be left out
//! ITEM...            may be repeated; with ...+ its word is repeated too
//! name<A | B>        one of these
//! name(A B)          all of these, in order
//! ```

use super::syntax_table::SYNTAX;
use crate::Row;

/// One argument, or several that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument {
    /// Its name as written; of a word that stands for itself, that word.
    written: &'static str,
    pub kind: Kind,
    pub token: Option<&'static str>,
    pub is_optional: bool,
    pub repeat: Repeat,
}

/// How often an argument may be given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Repeat {
    Once,
    Value,
    TokenAndValue,
}

/// Type of an argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A word that stands for itself.
    Token,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
    /// A key, and which of the row's specifications names it.
    Key(u8),
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

impl Kind {
    /// As COMMAND DOCS names it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Token => "pure-token",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::Key(_) => "key",
            Kind::OneOf(_) => "oneof",
            Kind::Block(_) => "block",
        }
    }

    pub fn key_index(&self) -> Option<i64> {
        match self {
            Kind::Key(index) => Some(i64::from(*index)),
            _ => None,
        }
    }

    pub fn members(&self) -> &[Argument] {
        match self {
            Kind::OneOf(members) | Kind::Block(members) => members,
            _ => &[],
        }
    }

    fn of_value(kind: &str) -> Option<Kind> {
        Some(match kind {
            "integer" => Kind::Integer,
            "double" => Kind::Double,
            "pattern" => Kind::Pattern,
            "unix-time" => Kind::UnixTime,
            _ => Kind::Key(kind.strip_prefix("key")?.parse().ok()?),
        })
    }
}

impl Argument {
    /// Its name, in lower case.
    pub fn name(&self) -> String {
        self.written.to_ascii_lowercase()
    }

    /// How a person is told of it.
    fn usage(&self) -> String {
        let value = match &self.kind {
            Kind::Token => self.written.to_owned(),
            Kind::OneOf(members) if self.is_optional && self.token.is_none() => {
                usage_of(members, " | ")
            }
            Kind::OneOf(members) => format!("<{}>", usage_of(members, " | ")),
            Kind::Block(members) => usage_of(members, " "),
            _ => self.written.to_owned(),
        };
        let word = self.token.filter(|_| self.kind != Kind::Token);
        let once = match word {
            Some(token) => format!("{token} {value}"),
            None => value.clone(),
        };
        let all = match self.repeat {
            Repeat::Once => once,
            Repeat::Value => format!("{once} [{value} ...]"),
            Repeat::TokenAndValue => format!("{once} [{once} ...]"),
        };
        match self.is_optional {
            true => format!("[{all}]"),
            false => all,
        }
    }
}

fn usage_of(arguments: &[Argument], between: &str) -> String {
    let parts: Vec<_> = arguments.iter().map(Argument::usage).collect();
    parts.join(between)
}

/// The arguments of a command; none if it takes none.
pub(super) fn arguments(row: &'static Row) -> Vec<Argument> {
    let name = row.full_name();
    match SYNTAX.iter().find(|(known, _)| *known == name) {
        Some((_, syntax)) => Parser { rest: syntax }.list(),
        None => Vec::new(),
    }
}

/// The arguments of a command as a person is told of them, for example `key seconds [NX | XX | GT | LT]`.
pub(crate) fn usage(row: &'static Row) -> String {
    usage_of(&arguments(row), " ")
}

/// Reads syntax, which is ours: a mistake in it is a bug.
struct Parser {
    rest: &'static str,
}

impl Parser {
    /// Items up to the end of the line, or of what encloses them.
    fn list(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches([' ', '|']);
            if self.rest.is_empty() || self.rest.starts_with([']', '>', ')']) {
                return arguments;
            }
            arguments.push(self.item());
        }
    }

    fn item(&mut self) -> Argument {
        if self.eat("[") {
            let mut argument = self.item();
            self.expect("]");
            argument.is_optional = true;
            return argument;
        }
        let mut argument = self.value();
        argument.repeat = match (self.eat("..."), self.eat("+")) {
            (false, _) => Repeat::Once,
            (true, false) => Repeat::Value,
            (true, true) => Repeat::TokenAndValue,
        };
        argument
    }

    fn value(&mut self) -> Argument {
        let end = self.rest.find([' ', '[', ']', '<', '>', '(', ')']);
        let end = end.unwrap_or(self.rest.len());
        let end = self.rest[..end].find("...").unwrap_or(end);
        let (word, rest) = self.rest.split_at(end);
        assert!(!word.is_empty(), "an argument has a name: {}", self.rest);
        self.rest = rest;
        // The word `=` stands for itself.
        let (token, name) = match word.split_once('=') {
            Some((token, name)) if !token.is_empty() => (Some(token), name),
            Some(_) | None => (None, word),
        };
        let kind = if self.eat("<") {
            Kind::OneOf(self.enclosed(">"))
        } else if self.eat("(") {
            Kind::Block(self.enclosed(")"))
        } else if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let typed = name.rsplit_once(':');
            let typed = typed.and_then(|(name, kind)| Some((name, Kind::of_value(kind)?)));
            let (name, kind) = typed.unwrap_or((name, Kind::String));
            return Argument::once(name, kind, token);
        } else {
            return Argument::once(name, Kind::Token, Some(name));
        };
        Argument::once(name, kind, token)
    }

    fn enclosed(&mut self, end: &str) -> Vec<Argument> {
        let members = self.list();
        self.expect(end);
        members
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) {
        assert!(self.eat(text), "{text} is missing before {:?}", self.rest);
    }
}

impl Argument {
    fn once(written: &'static str, kind: Kind, token: Option<&'static str>) -> Argument {
        Argument {
            written,
            kind,
            token,
            is_optional: false,
            repeat: Repeat::Once,
        }
    }
}

#[cfg(test)]
mod tests;
