//! Collections as queues: what clients push and pop, blocking or not, and what must hold of it.
//!
//! Every element is pushed once. What was pushed is there at the end, or was handed out once, or one of the pops took it
//! whose answers nobody heard. A pop finds nothing only if nothing was there all along, and one that waits is not left
//! waiting for long while something is there. Beside the queues there is ballast: collections so large that a snapshot
//! takes several pieces for them, edited at random; their copies must be equal, and nothing else is asked of them.
//!
//! Which seeds have such clients, and how many, is drawn from a stream of its own: the others run as before.

use super::judge::{Judge, bulk};
use crate::random::Random;
use resp::{split_array, split_reply};
use std::collections::BTreeMap;

/// Seeds of these clients are not those of the world.
const SEED_MIX: u64 = 0x7175_6575_6573_2e2e;
/// The queues. Elements move between the last two, and between the two before them, which share a slot.
const PLACES: [&str; 8] = ["qa0", "qa1", "qz0", "qz1", "{qb}x", "{qb}y", "qm0", "qm1"];
/// Elements of one queue or of two that are one for the judge, by place.
const BAGS: [usize; 8] = [0, 1, 2, 3, 4, 4, 6, 6];
/// Places that are lists by themselves, sorted sets, and lists that elements move between begin here.
const SORTED_FROM: usize = 2;
const MOVING_FROM: usize = 4;
/// Takes from one list and puts into another.
const MOVE: &str = "local one = redis.call('lpop', KEYS[1]) if one then redis.call('rpush', KEYS[2], one) end return one";
/// Edits ballast by chance.
const STIR: &str = "local one = redis.call('spop', KEYS[1]) if one then redis.call('hset', KEYS[2], one, 'stirred') redis.call('lrem', KEYS[3], 1, one) end return one";
/// Longest time that a pop waits though something is there and nothing troubles the cluster, us.
const LATE_US: u64 = 5_000_000;
/// After the healing the cluster may need so long until each shard is led, us.
const LEADERLESS_US: u64 = 3_000_000;
/// Items of one filling of ballast: several pieces of a snapshot.
const BALLAST_ITEMS: u64 = 400;

/// Number of an element; it is also in its name.
type Number = u64;

/// How many such clients a seed has.
pub fn clients_of(seed: u64) -> usize {
    let mut random = Random::new(seed ^ SEED_MIX);
    match random.chance(600_000) {
        true => random.between(2, 5) as usize,
        false => 0,
    }
}

/// What a reply about queues is the answer to.
#[derive(Clone, Debug)]
pub enum QueueExpected {
    /// A simple string that says nothing.
    Word,
    /// Anything: ballast.
    Any,
    /// A push of these.
    Push(Vec<Number>),
    /// A pop.
    Pop(usize),
    /// A move: what is moved is not handed out.
    Move,
    /// All elements at a place, at the end.
    All(usize),
}

/// What is known of something's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Answered(u64),
    /// It surely had none.
    Refused,
}

#[derive(Debug)]
struct Element {
    bag: usize,
    fate: Fate,
    /// Another, pushed with it in a transaction.
    partner: Option<Number>,
    /// The pop that it was handed to.
    taken_by: Option<usize>,
}

#[derive(Debug)]
struct Pop {
    bags: Vec<usize>,
    /// It takes so many at most.
    items_max: usize,
    call_us: u64,
    fate: Fate,
    found: bool,
    waits: bool,
}

/// What clients were told of queues.
#[derive(Debug, Default)]
pub struct QueueJudge {
    elements: BTreeMap<Number, Element>,
    pops: Vec<Pop>,
    /// What was there at the end, by place.
    rest: BTreeMap<usize, Vec<Number>>,
}

