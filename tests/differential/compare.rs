//! When two replies count as the same.

use torc_tests::Value;

/// How the replies to one command are compared. Anything but `Exact` is there because the reply
/// holds a time, a size, an id or an order that two servers need not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Byte for byte, kind of null included.
    Exact,
    /// The same members in any order, one level deep (pairs of a map, or of a flat map, stay pairs).
    Unordered,
    /// The same pairs in any order: a map, or a flat list of fields and values.
    Pairs,
    /// A page of HSCAN or ZSCAN (2 words a member) or SSCAN (1): the same cursor, and the same members in any order.
    Page(usize),
    /// The same kind and as many members, whichever they are; errors and nulls exact.
    Length,
    /// The same leaves in any order, however nested: what a script made of an unordered reply.
    Leaves,
    /// Positive integers may differ by this much (times to live); everything else is exact.
    Near(i64),
    /// What streams tell of themselves: as it is, but for times of consumers and of what is pending, and for how many nodes
    /// the server's own tree has.
    Moments,
    /// The same kind of reply; errors and nulls exact.
    Kind,
    /// A map or flat map: the same field names, whatever their values.
    Fields,
    /// `COMMAND INFO`: names, arities, flags and key positions; lists of flags in any order.
    CommandInfo,
    /// Not compared: only that there is a reply.
    Nothing,
}

impl Compare {
    /// Whether `redis` and `torc` answered the same. `queued` holds how the members of an EXEC's
    /// reply are compared.
    pub fn same(self, redis: &Value, torc: &Value, queued: &[Compare]) -> bool {
        if redis == torc {
            return true;
        }
        if !queued.is_empty()
            && let (Value::Array(left), Value::Array(right)) = (redis, torc)
        {
            return left.len() == right.len()
                && left.len() == queued.len()
                && left
                    .iter()
                    .zip(right)
                    .zip(queued)
                    .all(|((left, right), compare)| compare.same(left, right, &[]));
        }
        match self {
            Compare::Exact => false,
            Compare::Unordered => {
                unordered(redis) == unordered(torc) && redis.kind() == torc.kind()
            }
            Compare::Pairs => redis.kind() == torc.kind() && grouped(redis, 2) == grouped(torc, 2),
            Compare::Page(words) => match (redis, torc) {
                (Value::Array(left), Value::Array(right))
                    if left.len() == 2 && right.len() == 2 =>
                {
                    left[0] == right[0] && grouped(&left[1], words) == grouped(&right[1], words)
                }
                _ => false,
            },
            Compare::Length => alike(redis, torc) && redis.items().len() == torc.items().len(),
            Compare::Leaves => {
                let (mut left, mut right) = (Vec::new(), Vec::new());
                leaves(redis, &mut left);
                leaves(torc, &mut right);
                left.sort();
                right.sort();
                redis.kind() == torc.kind() && left == right
            }
            Compare::Near(tolerance) => match (redis, torc) {
                (Value::Integer(left), Value::Integer(right)) => {
                    *left > 0 && *right > 0 && (left - right).abs() <= tolerance
                }
                _ => false,
            },
            Compare::Moments => without_moments(redis) == without_moments(torc),
            Compare::Kind => alike(redis, torc),
            Compare::Fields => redis.kind() == torc.kind() && fields(redis) == fields(torc),
            Compare::CommandInfo => command_info(redis) == command_info(torc),
            Compare::Nothing => true,
        }
    }
}

/// A reply on a stream, with 0 for each time and each count of nodes.
pub fn without_moments(reply: &Value) -> Value {
    let is_moment = |name: &Value| {
        let names = ["idle", "seen-time", "radix-tree-keys", "radix-tree-nodes"];
        matches!(name, Value::Bulk(name) if names.iter().any(|known| known.as_bytes() == name))
    };
    let plain = |name: Option<&Value>, value: &Value| match value {
        Value::Integer(_) if name.is_some_and(is_moment) => Value::Integer(0),
        value => without_moments(value),
    };
    match reply {
        Value::Array(items) => Value::Array(match items.as_slice() {
            // Pending: of a group, and of a consumer.
            [
                id @ Value::Bulk(_),
                name @ Value::Bulk(_),
                Value::Integer(_),
                count @ Value::Integer(_),
            ] => {
                vec![id.clone(), name.clone(), Value::Integer(0), count.clone()]
            }
            [
                id @ Value::Bulk(_),
                Value::Integer(_),
                count @ Value::Integer(_),
            ] => {
                vec![id.clone(), Value::Integer(0), count.clone()]
            }
            items => (0..items.len())
                .map(|at| plain(at.checked_sub(1).map(|before| &items[before]), &items[at]))
                .collect(),
        }),
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), plain(Some(name), value)))
                .collect(),
        ),
        value => value.clone(),
    }
}

/// Both of one kind, and neither an error nor a null.
fn alike(redis: &Value, torc: &Value) -> bool {
    let exact = |value: &Value| matches!(value, Value::Error(_)) || value.is_null();
    !exact(redis) && !exact(torc) && redis.kind() == torc.kind()
}

/// The members of a flat list by `words` at a time, of a map by its pairs, sorted. What is no collection is itself.
pub fn grouped(value: &Value, words: usize) -> Vec<String> {
    let mut members: Vec<String> = match value {
        Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
        Value::Array(items) | Value::Set(items) => items
            .chunks(words)
            .map(|group| format!("{group:?}"))
            .collect(),
        _ => vec![text_order(value)],
    };
    members.sort();
    members
}

fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Map(pairs) => {
            for (left, right) in pairs {
                leaves(left, into);
                leaves(right, into);
            }
        }
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            items.iter().for_each(|item| leaves(item, into));
        }
        _ => into.push(text_order(value)),
    }
}

fn text_order(value: &Value) -> String {
    format!("{value:?}")
}

fn unordered(value: &Value) -> Vec<String> {
    let mut members: Vec<String> = match value {
        Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
        _ => value.items().iter().map(text_order).collect(),
    };
    members.sort();
    members
}

fn fields(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = value.items().iter().step_by(2).map(text_order).collect();
    names.sort();
    names
}

/// The first six fields of each row (name, arity, flags, first, last, step), flags sorted. The later
/// ones (ACL categories, tips, key specifications) moved between 7.0 and 7.4.
fn command_info(value: &Value) -> Vec<String> {
    value
        .items()
        .iter()
        .map(|row| match row {
            Value::Array(parts) => {
                let parts: Vec<String> = parts
                    .iter()
                    .take(6)
                    .map(|part| match part {
                        Value::Array(_) | Value::Set(_) => unordered(part).join(","),
                        _ => text_order(part),
                    })
                    .collect();
                parts.join(" ")
            }
            _ => text_order(row),
        })
        .collect()
}
