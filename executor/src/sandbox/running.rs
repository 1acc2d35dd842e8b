//! A process in its sandbox, seen from the builder.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::cgroup::Cgroup;
use super::error::{Error, Failure, Result};
use super::spawner::Spawner;
use super::stubs::Stubs;
use super::wire::{self, Exit, Message, Plan, Stream};
use super::{Handed, Stdio};

/// A process that was started. Dropping it kills the process and everything that it started.
#[derive(Debug)]
pub struct Running {
    channel: AsyncFd<OwnedFd>,
    streams: Streams,
    console: Option<OwnedFd>,
    failure: Option<Failure>,
    ended: Option<Exit>,
    stubs: Option<Stubs>,
    cgroup: Option<Cgroup>,
    /// After the channel: whoever drops the helper last waits for it, and it waits for the sandboxes that run.
    _spawner: Arc<Spawner>,
}

/// The builder's ends of the pipes.
#[derive(Debug, Default)]
pub(super) struct Streams {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    /// Opens what `stdio` says; the sandbox's ends go to `descriptors`.
    pub(super) fn open(
        stdio: Stdio,
        terminal: bool,
        plan: &mut Plan,
        descriptors: &mut Vec<Handed<'_>>,
    ) -> Result<Self> {
        let setup = |source: io::Error| Error::Setup { what: "make a pipe".to_owned(), source };
        let mut hand = |index: usize, fd: OwnedFd| {
            plan.streams[index] = Stream::Descriptor(descriptors.len());
            descriptors.push(Handed::Owned(fd));
        };
        let mut out = Self::default();
        if terminal != matches!(stdio, Stdio::Terminal) {
            return Err(Error::Refused("the specification and the request disagree about a terminal".to_owned()));
        }
        match stdio {
            Stdio::Terminal => {}
            Stdio::Pipes | Stdio::PipesWithStdin => {
                if matches!(stdio, Stdio::PipesWithStdin) {
                    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| setup(error.into()))?;
                    hand(0, read);
                    out.stdin = Some(write);
                }
                for index in 1..3 {
                    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| setup(error.into()))?;
                    hand(index, write);
                    *(if index == 1 { &mut out.stdout } else { &mut out.stderr }) = Some(read);
                }
                plan.own_pipes = true;
            }
            Stdio::Inherit => {
                for (index, fd) in
                    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()].into_iter().enumerate()
                {
                    hand(index, fd.try_clone_to_owned().map_err(setup)?);
                }
            }
            Stdio::Descriptors(stdin, stdout, stderr) => {
                for (index, fd) in [stdin, stdout, stderr].into_iter().enumerate() {
                    hand(index, fd);
                }
            }
        }
        Ok(out)
    }
}

impl Running {
    pub(super) fn new(
        channel: OwnedFd,
        streams: Streams,
        stubs: Stubs,
        cgroup: Option<Cgroup>,
        spawner: Arc<Spawner>,
    ) -> Result<Self> {
        let channel = crate::sys::watch(channel).map_err(Error::Start)?;
        Ok(Self {
            channel,
            streams,
            console: None,
            failure: None,
            ended: None,
            stubs: Some(stubs),
            cgroup,
            _spawner: spawner,
        })
    }

    /// The writing end of its standard input, once.
    ///
    /// # Errors
    /// When tokio refuses the descriptor.
    pub fn take_stdin(&mut self) -> io::Result<Option<pipe::Sender>> {
        self.streams.stdin.take().map(pipe::Sender::from_owned_fd).transpose()
    }

    /// The reading end of its standard output, once.
    ///
    /// # Errors
    /// When tokio refuses the descriptor.
    pub fn take_stdout(&mut self) -> io::Result<Option<pipe::Receiver>> {
        self.streams.stdout.take().map(pipe::Receiver::from_owned_fd).transpose()
    }

    /// The reading end of its standard error, once.
    ///
    /// # Errors
    /// When tokio refuses the descriptor.
    pub fn take_stderr(&mut self) -> io::Result<Option<pipe::Receiver>> {
        self.streams.stderr.take().map(pipe::Receiver::from_owned_fd).transpose()
    }

    /// The controlling side of its terminal, as soon as there is one.
    ///
    /// # Errors
    /// When the process could not be run.
    pub async fn console(&mut self) -> Result<OwnedFd> {
        while self.console.is_none() && self.failure.is_none() && self.ended.is_none() {
            self.step().await?;
        }
        if let Some(console) = self.console.take() {
            return Ok(console);
        }
        self.wait().await?;
        Err(Error::Refused("the process has no terminal".to_owned()))
    }

    /// Waits until the process and everything that it started is gone, and tidies up. May be called again. Output
    /// that was not read yet stays readable.
    ///
    /// # Errors
    /// When the process could not be run: [`Error::exit_code`] says what a container runtime would exit with.
    pub async fn wait(&mut self) -> Result<Exit> {
        while self.ended.is_none() {
            self.step().await?;
        }
        drop(self.stubs.take());
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.remove().await;
        }
        match (&self.failure, self.ended) {
            (Some(failure), _) => Err(failure.clone().into()),
            (None, Some(exit)) => Ok(exit),
            (None, None) => Err(Error::Lost),
        }
    }

    /// Kills the process and everything that it started. [`Running::wait`] still has to be called.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Sends a signal to the process. Like every first process of a pid name space it only gets what it has a
    /// handler for, and SIGKILL and SIGSTOP. When it is gone already nothing happens.
    pub fn signal(&self, signal: i32) {
        let _ = wire::send(self.channel.get_ref(), &Message::Signal(signal));
    }

    /// Takes one message.
    async fn step(&mut self) -> Result<()> {
        let message = self
            .channel
            .async_io(Interest::READABLE, |channel| wire::receive(channel.as_fd(), RecvFlags::DONTWAIT))
            .await;
        match message {
            Ok(Some(Message::Exited(exit))) => self.ended = Some(exit),
            Ok(Some(Message::Failed(failure))) => {
                self.failure.get_or_insert(failure);
            }
            Ok(Some(Message::Console(fd))) => self.console = Some(fd),
            Ok(Some(Message::Signal(_) | Message::Channel(_))) => {}
            Ok(None) => return Err(self.failure.take().map_or(Error::Lost, Into::into)),
            Err(source) => return Err(Error::Setup { what: "hear from the sandbox".to_owned(), source }),
        }
        Ok(())
    }
}