/// A request, and what its reply is.
pub type Line = (Vec<String>, QueueExpected);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl QueueJudge {
    /// Makes a batch about queues.
    pub fn batch(&mut self, random: &mut Random, made: &mut u64, now_us: u64) -> Vec<Line> {
        let mut lines = Vec::new();
        for _ in 0..random.between(1, 3) {
            // One wait a batch: else it is not known when the second begins.
            let waits = lines.iter().any(|(_, expected)| self.is_wait(expected));
            match random.below(16) {
                0..=4 => lines.push(self.push(random, made)),
                5 => lines.extend(self.push_two(random, made)),
                6..=8 => lines.push(self.pop(random, now_us)),
                9..=11 if waits => {}
                9..=11 => lines.push(self.pop_waiting(random, now_us)),
                12 | 13 => lines.push(carry(random)),
                _ => lines.push(ballast(random)),
            }
        }
        lines
    }

    fn is_wait(&self, expected: &QueueExpected) -> bool {
        matches!(expected, QueueExpected::Pop(pop) if self.pops[*pop].waits)
    }

    fn element(&mut self, bag: usize, made: &mut u64, random: &mut Random) -> (Number, String) {
        *made += 1;
        let element = Element {
            bag,
            fate: Fate::Unknown,
            partner: None,
            taken_by: None,
        };
        self.elements.insert(*made, element);
        let length = *random.pick(&[0, 0, 10, 200]);
        (*made, format!("e{made}.{}", "x".repeat(length)))
    }

    fn push(&mut self, random: &mut Random, made: &mut u64) -> Line {
        let place = random.below(PLACES.len() as u64) as usize;
        let count = match random.chance(20_000) {
            true => 60,
            false => *random.pick(&[1, 1, 1, 2, 3]),
        };
        let elements: Vec<(Number, String)> = (0..count)
            .map(|_| self.element(BAGS[place], made, random))
            .collect();
        let is_sorted = (SORTED_FROM..MOVING_FROM).contains(&place);
        let verb = match is_sorted {
            true => "ZADD",
            false => *random.pick(&["RPUSH", "LPUSH"]),
        };
        let mut line = words(&[verb, PLACES[place]]);
        for (_, name) in &elements {
            if is_sorted {
                line.push(random.below(50).to_string());
            }
            line.push(name.clone());
        }
        let numbers = elements.into_iter().map(|(number, _)| number).collect();
        (line, QueueExpected::Push(numbers))
    }

    /// To both lists of one slot, in a transaction.
    fn push_two(&mut self, random: &mut Random, made: &mut u64) -> Vec<Line> {
        let (one, one_name) = self.element(BAGS[MOVING_FROM], made, random);
        let (other, other_name) = self.element(BAGS[MOVING_FROM], made, random);
        for (number, partner) in [(one, other), (other, one)] {
            let element = self.elements.get_mut(&number).expect("just made");
            element.partner = Some(partner);
        }
        vec![
            (words(&["MULTI"]), QueueExpected::Word),
            (
                words(&["RPUSH", PLACES[MOVING_FROM], &one_name]),
                QueueExpected::Word,
            ),
            (
                words(&["LPUSH", PLACES[MOVING_FROM + 1], &other_name]),
                QueueExpected::Word,
            ),
            (words(&["EXEC"]), QueueExpected::Push(vec![one, other])),
        ]
    }

    fn note_pop(&mut self, pop: Pop) -> QueueExpected {
        self.pops.push(pop);
        QueueExpected::Pop(self.pops.len() - 1)
    }

    fn pop(&mut self, random: &mut Random, now_us: u64) -> Line {
        let place = random.below(PLACES.len() as u64) as usize;
        let items_max = *random.pick(&[1, 1, 1, 3]);
        let verb = match (SORTED_FROM..MOVING_FROM).contains(&place) {
            true => *random.pick(&["ZPOPMIN", "ZPOPMAX"]),
            false => *random.pick(&["LPOP", "RPOP"]),
        };
        let mut line = words(&[verb, PLACES[place]]);
        if items_max > 1 {
            line.push(items_max.to_string());
        }
        let expected = self.note_pop(Pop {
            bags: vec![BAGS[place]],
            items_max,
            call_us: now_us,
            fate: Fate::Unknown,
            found: false,
            waits: false,
        });
        (line, expected)
    }

    fn pop_waiting(&mut self, random: &mut Random, now_us: u64) -> Line {
        let places: Vec<usize> = match random.below(6) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            3 => vec![SORTED_FROM + random.below(2) as usize],
            4 => vec![2, 3],
            _ => vec![MOVING_FROM + random.below(4) as usize],
        };
        let is_sorted = (SORTED_FROM..MOVING_FROM).contains(&places[0]);
        let verb = match is_sorted {
            true => *random.pick(&["BZPOPMIN", "BZPOPMAX"]),
            false => *random.pick(&["BLPOP", "BRPOP"]),
        };
        let mut line = words(&[verb]);
        line.extend(places.iter().map(|place| PLACES[*place].to_owned()));
        let timeout_ms = *random.pick(&[30, 100, 400, 400, 1_000, 2_000, 2_000, 11_000]);
        line.push(format!("{}.{:03}", timeout_ms / 1_000, timeout_ms % 1_000));
        let expected = self.note_pop(Pop {
            bags: places.iter().map(|place| BAGS[*place]).collect(),
            items_max: 1,
            call_us: now_us,
            fate: Fate::Unknown,
            found: false,
            waits: true,
        });
        (line, expected)
    }

    /// Asks for all that is there.
    pub fn ask_all(&mut self) -> Vec<Line> {
        self.rest.clear();
        let line = |place: usize| {
            let verb = match (SORTED_FROM..MOVING_FROM).contains(&place) {
                true => "ZRANGE",
                false => "LRANGE",
            };
            let line = words(&[verb, PLACES[place], "0", "-1"]);
            (line, QueueExpected::All(place))
        };
        (0..PLACES.len()).map(line).collect()
    }

    /// Whether all that is there at the end was told.
    pub fn knows_all(&self) -> bool {
        self.rest.len() == PLACES.len()
    }
}

