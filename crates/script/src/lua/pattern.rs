//! Lua's patterns (reference manual 5.1, §5.4.1), matched with a count of steps: Lua's own matcher goes back as often as
//! it takes, which for some patterns is for ever, and nothing can stop it there.

/// Captures of a pattern.
const CAPTURES_MAX: usize = 32;
/// How deep the matcher calls itself; each item that may match in several ways is one level.
const DEPTH_MAX: usize = 200;
/// Steps between two looks at whether to go on.
const STEPS_MAX: u32 = 10_000;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The pattern is none.
    Malformed(&'static str),
    /// Whoever was asked said so.
    Stopped(mlua::Error),
}

/// A capture: a piece of the subject, or a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    Piece(usize, usize),
    Place(usize),
    /// Begun and not ended.
    Open(usize),
}

/// A subject, a pattern, and what was captured in the last try.
pub(crate) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    captures: [Capture; CAPTURES_MAX],
    count: usize,
    depth: usize,
    steps: u32,
    look: &'a dyn Fn() -> mlua::Result<()>,
}

type Found = Result<Option<usize>, Trouble>;

impl<'a> Matcher<'a> {
    /// `pattern` without the `^` that anchors it. `look` is called now and then; its error ends the search.
    pub fn new(
        subject: &'a [u8],
        pattern: &'a [u8],
        look: &'a dyn Fn() -> mlua::Result<()>,
    ) -> Self {
        Matcher {
            subject,
            pattern,
            captures: [Capture::Place(0); CAPTURES_MAX],
            count: 0,
            depth: 0,
            steps: 0,
            look,
        }
    }

    /// Tries to match at `at`; returns where the match ends.
    pub fn match_at(&mut self, at: usize) -> Found {
        self.count = 0;
        self.depth = 0;
        self.go(at, 0)
    }

    /// What was captured in the match of `start..end`: the whole if the pattern has no captures.
    pub fn captures(&self, start: usize, end: usize) -> Result<Vec<Capture>, Trouble> {
        match self.count {
            0 => Ok(vec![Capture::Piece(start, end)]),
            count => (0..count).map(|index| self.closed(index)).collect(),
        }
    }

    /// Whether the pattern has captures of its own, as of the last match.
    pub fn has_captures(&self) -> bool {
        self.count > 0
    }

    /// Capture `index`, from 0; the whole match for the first of none.
    pub fn capture(&self, index: usize, start: usize, end: usize) -> Result<Capture, Trouble> {
        match (index, self.count) {
            (0, 0) => Ok(Capture::Piece(start, end)),
            _ if index < self.count => self.closed(index),
            _ => Err(Trouble::Malformed("invalid capture index")),
        }
    }

    fn closed(&self, index: usize) -> Result<Capture, Trouble> {
        match self.captures[index] {
            Capture::Open(_) => Err(Trouble::Malformed("unfinished capture")),
            capture => Ok(capture),
        }
    }

    fn step(&mut self) -> Result<(), Trouble> {
        self.steps += 1;
        if self.steps < STEPS_MAX {
            return Ok(());
        }
        self.steps = 0;
        (self.look)().map_err(Trouble::Stopped)
    }

