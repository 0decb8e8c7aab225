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
    /// Positive integers may differ by this much (times to live); everything else is exact.
    Near(i64),
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
            Compare::Near(tolerance) => match (redis, torc) {
                (Value::Integer(left), Value::Integer(right)) => {
                    *left > 0 && *right > 0 && (left - right).abs() <= tolerance
                }
                _ => false,
            },
            Compare::Kind => {
                let exact = |value: &Value| matches!(value, Value::Error(_)) || value.is_null();
                !exact(redis) && !exact(torc) && redis.kind() == torc.kind()
            }
            Compare::Fields => redis.kind() == torc.kind() && fields(redis) == fields(torc),
            Compare::CommandInfo => command_info(redis) == command_info(torc),
            Compare::Nothing => true,
        }
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