/// Moves an element between two lists, of one slot or not.
fn carry(random: &mut Random) -> Line {
    let pair = MOVING_FROM + 2 * random.below(2) as usize;
    let (mut from, mut to) = (PLACES[pair], PLACES[pair + 1]);
    if random.chance(500_000) {
        (from, to) = (to, from);
    }
    let (one, other) = (
        *random.pick(&["LEFT", "RIGHT"]),
        *random.pick(&["LEFT", "RIGHT"]),
    );
    let line = match random.below(4) {
        0 => words(&["LMOVE", from, to, one, other]),
        1 => words(&["BLMOVE", from, to, one, other, "0.25"]),
        2 => words(&["BRPOPLPUSH", from, to, "0.1"]),
        _ => words(&["EVAL", MOVE, "2", from, to]),
    };
    (line, QueueExpected::Move)
}

/// Something to do with ballast.
fn ballast(random: &mut Random) -> Line {
    let (hash, list, set, sorted) = ("{qf}h", "{qf}l", "{qf}s", "{qf}z");
    let one = format!("i{}", random.below(BALLAST_ITEMS * 2));
    let first = random.below(BALLAST_ITEMS);
    let filling = |verb: &str, key: &str| {
        let mut line = words(&[verb, key]);
        for number in first..first + BALLAST_ITEMS {
            let name = format!("i{number}");
            match verb {
                "HSET" => line.extend([name, "v".repeat(120)]),
                "ZADD" => line.extend([(number % 37).to_string(), name + &"z".repeat(90)]),
                _ if number % 2 == 0 => line.push(name),
                _ => line.push(name + &"y".repeat(110)),
            }
        }
        line
    };
    let index = random.below(BALLAST_ITEMS).to_string();
    let line = match random.below(24) {
        0 => filling("HSET", hash),
        1 => filling("RPUSH", list),
        2 => filling("SADD", set),
        3 => filling("ZADD", sorted),
        4 => words(&["HSET", hash, &one, &index]),
        5 => words(&["HDEL", hash, &one]),
        6 => words(&["HINCRBY", hash, "n", "3"]),
        7 => words(&["LSET", list, &index, &one]),
        8 => words(&["LTRIM", list, "3", "900"]),
        9 => words(&["LINSERT", list, "BEFORE", &one, "between"]),
        10 => words(&["LREM", list, "2", &one]),
        11 => words(&["SPOP", set]),
        12 => words(&["SPOP", set, "20"]),
        13 => words(&["SADD", set, &one]),
        14 => words(&["SREM", set, &one]),
        15 => words(&["ZINCRBY", sorted, "1.5", &one]),
        16 => words(&["ZREMRANGEBYRANK", sorted, "5", "9"]),
        17 => words(&["EVAL", STIR, "3", set, hash, list]),
        18 => words(&["RENAME", list, "{qf}l2"]),
        19 => words(&["COPY", set, "{qf}s2", "REPLACE"]),
        20 => words(&["SUNIONSTORE", "{qf}s2", set, "{qf}s2"]),
        21 => words(&["PEXPIRE", "{qf}s2", "300"]),
        22 => words(&["ZUNIONSTORE", "{qf}z2", "2", sorted, set]),
        _ => words(&["DEL", "{qf}l2", "{qf}z2"]),
    };
    (line, QueueExpected::Any)
}

