//! The patterns of SORT's BY and GET: from an element to a key, and to a field of a hash there.

use crate::Context;
use crate::key::{Look, read};
use cache::{Collection, Value};

/// A pattern as a client writes it.
///
/// ```text
/// #               the element itself
/// weight_*        the string at the key in which the element stands for *
/// user_*->name    a field of the hash at that key
/// nosort          no *: nothing is ever there
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// The element itself.
    Element,
    /// Nothing.
    Constant,
    /// What is at a key, or at a field of the hash there.
    At {
        before: &'a [u8],
        after: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Self {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|byte| *byte == b'*') else {
            return Pattern::Constant;
        };
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = after.windows(2).position(|pair| pair == b"->");
        match arrow {
            // An arrow without a field behind it belongs to the key.
            Some(arrow) if arrow + 2 < after.len() => Pattern::At {
                before,
                after: &after[..arrow],
                field: Some(&after[arrow + 2..]),
            },
            Some(_) | None => Pattern::At {
                before,
                after,
                field: None,
            },
        }
    }

    /// Whether a key is read for each element.
    pub(super) fn is_lookup(&self) -> bool {
        match self {
            Pattern::At { .. } => true,
            Pattern::Element | Pattern::Constant => false,
        }
    }

    /// Whether each key that it makes is in the slot of `sorted`, whatever the elements are.
    pub(super) fn stays_with(&self, sorted: &[u8]) -> bool {
        match self {
            // A tag that begins before the element must also end there: the element may hold a brace.
            Pattern::At { before, .. } => {
                hash_tag(before).is_some_and(|tag| tag == hash_tag(sorted).unwrap_or(sorted))
            }
            Pattern::Element | Pattern::Constant => true,
        }
    }

    /// Lends `take` what the pattern makes of `element`, if there is anything.
    pub(super) fn look_up<R>(
        &self,
        ctx: &mut Context<'_>,
        element: &[u8],
        take: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        let (before, after, field) = match self {
            Pattern::Element => return take(Some(element)),
            Pattern::Constant => return take(None),
            Pattern::At {
                before,
                after,
                field,
            } => (before, after, field),
        };
        let bytes = [before, element, after].concat();
        let key = ctx.key(&bytes);
        let value = read(ctx, key, Look::Access).map(|entry| entry.value);
        take(match (field, value) {
            (None, Some(value)) => value.string(),
            (Some(field), Some(Value::Collection(Collection::Hash(hash)))) => hash.get(field),
            (Some(_), Some(_)) | (_, None) => None,
        })
    }
}

/// The bytes that alone decide a key's slot, if they are not all of it: those between its first `{` and the first `}` after that
/// (Redis Cluster specification, "Hash tags").
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let len = rest.iter().position(|byte| *byte == b'}')?;
    (len > 0).then_some(&rest[..len])
}
