//! A raw RESP client: blocking, one socket, nothing hidden.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::Value;

/// How long a read may wait before the test is considered stuck.
const READ_WAIT_MAX: Duration = Duration::from_secs(60);
/// Requests up to this size are written by the caller's own thread: they fit into the sockets'
/// buffers. Longer ones are written by a second thread, since a server may stop reading while its
/// replies are not taken.
const WRITE_INLINE_BYTES_MAX: usize = 32 * 1024;
/// Nesting of a reply that is still believed.
const DEPTH_MAX: usize = 32;

/// One connection. Replies are read in order; pushes are ordinary values in that order.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
}

impl Client {
    /// Connects to `port` on the loopback interface.
    ///
    /// # Errors
    /// When the connection is refused.
    pub fn connect(port: u16) -> io::Result<Client> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_WAIT_MAX))?;
        Ok(Client {
            stream,
            buffer: Vec::new(),
            read: 0,
        })
    }

    /// Sends the words of `line` (split at spaces) and reads one reply. Panics when the connection
    /// is gone: for tests that expect it to stay.
    pub fn ask(&mut self, line: &str) -> Value {
        let words: Vec<&[u8]> = line
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(str::as_bytes)
            .collect();
        self.ask_args(&words)
    }

    /// Sends one command and reads one reply; panics when the connection is gone.
    pub fn ask_args<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let mut bytes = Vec::new();
        encode(&mut bytes, args);
        let sent = self.exchange(&bytes, 1);
        match sent {
            Ok(mut replies) => replies.pop().expect("one reply was asked for"),
            Err(error) => panic!("no reply to {}: {error}", bytes.escape_ascii()),
        }
    }

    /// Writes `bytes` as they are and reads `replies` values, writing and reading at once when the
    /// request is long.
    ///
    /// # Errors
    /// When the server closes, answers bytes that are no RESP, or is silent for a minute.
    pub fn exchange(&mut self, bytes: &[u8], replies: usize) -> io::Result<Vec<Value>> {
        if bytes.len() <= WRITE_INLINE_BYTES_MAX {
            self.send(bytes)?;
            return (0..replies).map(|_| self.receive()).collect();
        }
        let mut writer = self.stream.try_clone()?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || writer.write_all(bytes));
            let values = (0..replies)
                .map(|_| self.receive())
                .collect::<io::Result<Vec<Value>>>();
            if values.is_err() {
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let written = writing.join().expect("the writing thread does not panic");
            let values = values?;
            written.map(|()| values)
        })
    }

    /// Writes `bytes` as they are.
    ///
    /// # Errors
    /// As of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes one command without reading its reply.
    ///
    /// # Errors
    /// As of the socket.
    pub fn send_args<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, args);
        self.send(&bytes)
    }

    /// Reads one value.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server closed, `InvalidData` for bytes that are no RESP,
    /// `WouldBlock` or `TimedOut` after the read timeout.
    pub fn receive(&mut self) -> io::Result<Value> {
        self.value(0)
    }

    /// Whether something comes within `wait`: a value, or the server's close. Nothing is consumed.
    ///
    /// # Errors
    /// As of the socket; a timeout is not an error.
    pub fn has_more(&mut self, wait: Duration) -> io::Result<bool> {
        if self.read < self.buffer.len() {
            return Ok(true);
        }
        self.stream.set_read_timeout(Some(wait))?;
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(READ_WAIT_MAX))?;
        match seen {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sets how long one read may wait; `None` means the default of a minute.
    pub fn set_read_wait(&mut self, wait: Option<Duration>) {
        let wait = wait.unwrap_or(READ_WAIT_MAX);
        self.stream
            .set_read_timeout(Some(wait))
            .expect("a non-zero timeout is accepted");
    }

    /// Reads whatever comes until the server closes; returns it raw.
    ///
    /// # Errors
    /// When the server does not close within the read timeout. A reset counts as a close.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = self.buffer.split_off(self.read);
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(rest),
                Ok(count) => rest.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(rest),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the writing half only: a half-open connection.
    pub fn close_write(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The socket itself, for tests that write from another thread.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    fn value(&mut self, depth: usize) -> io::Result<Value> {
        if depth > DEPTH_MAX {
            return Err(bad("nested too deep"));
        }
        let line = self.line()?;
        let (&kind, rest) = line.split_first().ok_or_else(|| bad("an empty line"))?;
        match kind {
            b'+' => Ok(Value::Simple(rest.to_vec())),
            b'-' => Ok(Value::Error(rest.to_vec())),
            b':' => Ok(Value::Integer(number(rest)?)),
            b',' => Ok(Value::Double(rest.to_vec())),
            b'(' => Ok(Value::BigNumber(rest.to_vec())),
            b'_' if rest.is_empty() => Ok(Value::Null),
            b'#' if rest == b"t" => Ok(Value::Boolean(true)),
            b'#' if rest == b"f" => Ok(Value::Boolean(false)),
            b'$' if rest == b"-1" => Ok(Value::NullBulk),
            b'*' if rest == b"-1" => Ok(Value::NullArray),
            b'$' => Ok(Value::Bulk(self.bulk(rest)?)),
            b'=' => Ok(Value::Verbatim(self.bulk(rest)?)),
            b'*' => Ok(Value::Array(self.members(rest, depth)?)),
            b'~' => Ok(Value::Set(self.members(rest, depth)?)),
            b'>' => Ok(Value::Push(self.members(rest, depth)?)),
            b'%' => {
                let pairs = usize::try_from(number(rest)?).map_err(|_| bad("a negative length"))?;
                (0..pairs)
                    .map(|_| Ok((self.value(depth + 1)?, self.value(depth + 1)?)))
                    .collect::<io::Result<_>>()
                    .map(Value::Map)
            }
            _ => Err(bad(&format!("unexpected {}", line.escape_ascii()))),
        }
    }

    fn members(&mut self, length: &[u8], depth: usize) -> io::Result<Vec<Value>> {
        let length = usize::try_from(number(length)?).map_err(|_| bad("a negative length"))?;
        (0..length).map(|_| self.value(depth + 1)).collect()
    }

    fn bulk(&mut self, length: &[u8]) -> io::Result<Vec<u8>> {
        let length = usize::try_from(number(length)?).map_err(|_| bad("a negative length"))?;
        while self.buffer.len() - self.read < length + 2 {
            self.fill()?;
        }
        let bytes = self.buffer[self.read..self.read + length].to_vec();
        if &self.buffer[self.read + length..self.read + length + 2] != b"\r\n" {
            return Err(bad("a bulk string without its end"));
        }
        self.read += length + 2;
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = self.read;
        loop {
            if let Some(found) = self.buffer[searched..]
                .windows(2)
                .position(|pair| pair == b"\r\n")
            {
                let end = searched + found;
                let line = self.buffer[self.read..end].to_vec();
                self.read = end + 2;
                return Ok(line);
            }
            let unread_before = self.buffer.len() - self.read;
            self.fill()?;
            // `fill` may have moved the unread bytes to the front; a CR may end the old ones.
            searched = self.read + unread_before.saturating_sub(1);
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.read > 0 && self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
        } else if self.read > 1 << 20 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        let mut chunk = [0; 64 * 1024];
        let count = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

/// Appends `args` as a RESP array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(digits: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("a length or integer that is none"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP: {what}"))
}