impl Judge {
    /// A reply about queues, asked for at `call_us`.
    pub fn hear_queue(&mut self, expected: &QueueExpected, reply: &[u8], now_us: u64) {
        let said = || {
            let text = String::from_utf8_lossy(&reply[..reply.len().min(200)]).into_owned();
            format!("{text:?} answers {expected:?}")
        };
        match expected {
            QueueExpected::Any => {}
            QueueExpected::Word => {
                if !reply.starts_with(b"+") {
                    self.accuse(said());
                }
            }
            QueueExpected::Push(numbers) => {
                if !(reply.starts_with(b":") || reply.starts_with(b"*2")) {
                    self.accuse(said());
                }
                for number in numbers {
                    let element = self.queues.elements.get_mut(number).expect("asked for");
                    element.fate = Fate::Answered(now_us);
                }
            }
            QueueExpected::Pop(pop) => {
                let taken = elements_of(reply);
                let is_null = matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"*0\r\n");
                if taken.is_empty() != is_null {
                    self.accuse(said());
                }
                self.queues.pops[*pop].fate = Fate::Answered(now_us);
                self.queues.pops[*pop].found = !taken.is_empty();
                taken.into_iter().for_each(|number| self.take(*pop, number));
            }
            QueueExpected::Move => {
                if !reply.starts_with(b"$") && reply != b"*-1\r\n" {
                    self.accuse(said());
                }
            }
            QueueExpected::All(place) => {
                self.queues.rest.insert(*place, elements_of(reply));
            }
        }
    }

    /// A request about queues was refused.
    pub fn refuse_queue(&mut self, expected: &QueueExpected, reply: &[u8]) {
        let has_no_effect = reply.starts_with(b"-TRYAGAIN") || reply.starts_with(b"-EXECABORT");
        match expected {
            QueueExpected::Push(numbers) if has_no_effect => {
                for number in numbers {
                    let element = self.queues.elements.get_mut(number).expect("asked for");
                    element.fate = Fate::Refused;
                }
            }
            QueueExpected::Pop(pop) if has_no_effect => {
                self.queues.pops[*pop].fate = Fate::Refused;
            }
            QueueExpected::Push(_)
            | QueueExpected::Pop(_)
            | QueueExpected::Word
            | QueueExpected::Any
            | QueueExpected::Move
            | QueueExpected::All(_) => {}
        }
    }

    fn take(&mut self, pop: usize, number: Number) {
        let bags = &self.queues.pops[pop].bags;
        let wrong = match self.queues.elements.get_mut(&number) {
            None => "that was never pushed".to_owned(),
            Some(element) if !bags.contains(&element.bag) => {
                format!("of another place {element:?}")
            }
            Some(element) if element.fate == Fate::Refused => "whose push was refused".to_owned(),
            Some(element) => match element.taken_by.replace(pop) {
                Some(other) => format!("that was handed to {:?} too", self.queues.pops[other]),
                None => return,
            },
        };
        self.accuse(format!(
            "{:?} was handed element e{number}, {wrong}",
            self.queues.pops[pop]
        ));
    }

    /// At the end: all that was there is known.
    pub fn judge_queues(&mut self, healed_us: u64) {
        if let Some(wrong) = self.queues.sum_up().err() {
            return self.accuse(wrong);
        }
        if let Some(wrong) = self.queues.look_at_waits(healed_us).err() {
            self.accuse(wrong);
        }
    }
}

