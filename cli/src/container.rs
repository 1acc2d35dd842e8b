//! Looking after a container in the foreground: terminal, signals, exit code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use builder_executor::container::Container;
use builder_executor::op::OpError;
use builder_executor::sandbox::Stdio;
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{CliError, CliResult};
use crate::output;

/// How long a container may go on when the terminal was closed.
const HANGUP_GRACE: Duration = Duration::from_secs(10);

/// What the container's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Those of this process, input only when it is wanted.
    Own {
        /// `-i`
        input: bool,
    },
    /// A terminal of its own, shown on this one.
    Terminal {
        /// `-i`
        input: bool,
    },
}

impl Streams {
    /// For the sandbox.
    pub(crate) fn stdio(self) -> CliResult<Stdio> {
        match self {
            Self::Terminal { .. } => Ok(Stdio::Terminal),
            Self::Own { input: true } => Ok(Stdio::Inherit),
            Self::Own { input: false } => {
                let null: OwnedFd = File::open("/dev/null")?.into();
                let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
                Ok(Stdio::Descriptors(null, copy(rustix::stdio::stdout())?, copy(rustix::stdio::stderr())?))
            }
        }
    }
}

/// Columns and rows of this terminal, 80×24 when there is none.
pub(crate) fn terminal_size() -> (u16, u16) {
    size_of_ours().map_or((80, 24), |size| (size.ws_col, size.ws_row))
}

fn size_of_ours() -> Option<Winsize> {
    [rustix::stdio::stdout(), rustix::stdio::stdin(), rustix::stdio::stderr()]
        .into_iter()
        .find_map(|fd| tcgetwinsize(fd).ok())
        .filter(|size| size.ws_col > 0)
}

/// Twelve random hexadecimal digits.
pub(crate) fn random_name() -> String {
    let mut bytes = [0; 6];
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes = std::process::id().to_be_bytes().repeat(2)[..6].try_into().unwrap_or(bytes);
    }
    format!("{:012x}", u64::from_be_bytes([0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]))
}

/// Waits for the container, passes on what comes meanwhile, and returns its exit code.
pub(crate) async fn attend(container: &mut Container, streams: Streams) -> CliResult<Ended> {
    let mut signals = Signals::new()?;
    let (mut console, mut shown, mut raw) = (None, None, None);
    if let Streams::Terminal { input } = streams {
        match container.process().console().await {
            Ok(master) => {
                raw = input.then(RawTerminal::enter).flatten();
                if input {
                    forward_input(master.try_clone()?);
                }
                shown = Some(show_output(master.try_clone()?));
                console = Some(master);
            }
            // Waiting tells why.
            Err(error) => return ended(Err(error.into())),
        }
    }
    let mut interrupts = 0;
    let mut deadline = None;
    let exit = loop {
        let received = tokio::select! {
            exit = container.wait() => break exit,
            received = signals.next() => received,
            () = gone(&mut shown) => Received::TerminalGone,
            () = passed(deadline) => Received::TooLate,
        };
        match received {
            Received::TerminalGone | Received::TooLate => {
                deadline = None;
                container.process().kill();
            }
            Received::Resized => {
                if let (Some(console), Some(size)) = (&console, size_of_ours()) {
                    let _ = tcsetwinsize(console, size);
                }
            }
            Received::Forward(number) => {
                if number == libc::SIGHUP {
                    deadline = Some(Instant::now() + HANGUP_GRACE);
                }
                interrupts += u32::from(number == libc::SIGINT || number == libc::SIGTERM);
                if interrupts >= 3 {
                    output::notice("got three signals to stop: killing the container");
                    container.process().kill();
                } else {
                    container.process().signal(number);
                }
            }
        }
    };
    drop(console);
    if let Some(shown) = shown {
        // What the container wrote last is shown before this ends.
        let _ = shown.ended.await;
    }
    drop(raw);
    ended(exit)
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The exit code of its process, or what a container runtime says that can't run it.
    pub(crate) code: u8,
    /// Its process did run.
    pub(crate) ran: bool,
}

/// Tells why a container could not be started, and gives the exit code for that.
pub(crate) fn ended(exit: Result<builder_executor::sandbox::Exit, OpError>) -> CliResult<Ended> {
    match exit {
        Ok(exit) => Ok(Ended { code: exit.code(), ran: true }),
        Err(error) => match error.exit_code() {
            Some(code) => {
                output::notice(&format!("ERROR: {error}"));
                Ok(Ended { code, ran: false })
            }
            None => match &error {
                OpError::Sandbox(source) => {
                    output::notice(&format!("ERROR: {error}"));
                    Ok(Ended { code: source.exit_code(), ran: false })
                }
                _ => Err(CliError::from(error)),
            },
        },
    }
}

/// Waits until nobody can see the container's terminal any more; for ever when there is none.
async fn gone(shown: &mut Option<Shown>) {
    match shown {
        Some(shown) if !shown.told => {
            let lost = (&mut shown.lost).await.is_ok();
            shown.told = true;
            if !lost {
                std::future::pending::<()>().await;
            }
        }
        _ => std::future::pending().await,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What this process was told.
enum Received {
    Forward(i32),
    Resized,
    TerminalGone,
    TooLate,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
    resized: Signal,
}

impl Signals {
    fn new() -> CliResult<Self> {
        let catch = |kind: SignalKind| signal(kind).context("signals can't be caught");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
            user1: catch(SignalKind::user_defined1())?,
            user2: catch(SignalKind::user_defined2())?,
            resized: catch(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.interrupt.recv() => Received::Forward(libc::SIGINT),
            _ = self.terminate.recv() => Received::Forward(libc::SIGTERM),
            _ = self.hangup.recv() => Received::Forward(libc::SIGHUP),
            _ = self.quit.recv() => Received::Forward(libc::SIGQUIT),
            _ = self.user1.recv() => Received::Forward(libc::SIGUSR1),
            _ = self.user2.recv() => Received::Forward(libc::SIGUSR2),
            _ = self.resized.recv() => Received::Resized,
        }
    }
}

/// This terminal in raw mode, so that keys reach the container as they are; back to what it was on drop.
struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` when standard input is no terminal.
    fn enter() -> Option<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Keys to the container, until either side is gone. The thread ends with the process.
fn forward_input(master: OwnedFd) {
    thread::spawn(move || {
        let mut master = File::from(master);
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        while let Ok(length) = stdin.read(&mut buffer) {
            if length == 0 || master.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
}

/// The thread that shows what the container writes.
struct Shown {
    /// Its end.
    ended: oneshot::Receiver<()>,
    /// This terminal is gone.
    lost: oneshot::Receiver<()>,
    told: bool,
}

/// Shows what the container writes on this terminal. A terminal that nobody has open any more reads as an error.
fn show_output(master: OwnedFd) -> Shown {
    let ((end, ended), (lose, lost)) = (oneshot::channel(), oneshot::channel());
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        loop {
            match rustix::io::read(master.as_fd(), &mut buffer) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    let mut stdout = std::io::stdout().lock();
                    if stdout.write_all(&buffer[..length]).and_then(|()| stdout.flush()).is_err() {
                        let _ = lose.send(());
                        break;
                    }
                }
            }
        }
        let _ = end.send(());
    });
    Shown { ended, lost, told: false }
}