    fn go(&mut self, at: usize, item: usize) -> Found {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Trouble::Malformed("pattern too complex"));
        }
        let found = self.items(at, item);
        self.depth -= 1;
        found
    }

    /// Matches the pattern from `item` on at `at`.
    fn items(&mut self, mut at: usize, mut item: usize) -> Found {
        loop {
            self.step()?;
            let Some(&first) = self.pattern.get(item) else {
                return Ok(Some(at));
            };
            let second = self.pattern.get(item + 1).copied();
            match (first, second) {
                (b'(', Some(b')')) => return self.open(at, item + 2, Capture::Place(at)),
                (b'(', _) => return self.open(at, item + 1, Capture::Open(at)),
                (b')', _) => return self.close(at, item + 1),
                (b'%', Some(b'b')) => match self.balance(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => return Ok(None),
                },
                (b'%', Some(b'f')) => {
                    item += 2;
                    if self.pattern.get(item) != Some(&b'[') {
                        return Err(Trouble::Malformed("missing '[' after '%f' in pattern"));
                    }
                    let end = self.class_end(item)?;
                    let before = at.checked_sub(1).map_or(0, |before| self.subject[before]);
                    let here = self.subject.get(at).copied().unwrap_or(0);
                    let set = &self.pattern[item..end];
                    if in_set(before, set) || !in_set(here, set) {
                        return Ok(None);
                    }
                    item = end;
                }
                (b'%', Some(digit @ b'0'..=b'9')) => match self.again(at, digit)? {
                    Some(end) => (at, item) = (end, item + 2),
                    None => return Ok(None),
                },
                (b'$', None) => return Ok((at == self.subject.len()).then_some(at)),
                _ => {
                    let end = self.class_end(item)?;
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if self.is_one(at, item, end)
                                && let Some(found) = self.go(at + 1, end + 1)?
                            {
                                return Ok(Some(found));
                            }
                            item = end + 1;
                        }
                        Some(b'*') => return self.most(at, item, end, 0),
                        Some(b'+') => return self.most(at, item, end, 1),
                        Some(b'-') => return self.fewest(at, item, end),
                        _ if self.is_one(at, item, end) => (at, item) = (at + 1, end),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    fn open(&mut self, at: usize, item: usize, capture: Capture) -> Found {
        if self.count >= CAPTURES_MAX {
            return Err(Trouble::Malformed("too many captures"));
        }
        self.captures[self.count] = capture;
        self.count += 1;
        let found = self.go(at, item)?;
        if found.is_none() {
            self.count -= 1;
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, item: usize) -> Found {
        let is_open = |capture: &Capture| matches!(capture, Capture::Open(_));
        let last = self.captures[..self.count].iter().rposition(is_open);
        let Some(index) = last else {
            return Err(Trouble::Malformed("invalid pattern capture"));
        };
        let before = self.captures[index];
        if let Capture::Open(start) = before {
            self.captures[index] = Capture::Piece(start, at);
        }
        let found = self.go(at, item)?;
        if found.is_none() {
            self.captures[index] = before;
        }
        Ok(found)
    }

    fn balance(&mut self, at: usize, item: usize) -> Found {
        let (Some(&begin), Some(&end)) = (self.pattern.get(item), self.pattern.get(item + 1))
        else {
            return Err(Trouble::Malformed("unbalanced pattern"));
        };
        if self.subject.get(at) != Some(&begin) {
            return Ok(None);
        }
        let mut depth = 1;
        for (offset, byte) in self.subject[at + 1..].iter().enumerate() {
            if *byte == end {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + offset + 2));
                }
            } else if *byte == begin {
                depth += 1;
            }
        }
        self.steps = self
            .steps
            .saturating_add((self.subject.len() - at) as u32 / 16);
        Ok(None)
    }

    fn again(&mut self, at: usize, digit: u8) -> Found {
        let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let piece = match self.captures[..self.count].get(index) {
            Some(Capture::Piece(start, end)) => &self.subject[*start..*end],
            Some(Capture::Place(_)) => &[],
            Some(Capture::Open(_)) | None => {
                return Err(Trouble::Malformed("invalid capture index"));
            }
        };
        let is_there = self.subject[at..].starts_with(piece);
        Ok(is_there.then_some(at + piece.len()))
    }

    /// Where the class that begins at `item` ends.
    fn class_end(&self, item: usize) -> Result<usize, Trouble> {
        let pattern = self.pattern;
        match pattern[item] {
            b'%' if item + 1 >= pattern.len() => {
                Err(Trouble::Malformed("malformed pattern (ends with '%')"))
            }
            b'%' => Ok(item + 2),
            b'[' => {
                let mut at = item + 1;
                if pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                let mut is_first = true;
                loop {
                    let open = Trouble::Malformed("malformed pattern (missing ']')");
                    match pattern.get(at) {
                        None => return Err(open),
                        Some(b']') if !is_first => return Ok(at + 1),
                        Some(b'%') if at + 1 < pattern.len() => at += 2,
                        Some(_) => at += 1,
                    }
                    is_first = false;
                }
            }
            _ => Ok(item + 1),
        }
    }

    fn is_one(&self, at: usize, item: usize, end: usize) -> bool {
        let Some(&byte) = self.subject.get(at) else {
            return false;
        };
        match self.pattern[item] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[item + 1]),
            b'[' => in_set(byte, &self.pattern[item..end]),
            other => other == byte,
        }
    }

    fn most(&mut self, at: usize, item: usize, end: usize, least: usize) -> Found {
        let mut times = 0;
        while self.is_one(at + times, item, end) {
            times += 1;
            self.step()?;
        }
        loop {
            if times < least {
                return Ok(None);
            }
            if let Some(found) = self.go(at + times, end + 1)? {
                return Ok(Some(found));
            }
            if times == 0 {
                return Ok(None);
            }
            times -= 1;
        }
    }

    fn fewest(&mut self, mut at: usize, item: usize, end: usize) -> Found {
        loop {
            if let Some(found) = self.go(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_one(at, item, end) {
                return Ok(None);
            }
            at += 1;
        }
    }
}

/// Whether a byte is in a set in brackets, these included.
fn in_set(byte: u8, set: &[u8]) -> bool {
    let inner = &set[1..set.len() - 1];
    let (is_in, inner) = match inner.strip_prefix(b"^") {
        Some(rest) => (false, rest),
        None => (true, inner),
    };
    let mut at = 0;
    while at < inner.len() {
        let one = inner[at];
        if one == b'%' && at + 1 < inner.len() {
            if in_class(byte, inner[at + 1]) {
                return is_in;
            }
            at += 2;
        } else if inner.get(at + 1) == Some(&b'-') && at + 2 < inner.len() {
            if (one..=inner[at + 2]).contains(&byte) {
                return is_in;
            }
            at += 3;
        } else {
            if one == byte {
                return is_in;
            }
            at += 1;
        }
    }
    !is_in
}

/// Whether a byte is of the class with this letter; a capital is the complement, what is no letter means itself.
fn in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | 9..=13),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}
