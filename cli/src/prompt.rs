//! Asking at the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::error::{CliError, CliResult};

/// The longest answer.
const LIMIT: usize = 64 << 10;

/// Whether somebody can be asked.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a line.
pub(crate) fn line(question: &str) -> CliResult<String> {
    say(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks for a line that is not shown.
pub(crate) fn hidden(question: &str) -> CliResult<String> {
    // Silent first: what is typed as soon as the question shows is not shown either.
    let terminal = Silent::enter()?;
    say(question);
    let answer = keys();
    drop(terminal);
    say("\n");
    answer
}

/// Goes to stderr, so that results can be piped on.
fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// The terminal without echo, back to what it was on drop. Keys come one by one, Ctrl-C among them: a process that dies
/// of it would leave a terminal that shows nothing.
struct Silent(Termios);

impl Silent {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

fn keys() -> CliResult<String> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut key = [0];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut key) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
            Ok(0) => break,
            Ok(_) => {}
        }
        match key[0] {
            b'\n' | b'\r' => break,
            0x03 => return Err(CliError::Interrupted),
            0x04 if bytes.is_empty() => break,
            0x04 => {}
            0x15 => bytes.clear(),
            0x08 | 0x7f => {
                // A letter may be several bytes.
                while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            _ if bytes.len() >= LIMIT => return Err(CliError::message("the answer is too long")),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| CliError::message("the answer is not UTF-8"))
}
