//! Asking a running node: one command, one answer, over a connection of its own.

use anyhow::{Context, bail};
use bytes::BytesMut;
use resp::{Protocol, ReplyDecoder, Tree, encode_request};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a node may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long it may take to answer: a change of the cluster is given up after 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a node is asked, and the password to show there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// HOST:PORT of its clients' port.
    pub address: String,
    /// Empty: none.
    pub password: String,
}

impl Asked {
    /// Asks one command; returns the text that answers it.
    ///
    /// # Errors
    /// No node there, or it refuses, in its words.
    pub fn ask(&self, command: &[&str]) -> anyhow::Result<String> {
        let address = &self.address;
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let mut requests = Vec::new();
        if !self.password.is_empty() {
            encode_request(
                &mut requests,
                &[b"AUTH".as_slice(), self.password.as_bytes()],
            );
        }
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        encode_request(&mut requests, &words);
        stream.write_all(&requests)?;
        let mut decoder = ReplyDecoder::new(Protocol::Resp2, ANSWER_BYTES_MAX);
        let mut buffer = BytesMut::new();
        let mut left = 1 + usize::from(!self.password.is_empty());
        loop {
            while let Some(reply) = decoder.decode(&mut buffer)? {
                left -= 1;
                match reply {
                    Tree::Error(words) => {
                        let words = String::from_utf8_lossy(&words);
                        if words.starts_with("ERR unknown command 'TORC'") {
                            bail!("{address} is a Redis server or the like, and no Torc node");
                        }
                        bail!("{}", words.strip_prefix("ERR ").unwrap_or(&words))
                    }
                    Tree::Bulk(text) | Tree::Simple(text) if left == 0 => {
                        return Ok(String::from_utf8_lossy(&text).into());
                    }
                    _ if left == 0 => bail!("{address} answers something else than a text"),
                    _ => {}
                }
            }
            let mut piece = [0; 16 << 10];
            let read = stream
                .read(&mut piece)
                .with_context(|| format!("{address} does not answer"))?;
            if read == 0 {
                bail!("{address} closed the connection");
            }
            buffer.extend_from_slice(&piece[..read]);
        }
    }

    /// Connects to the first of the name's addresses that answers.
    fn connect(&self) -> anyhow::Result<TcpStream> {
        let address = &self.address;
        let targets = address
            .to_socket_addrs()
            .with_context(|| format!("{address} is not HOST:PORT, or the name is not known"))?;
        let mut last = None;
        for target in targets {
            match TcpStream::connect_timeout(&target, CONNECT_MAX) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let error = last.with_context(|| format!("{address} has no address"))?;
        Err(error).with_context(|| format!("no node answers at {address}"))
    }
}
