//! Patterns of KEYS, SCAN, PSUBSCRIBE, CONFIG GET: Redis's rules of globbing, in time that is at worst the
//! product of both lengths and without recursion (CVE-2022-36021, CVE-2024-31228).
//!
//! `*` stands for any bytes, `?` for one, `[a-z]` for one of a class, `[^a-z]` for one outside it, and a
//! backslash takes the next byte as it is. Redis's oddities are kept, as KEYS shows them:
//!
//! - a class that is not closed ends with the pattern, so `[a` is `[a]` and `[^` any byte;
//! - a range may be upside down: `[z-a]` is `[a-z]`; bytes from 128 on stand below all others in it, as C's
//!   signed characters do;
//! - a backslash at the pattern's very end stands for itself;
//! - `*` matches the empty string, but `**` does not.

/// Whether letters differ by their case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Ignored,
}

impl Case {
    fn fold(self, byte: u8) -> u8 {
        match self {
            Case::Kept => byte,
            Case::Ignored => byte.to_ascii_lowercase(),
        }
    }
}

/// Whether all of `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_in(Case::Kept, pattern, text)
}

/// The same, where `a` is `A`.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_in(Case::Ignored, pattern, text)
}

/// Whether `pattern` matches every text, so that nobody needs to look: `*`.
pub fn is_everything(pattern: &[u8]) -> bool {
    pattern == b"*"
}

/// Places to go back to when a later part of the pattern does not match: behind the last star, and the first
/// byte of the text that the star has not swallowed yet. Earlier stars need not be tried again: what the last
/// one may swallow includes all that they could have left to it.
struct Resume {
    pattern_at: usize,
    text_at: usize,
}

fn matches_in(case: Case, pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || is_everything(pattern);
    }
    let (mut pattern_at, mut text_at) = (0, 0);
    let mut resume: Option<Resume> = None;
    while text_at < text.len() {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            if pattern[pattern_at..].iter().all(|byte| *byte == b'*') {
                return true;
            }
            resume = Some(Resume {
                pattern_at,
                text_at,
            });
            continue;
        }
        let step = step(case, &pattern[pattern_at..], text[text_at]);
        if let Some(pattern_bytes) = step {
            pattern_at += pattern_bytes;
            text_at += 1;
            continue;
        }
        let Some(resume) = &mut resume else {
            return false;
        };
        resume.text_at += 1;
        pattern_at = resume.pattern_at;
        text_at = resume.text_at;
    }
    pattern[pattern_at..].iter().all(|byte| *byte == b'*')
}

/// Matches `byte` with the first item of `pattern`, which is no star: the item's length in bytes, or none if
/// it does not match or the pattern is at its end.
fn step(case: Case, pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => step_class(case, class, byte).map(|class_bytes| 1 + class_bytes),
        [b'\\', escaped, ..] => (case.fold(*escaped) == case.fold(byte)).then_some(2),
        [literal, ..] => (case.fold(*literal) == case.fold(byte)).then_some(1),
    }
}

/// Matches `byte` with a class, given from behind its bracket on: the bytes up to and with its end.
fn step_class(case: Case, class: &[u8], byte: u8) -> Option<usize> {
    let (is_negated, mut at) = match class {
        [b'^', ..] => (true, 1),
        _ => (false, 0),
    };
    let mut is_member = false;
    let class_bytes = loop {
        match &class[at..] {
            // The end of the pattern ends the class too.
            [] => break at,
            // Taken as it is: in Redis even its case counts here.
            [b'\\', escaped, ..] => {
                is_member |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [from, b'-', to, ..] => {
                let (from, to) = (*from as i8, *to as i8);
                let (from, to) = (from.min(to), from.max(to));
                let fold = |byte: i8| case.fold(byte as u8) as i8;
                is_member |= (fold(from)..=fold(to)).contains(&fold(byte as i8));
                at += 3;
            }
            [member, ..] => {
                is_member |= case.fold(*member) == case.fold(byte);
                at += 1;
            }
        }
    };
    (is_member != is_negated).then_some(class_bytes)
}

#[cfg(test)]
mod tests;
