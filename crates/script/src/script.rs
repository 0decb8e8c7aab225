//! A script's source, its name (SHA1 in hex) and what its first line says of it.

use std::sync::Arc;

/// Longest source, bytes: more is refused before any of it is parsed. BullMQ's longest script has about 40 KiB.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;

/// A script's name: SHA1 of its source, 40 hexadecimal digits in lower case.
pub type Sha = [u8; 40];

/// The name of a source.
pub fn sha_of(source: &[u8]) -> Sha {
    use sha1::Digest as _;
    let mut name = [0; 40];
    for (digits, byte) in name.chunks_exact_mut(2).zip(sha1::Sha1::digest(source)) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        digits[0] = HEX[usize::from(byte >> 4)];
        digits[1] = HEX[usize::from(byte & 15)];
    }
    name
}

/// A script that can be run.
#[derive(Clone, Debug)]
pub struct Script {
    sha: Sha,
    source: Arc<[u8]>,
    /// Where the Lua begins: behind the shebang line, whose line break is kept so that lines count right.
    body: usize,
    writes: bool,
    has_shebang: bool,
}

/// Why a source is no script, in Redis's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It begins with `#!` and has no second line.
    #[error("ERR Invalid script shebang")]
    Shebang,
    /// Not `#!lua`.
    #[error("ERR Unexpected engine in script shebang: {0}")]
    Engine(String),
    /// Something else than `flags=`.
    #[error("ERR Unknown lua shebang option: {0}")]
    Option(String),
    /// A flag that nobody knows.
    #[error("ERR Unexpected flag in script shebang: {0}")]
    Flag(String),
    /// Longer than [`SCRIPT_BYTES_MAX`].
    #[error("ERR Script is too long: {0} bytes, at most {SCRIPT_BYTES_MAX} are taken")]
    TooLong(usize),
    /// It is no Lua.
    #[error("ERR Error compiling script (new function): {0}")]
    Syntax(String),
}

impl Script {
    /// Looks at a source's length and first line; the Lua in it is looked at by [`crate::Engine::check`].
    ///
    /// # Errors
    /// All but [`ScriptError::Syntax`].
    pub fn new(source: &[u8]) -> Result<Script, ScriptError> {
        if source.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::TooLong(source.len()));
        }
        let mut script = Script {
            sha: sha_of(source),
            source: source.into(),
            body: 0,
            writes: true,
            has_shebang: source.starts_with(b"#!"),
        };
        if script.has_shebang {
            let end = source.iter().position(|byte| *byte == b'\n');
            script.body = end.ok_or(ScriptError::Shebang)?;
            script.read_shebang()?;
        }
        Ok(script)
    }

    fn read_shebang(&mut self) -> Result<(), ScriptError> {
        let line = String::from_utf8_lossy(&self.source[..self.body]).into_owned();
        let mut words = line.split_ascii_whitespace();
        let engine = words.next().unwrap_or_default();
        if engine != "#!lua" {
            return Err(ScriptError::Engine(engine.to_owned()));
        }
        for word in words {
            let Some(flags) = word.strip_prefix("flags=") else {
                return Err(ScriptError::Option(word.to_owned()));
            };
            for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
                match flag {
                    "no-writes" => self.writes = false,
                    "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                    _ => return Err(ScriptError::Flag(flag.to_owned())),
                }
            }
        }
        Ok(())
    }

    /// Its name.
    pub fn sha(&self) -> &Sha {
        &self.sha
    }

    /// The whole source.
    pub fn source(&self) -> &Arc<[u8]> {
        &self.source
    }

    /// What is to be parsed.
    pub(crate) fn body(&self) -> &[u8] {
        &self.source[self.body..]
    }

    /// Whether its first line leaves it the right to write.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Whether it says of itself what it does.
    pub fn has_shebang(&self) -> bool {
        self.has_shebang
    }
}
