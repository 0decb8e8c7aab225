//! The fields of an entry as bytes: how many strings there are, then each one's length and its bytes. Numbers are seven
//! bits a byte, the lowest first, the top bit set in all but the last.

/// Appends a number.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the beginning; none if there is none.
pub(super) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The packed form of an entry's fields, each followed by its value.
pub(super) fn pack<'f>(fields: impl Iterator<Item = &'f [u8]>) -> Vec<u8> {
    let (mut strings, mut count) = (Vec::new(), 0);
    for string in fields {
        push_number(&mut strings, string.len() as u64);
        strings.extend_from_slice(string);
        count += 1;
    }
    let mut packed = Vec::with_capacity(strings.len() + 2);
    push_number(&mut packed, count);
    packed.extend_from_slice(&strings);
    packed
}

/// Whether bytes are a packed form: an even count of strings, and nothing behind them.
pub(super) fn is_packed(mut bytes: &[u8]) -> bool {
    let Some(count) = take_number(&mut bytes).filter(|count| count.is_multiple_of(2)) else {
        return false;
    };
    for _ in 0..count {
        let Some(rest) = take_number(&mut bytes)
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| bytes.get(length..))
        else {
            return false;
        };
        bytes = rest;
    }
    bytes.is_empty()
}

/// The fields of an entry, each followed by its value.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(mut packed: &'a [u8]) -> Self {
        let count = take_number(&mut packed).expect("an entry is packed");
        Fields {
            left: count as usize,
            rest: packed,
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let length = take_number(&mut self.rest).expect("an entry is packed");
        let (string, rest) = self.rest.split_at(length as usize);
        self.rest = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
