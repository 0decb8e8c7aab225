//! Links between nodes, one for each direction and class, as the server makes them: the sender dials, frames arrive in
//! order, and what is lost is lost with the link.

use bytes::{Bytes, BytesMut};
use node::PeerMessage;
use node::wire::{Class, Frame, FrameReader};

/// Which link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId {
    /// The sender.
    pub from: usize,
    /// The receiver.
    pub to: usize,
    /// What it carries.
    pub class: Class,
}

/// One link.
#[derive(Debug)]
pub struct Link {
    /// Counts the connections: what belongs to an older one is dropped.
    pub epoch: u64,
    /// Whether there is a connection.
    pub is_up: bool,
    /// When the last frame arrives, us: none overtakes another.
    pub last_us: u64,
    /// Frames that a cut holds up, as long as the link lives.
    pub held: Vec<Bytes>,
    /// Whether it is given up at some time unless the cut ends.
    pub is_expiring: bool,
    sequence: u64,
    reader: FrameReader,
}

impl Link {
    fn new(class: Class) -> Link {
        Link {
            epoch: 0,
            is_up: false,
            last_us: 0,
            held: Vec::new(),
            is_expiring: false,
            sequence: 0,
            reader: FrameReader::new(class),
        }
    }

    /// The bytes of a frame as they are written to this connection; the frame is empty then.
    pub fn write(&mut self, class: Class, frame: &mut Frame) -> Bytes {
        let bytes = frame.take_bytes(class, self.sequence);
        self.sequence += 1;
        bytes.freeze()
    }

    /// The messages of a frame, read as the other end reads them.
    pub fn read(&mut self, frame: &Bytes) -> Vec<PeerMessage> {
        let mut buffer = BytesMut::from(&frame[..]);
        let messages = std::iter::from_fn(|| {
            let next = self.reader.next(&mut buffer);
            next.expect("a frame of our own, in its turn")
        });
        messages.collect()
    }
}

/// All links.
#[derive(Debug)]
pub struct Links {
    nodes: usize,
    links: Vec<Link>,
}

impl Links {
    /// None is up.
    pub fn new(nodes: usize) -> Links {
        let links = (0..nodes * nodes).flat_map(|_| Class::ALL.map(Link::new));
        Links {
            nodes,
            links: links.collect(),
        }
    }

    /// One of them.
    pub fn get(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[(id.from * self.nodes + id.to) * 2 + id.class as usize]
    }

    /// All between two nodes, both ways.
    pub fn between(one: usize, other: usize) -> impl Iterator<Item = LinkId> {
        [(one, other), (other, one)]
            .into_iter()
            .flat_map(|(from, to)| Class::ALL.map(|class| LinkId { from, to, class }))
    }

    /// A fresh connection.
    pub fn connect(&mut self, id: LinkId) {
        let link = self.get(id);
        link.is_up = true;
        link.is_expiring = false;
        link.sequence = 0;
        link.reader = FrameReader::new(id.class);
        link.epoch += 1;
    }

    /// The connection is gone, with all that was on its way.
    pub fn disconnect(&mut self, id: LinkId) {
        let link = self.get(id);
        link.is_up = false;
        link.held.clear();
        link.epoch += 1;
    }
}
