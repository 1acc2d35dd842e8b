//! The terminal below indicatif.
//!
//! indicatif draws lines that are filled up with blanks and never ended, and finds its way back by counting them. A
//! terminal that is made narrower or wider wraps such lines anew, and the picture falls apart; text that was
//! printed above is one endless line when it is copied. [`Screen`] stands between: it ends every line, clears what
//! is right of it and below, leaves the cursor on a row of its own (where a `^C` does no harm), and when it goes
//! back up it counts the rows that the lines take *now*. Nothing is written before [`Screen::present`], in one
//! piece, so that nothing flickers.
//!
//! Invariants: no mode of the terminal is changed and the cursor stays visible, so that a killed process leaves
//! nothing behind.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use super::frame::Size;

/// Something that shows text and obeys escape sequences.
pub(super) trait Terminal: Send {
    /// How large it is at the moment.
    fn size(&self) -> Size;
    /// Shows text.
    fn write(&mut self, text: &str);
}

/// Standard error.
#[derive(Debug)]
pub(super) struct Stderr;

impl Terminal for Stderr {
    fn size(&self) -> Size {
        let fallback = Size { rows: 24, columns: 80 };
        match rustix::termios::tcgetwinsize(io::stderr()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                Size { rows: size.ws_row.into(), columns: size.ws_col.into() }
            }
            _ => fallback,
        }
    }

    fn write(&mut self, text: &str) {
        let mut out = io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Turns what indicatif draws into whole lines. Clones are the same screen.
#[derive(Clone)]
pub(super) struct Screen {
    state: Arc<Mutex<State>>,
}

struct State {
    terminal: Box<dyn Terminal>,
    size: Size,
    out: String,
    /// The columns that the lines of the last frame take, from the top.
    lines: Vec<usize>,
    frame: Frame,
}

/// What indicatif did since its last flush.
#[derive(Debug, Default)]
struct Frame {
    /// It wants to go back over this many lines, less one.
    up: Option<usize>,
    /// It did go back.
    back: bool,
    /// The text of a line was written, the blanks that fill the row come next.
    fill: bool,
    lines: Vec<usize>,
}

impl Screen {
    pub(super) fn new(terminal: impl Terminal + 'static) -> Self {
        let size = terminal.size();
        let state = State {
            terminal: Box::new(terminal),
            size,
            out: String::new(),
            lines: Vec::new(),
            frame: Frame::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Asks for the size again. It holds until the next call, so that a frame is of one piece.
    pub(super) fn measure(&self) -> Size {
        let mut state = self.lock();
        state.size = state.terminal.size();
        state.size
    }

    /// Shows what was drawn.
    pub(super) fn present(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.out.is_empty() {
            state.terminal.write(&state.out);
            state.out.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Goes to the beginning of the last `count` lines, which may take more rows than when they were drawn.
    fn back(&mut self, count: usize) {
        let columns = self.size.columns.max(1);
        let last = &self.lines[self.lines.len().saturating_sub(count)..];
        let rows: usize = last.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        let rows = rows.min(self.size.rows.saturating_sub(1));
        if rows > 0 {
            let _ = write!(self.out, "\r\x1b[{rows}A");
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.lock().size.columns.try_into().unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        self.lock().size.rows.try_into().unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.lock().frame.up.get_or_insert(n);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.frame.back, true) {
            let count = state.frame.up.unwrap_or(0) + 1;
            state.back(count);
        }
        Ok(())
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        let mut state = self.lock();
        if std::mem::replace(&mut state.frame.fill, false) {
            let width = state.size.columns.saturating_sub(s.len());
            state.frame.lines.push(width);
            state.out.push_str("\x1b[K\r\n");
        } else {
            state.frame.fill = true;
            state.out.push_str(s);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        let frame = std::mem::take(&mut state.frame);
        if frame.back {
            // What is left of a longer frame.
            state.out.push_str("\x1b[J");
        }
        state.lines = frame.lines;
        Ok(())
    }

    // Going back and clearing is done at once, above.
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    // Only for lines that are aligned to the bottom, which ours are not.
    fn write_line(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}
