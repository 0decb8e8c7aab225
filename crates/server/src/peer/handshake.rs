//! What two processes say to each other before the first frame. Both prove that they know the cluster's secret,
//! without saying it; whoever does not is told nothing of the cluster.
//!
//! A packet is a length (u32, of what follows), a kind (u8) and a body; integers are little endian, a text is a
//! length (u16) and UTF-8. Version 1:
//!
//! ```text
//!   dialer                                                acceptor
//!   1 hello      magic "TORCPEER", lowest and highest version u16 u16,
//!                purpose u8 (0 fast, 1 bulk, 2 join), from node u32, incarnation u64, process u64,
//!                to node u32 (0: whoever it is), nonce 32 bytes, cluster id text     ──▶
//!                                                    ◀──  2 challenge  version u16, nonce 32 bytes
//!   3 proof      HMAC-SHA256(secret, "torc dialer 1", hello body, challenge body)    ──▶
//!                                                    ◀──  4 welcome    HMAC-SHA256(secret, "torc acceptor 1", …)
//!                                                      or 5 refused    text
//!   6 join       what the node that joins says of itself                             ──▶
//!                                                    ◀──  7 joined     what it is now   (or 5)
//! ```
//!
//! A link goes on with frames after the welcome, a join with 6 and 7.

use bytes::{Buf, BufMut};
use hmac::{Hmac, Mac};
use node::wire::Class;
use node::{Incarnation, NodeId, ReplicaId};
use sha2::Sha256;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The version of handshake and frames that this build speaks.
const VERSION: u16 = node::wire::VERSION;
const MAGIC: &[u8; 8] = b"TORCPEER";
/// How long a handshake may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(2);
/// Bytes of a packet before either side has proved anything.
const PACKET_BYTES_MAX: usize = 4096;
/// Bytes of the answer to a join: it holds the cluster's state.
const JOINED_BYTES_MAX: usize = 16 << 20;
/// Characters of a refusal that are shown.
const REFUSAL_CHARS_MAX: usize = 300;

/// The refusal of a dialer that does not know the secret: it need not try again.
const SECRETS_DIFFER: &str = "the cluster secrets differ";

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packet {
    Hello = 1,
    Challenge = 2,
    Proof = 3,
    Welcome = 4,
    Refused = 5,
    Join = 6,
    Joined = 7,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The socket's.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// What is there speaks something else.
    #[error("what listens there is no Torc node's peer port")]
    Stranger,
    /// What dialed speaks something else.
    #[error("what dialed is no Torc node")]
    Caller,
    /// The other end does not know the secret.
    #[error("the other node has another cluster secret (--cluster-secret, or else --requirepass)")]
    Secret,
    /// The other end refuses, in its words.
    #[error("refused: {0}")]
    Refused(String),
    /// It took too long.
    #[error("no answer within {} s", HANDSHAKE_MAX.as_secs())]
    Slow,
}

