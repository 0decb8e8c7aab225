//! Runs a program against a freshly started server and ends the server after it.
//!
//! ```text
//! with-server COMMAND [ARGUMENT]…      {port} in an argument is replaced by the server's port
//! ```
//!
//! Exit code: the program's own; 2 for wrong usage. `TORC_TEST_SERVER` chooses the server.

use std::process::{Command, ExitCode};

use torc_tests::Server;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((program, arguments)) = words.split_first() else {
        eprintln!(
            "usage: with-server COMMAND [ARGUMENT]…   ({{port}} stands for the server's port)"
        );
        return ExitCode::from(2);
    };
    let mut server = Server::start();
    let port = server.port().to_string();
    let status = Command::new(program)
        .args(
            arguments
                .iter()
                .map(|argument| argument.replace("{port}", &port)),
        )
        .status();
    if server.exit_code(std::time::Duration::ZERO).is_some() {
        eprintln!(
            "the server ended by itself; its last words:\n{}",
            server.log()
        );
        return ExitCode::FAILURE;
    }
    match status {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            eprintln!("{program} cannot be run: {error}");
            ExitCode::from(2)
        }
    }
}