impl QueueJudge {
    fn is_there(&self) -> BTreeMap<Number, usize> {
        let mut there = BTreeMap::new();
        for (place, numbers) in &self.rest {
            for number in numbers {
                *there.entry(*number).or_default() += 1;
                debug_assert!(*place < PLACES.len());
            }
        }
        there
    }

    /// Whether each element is in one place, or one pop had it, or an unknown one may have.
    fn sum_up(&self) -> Result<(), String> {
        let there = self.is_there();
        let mut missing: BTreeMap<usize, Vec<Number>> = BTreeMap::new();
        for (place, numbers) in &self.rest {
            let is_its = |number: &Number| {
                self.elements
                    .get(number)
                    .is_some_and(|element| element.bag == BAGS[*place])
            };
            if let Some(number) = numbers.iter().find(|number| !is_its(number)) {
                return Err(format!("e{number} is in {}", PLACES[*place]));
            }
        }
        for (number, element) in &self.elements {
            let count = there.get(number).copied().unwrap_or(0);
            let is_taken = element.taken_by.is_some();
            if count + usize::from(is_taken) > 1 {
                return Err(format!("e{number} is there {count} times: {element:?}"));
            }
            if count > 0 && element.fate == Fate::Refused {
                return Err(format!("e{number} is there, and its push was refused"));
            }
            let is_seen = |number: &Number| {
                there.contains_key(number) || self.elements[number].taken_by.is_some()
            };
            let is_pushed = matches!(element.fate, Fate::Answered(_))
                || element.partner.as_ref().is_some_and(is_seen);
            if is_pushed && count == 0 && !is_taken {
                missing.entry(element.bag).or_default().push(*number);
            }
        }
        for (bag, numbers) in missing {
            let unknown = self
                .pops
                .iter()
                .filter(|pop| pop.fate == Fate::Unknown && pop.bags.contains(&bag));
            let taken_max: usize = unknown.map(|pop| pop.items_max).sum();
            if numbers.len() > taken_max {
                return Err(format!(
                    "elements {numbers:?} of {} are gone, and pops of unknown fate took {taken_max} at most",
                    PLACES[bag]
                ));
            }
        }
        Ok(())
    }

