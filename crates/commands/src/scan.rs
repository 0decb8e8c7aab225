//! What the walks of one collection share: HSCAN, SSCAN, ZSCAN. A small collection is answered whole.
//!
//! A cursor is a place in the order of hashes, which is the same on every replica; 0 is the beginning, and says that
//! the end was reached.

use crate::errors::{ErrorText, NOT_INTEGER, SYNTAX};
use crate::glob;
use crate::walk::Keys;
use cache::Scan;
use resp::{Args, Reply, parse_i64, parse_u64};

/// Elements that a step looks at unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;

/// What is walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// A hash: its values may be left out.
    Hash,
    /// Anything else.
    Other,
}

/// Whether what belongs to an element is answered with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// It is.
    Shown,
    /// `NOVALUES`.
    Hidden,
}

/// The options behind the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    /// How many elements to look at, at least 1.
    pub(crate) count: usize,
    pub(crate) values: Values,
}

/// The cursor, which Redis looks at before it looks at the key.
///
/// # Errors
/// Redis's text: no number.
pub(crate) fn parse_cursor(args: Args<'_>) -> Result<u64, ErrorText> {
    parse_u64(args.get(2)).ok_or("ERR invalid cursor")
}

impl<'a> ScanOptions<'a> {
    /// The arguments from the third on; Redis looks at them after the key, if there is one.
    ///
    /// # Errors
    /// Redis's text: an option that is unknown, incomplete or none of this walk's, or a COUNT that is none.
    pub(crate) fn parse(args: Args<'a>, walked: Walked) -> Result<Self, ErrorText> {
        let mut options = ScanOptions {
            pattern: None,
            count: COUNT_DEFAULT,
            values: Values::Shown,
        };
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"match") {
                let pattern = rest.next().ok_or(SYNTAX)?;
                options.pattern = (!glob::is_everything(pattern)).then_some(pattern);
            } else if option.eq_ignore_ascii_case(b"count") {
                let count = parse_i64(rest.next().ok_or(SYNTAX)?).ok_or(NOT_INTEGER)?;
                options.count = usize::try_from(count).map_err(|_| SYNTAX)?;
                if options.count == 0 {
                    return Err(SYNTAX);
                }
            } else if option.eq_ignore_ascii_case(b"novalues") {
                match walked {
                    Walked::Hash => options.values = Values::Hidden,
                    Walked::Other => {
                        return Err("ERR NOVALUES option can only be used in HSCAN");
                    }
                }
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    /// Whether an element is to be answered.
    pub(crate) fn admits(&self, element: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, element))
    }
}

/// Answers a step: where to go on, and what was found.
pub(crate) fn reply_step(reply: &mut Reply<'_>, next: Scan, found: &Keys) {
    let cursor = match next {
        Scan::From(cursor) => cursor,
        Scan::Ended => 0,
    };
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    found.reply(reply);
}