impl HandshakeError {
    /// The same, as it is to be told of who dialed.
    fn of_caller(self) -> HandshakeError {
        match self {
            HandshakeError::Stranger => HandshakeError::Caller,
            HandshakeError::Caller
            | HandshakeError::Socket(_)
            | HandshakeError::Secret
            | HandshakeError::Refused(_)
            | HandshakeError::Slow => self,
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Frames of a class.
    Link(Class),
    /// To become a member.
    Join,
}

impl Purpose {
    fn number(self) -> u8 {
        match self {
            Purpose::Link(class) => class as u8,
            Purpose::Join => 2,
        }
    }

    fn from_number(number: u8) -> Option<Purpose> {
        match number {
            2 => Some(Purpose::Join),
            class => Class::from_number(class).map(Purpose::Link),
        }
    }
}

/// Who this process is, for all its handshakes.
#[derive(Clone)]
pub struct Identity {
    /// This node; node 0 while it joins.
    pub me: ReplicaId,
    /// The cluster's id; empty while it joins.
    pub cluster_id: String,
    /// Drawn at start: tells two processes apart that claim to be one node.
    pub process: u64,
    /// The cluster's secret.
    pub secret: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("me", &self.me)
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

/// What the dialer says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub purpose: Purpose,
    /// Who dials.
    pub from: ReplicaId,
    /// Its process.
    pub process: u64,
    /// Whom it wants; node 0: whoever it is.
    pub to: NodeId,
    /// Its cluster; empty while it joins.
    pub cluster_id: String,
    nonce: [u8; 32],
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(128);
        body.put_slice(MAGIC);
        body.put_u16_le(VERSION);
        body.put_u16_le(VERSION);
        body.put_u8(self.purpose.number());
        body.put_u32_le(self.from.node.0);
        body.put_u64_le(self.from.incarnation.0);
        body.put_u64_le(self.process);
        body.put_u32_le(self.to.0);
        body.put_slice(&self.nonce);
        body.put_u16_le(self.cluster_id.len() as u16);
        body.put_slice(self.cluster_id.as_bytes());
        body
    }

    /// Reads a hello; the version is checked by whoever sees that the magic is right.
    fn decode(mut body: &[u8]) -> Result<Hello, BadHello> {
        let mut magic = [0; 8];
        body.try_copy_to_slice(&mut magic)
            .map_err(|_| BadHello::Stranger)?;
        if magic != *MAGIC {
            return Err(BadHello::Stranger);
        }
        let (Ok(lowest), Ok(highest)) = (body.try_get_u16_le(), body.try_get_u16_le()) else {
            return Err(BadHello::Stranger);
        };
        if !(lowest..=highest).contains(&VERSION) {
            return Err(BadHello::Version(highest));
        }
        Hello::decode_rest(body).ok_or(BadHello::Stranger)
    }

    fn decode_rest(mut body: &[u8]) -> Option<Hello> {
        let purpose = Purpose::from_number(body.try_get_u8().ok()?)?;
        let node = NodeId(body.try_get_u32_le().ok()?);
        let incarnation = Incarnation(body.try_get_u64_le().ok()?);
        let process = body.try_get_u64_le().ok()?;
        let to = NodeId(body.try_get_u32_le().ok()?);
        let mut nonce = [0; 32];
        body.try_copy_to_slice(&mut nonce).ok()?;
        let length = body.try_get_u16_le().ok()? as usize;
        if length != body.len() {
            return None;
        }
        Some(Hello {
            purpose,
            from: ReplicaId { node, incarnation },
            process,
            to,
            cluster_id: String::from_utf8(body.to_vec()).ok()?,
            nonce,
        })
    }
}

/// Why a hello is not answered with a challenge.
enum BadHello {
    Stranger,
    Version(u16),
}

/// Dials out: says hello, proves, and checks the other's proof. The socket carries frames, or a join, afterwards.
///
/// # Errors
/// A line each of [`HandshakeError`].
pub async fn greet(
    stream: &mut TcpStream,
    identity: &Identity,
    purpose: Purpose,
    to: NodeId,
) -> Result<(), HandshakeError> {
    let steps = async {
        let hello = Hello {
            purpose,
            from: identity.me,
            process: identity.process,
            to,
            cluster_id: identity.cluster_id.clone(),
            nonce: rand::random(),
        }
        .encode();
        send(stream, Packet::Hello, &hello).await?;
        let challenge = expect(stream, Packet::Challenge, PACKET_BYTES_MAX).await?;
        let proof = proof(&identity.secret, DIALER, &hello, &challenge).finalize();
        send(stream, Packet::Proof, &proof.into_bytes()).await?;
        let welcome = expect(stream, Packet::Welcome, PACKET_BYTES_MAX).await?;
        self::proof(&identity.secret, ACCEPTOR, &hello, &challenge)
            .verify_slice(&welcome)
            .map_err(|_| HandshakeError::Secret)
    };
    tokio::time::timeout(HANDSHAKE_MAX, steps)
        .await
        .map_err(|_| HandshakeError::Slow)?
}

/// Answers a dialer up to its proof; `admit` then looks at who it is, and may refuse it in words.
///
/// # Errors
/// A line each of [`HandshakeError`]; the dialer has been told where it can be.
pub async fn answer(
    stream: &mut TcpStream,
    secret: &str,
    admit: impl FnOnce(&Hello) -> Result<(), String>,
) -> Result<Hello, HandshakeError> {
    let steps = async {
        let body = expect(stream, Packet::Hello, PACKET_BYTES_MAX)
            .await
            .map_err(HandshakeError::of_caller)?;
        let hello = match Hello::decode(&body) {
            Ok(hello) => hello,
            Err(BadHello::Stranger) => return Err(HandshakeError::Caller),
            Err(BadHello::Version(theirs)) => {
                let words = format!(
                    "this node speaks version {VERSION} of the protocol between nodes, yours version {theirs}"
                );
                return Err(refuse(stream, words).await);
            }
        };
        let mut challenge = Vec::with_capacity(34);
        challenge.put_u16_le(VERSION);
        challenge.put_slice(&rand::random::<[u8; 32]>());
        send(stream, Packet::Challenge, &challenge).await?;
        let given = expect(stream, Packet::Proof, PACKET_BYTES_MAX).await?;
        let wanted = proof(secret, DIALER, &body, &challenge);
        if wanted.verify_slice(&given).is_err() {
            refuse(stream, SECRETS_DIFFER.into()).await;
            return Err(HandshakeError::Secret);
        }
        if let Err(words) = admit(&hello) {
            return Err(refuse(stream, words).await);
        }
        let welcome = proof(secret, ACCEPTOR, &body, &challenge).finalize();
        send(stream, Packet::Welcome, &welcome.into_bytes()).await?;
        Ok(hello)
    };
    tokio::time::timeout(HANDSHAKE_MAX, steps)
        .await
        .map_err(|_| HandshakeError::Slow)?
}

/// Asks to join, after the welcome; returns the answer.
///
/// # Errors
/// The socket's, or the refusal.
pub async fn ask_to_join(
    stream: &mut TcpStream,
    request: &[u8],
) -> Result<Vec<u8>, HandshakeError> {
    send(stream, Packet::Join, request).await?;
    expect(stream, Packet::Joined, JOINED_BYTES_MAX).await
}

/// Takes what a node that joins says of itself, after the welcome.
///
/// # Errors
/// The socket's.
pub async fn take_join(stream: &mut TcpStream) -> Result<Vec<u8>, HandshakeError> {
    let taken = expect(stream, Packet::Join, PACKET_BYTES_MAX);
    tokio::time::timeout(HANDSHAKE_MAX, taken)
        .await
        .map_err(|_| HandshakeError::Slow)?
}

/// Answers a join.
///
/// # Errors
/// The socket's.
pub async fn answer_join(
    stream: &mut TcpStream,
    answer: Result<Vec<u8>, String>,
) -> Result<(), HandshakeError> {
    match answer {
        Ok(body) => send(stream, Packet::Joined, &body).await,
        Err(words) => Err(refuse(stream, words).await),
    }
}

const DIALER: &[u8] = b"torc dialer 1";
const ACCEPTOR: &[u8] = b"torc acceptor 1";

/// What a side proves that it knows the secret by. Both bodies hold a fresh nonce, so no proof serves twice.
fn proof(secret: &str, side: &[u8], hello: &[u8], challenge: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    for part in [side, hello, challenge] {
        mac.update(&(part.len() as u32).to_le_bytes());
        mac.update(part);
    }
    mac
}

/// Tells the other end why not; the error for this end.
async fn refuse(stream: &mut TcpStream, words: String) -> HandshakeError {
    // It may be gone already.
    let _ = send(stream, Packet::Refused, words.as_bytes()).await;
    HandshakeError::Refused(words)
}

async fn send(stream: &mut TcpStream, packet: Packet, body: &[u8]) -> Result<(), HandshakeError> {
    let mut bytes = Vec::with_capacity(5 + body.len());
    bytes.put_u32_le(1 + body.len() as u32);
    bytes.put_u8(packet as u8);
    bytes.put_slice(body);
    Ok(stream.write_all(&bytes).await?)
}

/// Reads a packet of this kind, or a refusal.
async fn expect(
    stream: &mut TcpStream,
    packet: Packet,
    bytes_max: usize,
) -> Result<Vec<u8>, HandshakeError> {
    let length = stream.read_u32_le().await? as usize;
    if length == 0 || length > bytes_max {
        return Err(HandshakeError::Stranger);
    }
    let kind = stream.read_u8().await?;
    let mut body = Vec::new();
    let read = stream
        .take(length as u64 - 1)
        .read_to_end(&mut body)
        .await?;
    if read + 1 != length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    if kind == packet as u8 {
        Ok(body)
    } else if kind == Packet::Refused as u8 {
        let words = String::from_utf8_lossy(&body);
        if words == SECRETS_DIFFER {
            return Err(HandshakeError::Secret);
        }
        let shown = words
            .chars()
            .filter(|c| !c.is_control())
            .take(REFUSAL_CHARS_MAX);
        Err(HandshakeError::Refused(shown.collect()))
    } else {
        Err(HandshakeError::Stranger)
    }
}
