//! What the clients of a run asked, all in one table: a log entry's payload names operations by their number in it.

use crate::history::{Action, Answer, Operation, Outcome, State};
use bytes::Bytes;

/// Number of an operation in the table.
pub type OperationId = u32;

/// How it stands with an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its client waits.
    Waiting,
    /// Its client was answered at this true time, us.
    Answered(u64, Answer),
    /// Its client was told that it took no effect and will take none.
    Refused,
    /// Its client gave up.
    Unknown,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Asked {
    /// By which client.
    pub client: usize,
    /// Of which key.
    pub key: usize,
    /// What.
    pub action: Action,
    /// When, true time, us.
    pub call_us: u64,
    /// Up to here the log was visible to somebody when it was asked: it must be placed behind.
    pub floor_index: u64,
    /// The highest log time, ms, that somebody had seen when it was asked.
    pub floor_log_ms: u64,
    /// How it stands.
    pub progress: Progress,
}

/// All that was asked in a run.
#[derive(Debug, Default)]
pub struct Operations {
    asked: Vec<Asked>,
}

impl Operations {
    /// Notes an operation and numbers it.
    pub fn add(&mut self, asked: Asked) -> OperationId {
        self.asked.push(asked);
        (self.asked.len() - 1) as OperationId
    }

    /// The operation of this number.
    pub fn get(&self, id: OperationId) -> &Asked {
        &self.asked[id as usize]
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: OperationId) -> &mut Asked {
        &mut self.asked[id as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// All of them as a history for the checker.
    pub fn history(&self) -> Vec<Operation> {
        let keys: Vec<Bytes> = (0..=u8::MAX)
            .map(|key| Bytes::from(key.to_string()))
            .collect();
        self.asked
            .iter()
            .filter_map(|asked| {
                let outcome = match &asked.progress {
                    Progress::Refused => return None,
                    Progress::Waiting | Progress::Unknown => Outcome::Unknown,
                    Progress::Answered(at_us, answer) => Outcome::Answered {
                        at_us: *at_us,
                        answer: answer.clone(),
                    },
                };
                Some(Operation {
                    process: asked.client as u64,
                    key: keys[asked.key].clone(),
                    action: asked.action.clone(),
                    call_us: asked.call_us,
                    outcome,
                })
            })
            .collect()
    }
}

/// A payload that names these operations, with `padding_bytes` behind.
pub fn payload_of(ids: &[OperationId], padding_bytes: usize) -> Bytes {
    let mut payload = Vec::with_capacity(2 + ids.len() * 4 + padding_bytes);
    payload.extend((ids.len() as u16).to_le_bytes());
    for id in ids {
        payload.extend(id.to_le_bytes());
    }
    payload.resize(payload.len() + padding_bytes, 0);
    Bytes::from(payload)
}

/// The operations that a payload names.
pub fn operations_of(payload: &Bytes) -> impl Iterator<Item = OperationId> + '_ {
    let count = u16::from_le_bytes([payload[0], payload[1]]) as usize;
    payload[2..2 + count * 4]
        .chunks_exact(4)
        .map(|id| OperationId::from_le_bytes(id.try_into().expect("four bytes")))
}

/// What the machine of a replica holds: registers, and a rolling hash of all that was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The last index applied.
    pub applied: u64,
    /// The highest log time applied, ms.
    pub log_ms: u64,
    /// Of everything applied, in order.
    pub hash: u64,
    registers: Vec<State>,
}

impl Machine {
    /// All registers absent.
    pub fn new(keys: usize) -> Machine {
        Machine {
            registers: vec![None; keys],
            ..Machine::default()
        }
    }

    /// What is left of the state after an index when it was dropped: nothing that any replica may go on from.
    pub fn hollow(applied: u64) -> Machine {
        Machine {
            applied,
            ..Machine::default()
        }
    }

    /// Whether the state was dropped.
    pub fn is_hollow(&self) -> bool {
        self.registers.is_empty()
    }

    /// Applies one operation of an entry.
    pub fn run(&mut self, key: usize, action: &Action) -> Answer {
        let (state, answer) = action.run(&self.registers[key]);
        if !action.is_read() {
            self.registers[key] = state;
        }
        answer
    }

    /// What a read of this key answers.
    pub fn read(&self, key: usize) -> Answer {
        Answer::Value(self.registers[key].clone())
    }

    /// Takes an entry's bytes into the rolling hash.
    pub fn mix(&mut self, index: u64, bytes: &[u8]) {
        let mut hash = self.hash ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.hash = hash ^ (hash >> 31);
    }

    /// The state as bytes, for a snapshot.
    ///
    /// ```text
    /// applied u64 | log_ms u64 | hash u64 | registers u32 | each: length u32 (u32::MAX: absent) | bytes     all little-endian
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [self.applied, self.log_ms, self.hash] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.registers.len() as u32).to_le_bytes());
        for register in &self.registers {
            match register {
                None => bytes.extend(u32::MAX.to_le_bytes()),
                Some(value) => {
                    bytes.extend((value.len() as u32).to_le_bytes());
                    bytes.extend_from_slice(value);
                }
            }
        }
        bytes
    }

    /// Reads what `encode` wrote; none if it is cut off or mixed up.
    pub fn decode(bytes: &[u8]) -> Option<Machine> {
        let mut rest = bytes;
        let mut take = |count: usize| -> Option<&[u8]> {
            let (head, tail) = rest.split_at_checked(count)?;
            rest = tail;
            Some(head)
        };
        let mut numbers = [0u64; 3];
        for number in &mut numbers {
            *number = u64::from_le_bytes(take(8)?.try_into().ok()?);
        }
        let count = u32::from_le_bytes(take(4)?.try_into().ok()?);
        let mut registers = Vec::new();
        for _ in 0..count {
            let length = u32::from_le_bytes(take(4)?.try_into().ok()?);
            registers.push(match length {
                u32::MAX => None,
                _ => Some(Bytes::copy_from_slice(take(length as usize)?)),
            });
        }
        let [applied, log_ms, hash] = numbers;
        rest.is_empty().then_some(Machine {
            applied,
            log_ms,
            hash,
            registers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_survives_its_snapshot() {
        // Fails when a snapshot loses or mixes state: replicas would differ through the simulator's own fault.
        let mut machine = Machine::new(3);
        machine.run(1, &Action::Write(Bytes::from_static(b"seven")));
        machine.mix(1, b"seven");
        machine.applied = 1;
        machine.log_ms = 5;
        let bytes = machine.encode();
        assert_eq!(Machine::decode(&bytes), Some(machine));
        assert_eq!(Machine::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn a_payload_names_its_operations() {
        // Fails when payloads are read otherwise than written: nothing that clients asked would happen.
        let payload = payload_of(&[7, 70_000], 5);
        assert_eq!(operations_of(&payload).collect::<Vec<_>>(), [7, 70_000]);
    }
}