    /// Whether a pop found nothing, or waited for long, though something was there all along.
    fn look_at_waits(&self, healed_us: u64) -> Result<(), String> {
        let there = self.is_there();
        // From when to when each was surely where it was pushed to.
        let mut rests = Vec::new();
        for (number, element) in &self.elements {
            let Fate::Answered(from_us) = element.fate else {
                continue;
            };
            let until_us = match element.taken_by {
                Some(pop) => self.pops[pop].call_us,
                None if there.contains_key(number) => u64::MAX,
                None => continue,
            };
            if element.bag < BAGS[MOVING_FROM] {
                rests.push((*number, element, from_us, until_us));
            }
        }
        for (id, pop) in self.pops.iter().enumerate() {
            let Fate::Answered(return_us) = pop.fate else {
                continue;
            };
            for &(number, element, from_us, until_us) in &rests {
                if !pop.bags.contains(&element.bag) {
                    continue;
                }
                if !pop.found && from_us < pop.call_us && until_us > return_us {
                    return Err(format!(
                        "{pop:?} found nothing, but e{number} was there from {from_us} to {until_us}"
                    ));
                }
                let since_us = from_us.max(pop.call_us).max(healed_us + LEADERLESS_US);
                let to_us = match element.taken_by == Some(id) {
                    true => return_us,
                    false => until_us.min(return_us),
                };
                if pop.waits && to_us > since_us + LATE_US {
                    return Err(format!(
                        "{pop:?} waited, but e{number} was there from {from_us} to {until_us}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The elements in a reply, however deep.
fn elements_of(reply: &[u8]) -> Vec<Number> {
    if let Some(Some(text)) = bulk(reply) {
        let number = || {
            let text = std::str::from_utf8(&text).ok()?.strip_prefix('e')?;
            text.split_once('.')?.0.parse().ok()
        };
        return number().into_iter().collect();
    }
    let mut rest = split_array(reply).unwrap_or_default();
    let mut elements = Vec::new();
    while let Some((one, others)) = split_reply(rest) {
        elements.extend(elements_of(one));
        rest = others;
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements 1 and 2 are pushed to the first queue and answered at 10 us; pops are asked for at 20 us.
    fn pushed() -> Judge {
        let mut judge = Judge::default();
        for number in [1, 2] {
            let element = Element {
                bag: 0,
                fate: Fate::Unknown,
                partner: None,
                taken_by: None,
            };
            judge.queues.elements.insert(number, element);
        }
        judge.hear_queue(&QueueExpected::Push(vec![1, 2]), b":2\r\n", 10);
        judge
    }

    fn pop(judge: &mut Judge) -> QueueExpected {
        judge.queues.note_pop(Pop {
            bags: vec![0],
            items_max: 1,
            call_us: 20,
            fate: Fate::Unknown,
            found: false,
            waits: false,
        })
    }

    fn end(judge: &mut Judge, there: &[Number]) -> Option<String> {
        judge.queues.rest.insert(0, there.to_vec());
        judge.judge_queues(0);
        judge.violation.clone()
    }

    const ONE: &[u8] = b"$3\r\ne1.\r\n";

    #[test]
    fn elements_that_are_lost_or_come_twice_are_seen() {
        // Fails when the judge overlooks an element that is gone, or one that two were given.
        let mut judge = pushed();
        let first = pop(&mut judge);
        judge.hear_queue(&first, ONE, 30);
        assert_eq!(end(&mut judge, &[2]), None);
        assert!(end(&mut judge, &[]).unwrap().contains("are gone"));
        let mut judge = pushed();
        pop(&mut judge);
        assert_eq!(end(&mut judge, &[2]), None, "its fate is unknown");
        let mut judge = pushed();
        for _ in 0..2 {
            let one = pop(&mut judge);
            judge.hear_queue(&one, ONE, 30);
        }
        assert!(judge.violation.unwrap().contains("too"));
        let mut judge = pushed();
        let one = pop(&mut judge);
        judge.hear_queue(&one, ONE, 30);
        assert!(end(&mut judge, &[1, 2]).unwrap().contains("is there"));
        let mut judge = pushed();
        let one = pop(&mut judge);
        judge.hear_queue(&one, b"*2\r\n$3\r\nqa0\r\n$3\r\ne7.\r\n", 30);
        assert!(judge.violation.unwrap().contains("never pushed"));
    }

    #[test]
    fn pops_that_sleep_beside_an_element_are_seen() {
        // Fails when a pop that was not roused goes unnoticed, or one that overlooked what was there.
        let mut judge = pushed();
        let one = pop(&mut judge);
        judge.queues.pops[0].waits = true;
        judge.hear_queue(&one, b"*-1\r\n", 30);
        assert!(end(&mut judge, &[1, 2]).unwrap().contains("found nothing"));
        let mut judge = pushed();
        let one = pop(&mut judge);
        judge.queues.pops[0].waits = true;
        let late_us = LEADERLESS_US + LATE_US + 11;
        judge.hear_queue(&one, b"*2\r\n$3\r\nqa0\r\n$3\r\ne1.\r\n", late_us);
        assert!(end(&mut judge, &[2]).unwrap().contains("waited"));
    }
}
