//! Lines that are only ever appended, in the grammar that scripts know from BuildKit:
//!
//! ```text
//! #5 [build 2/4] RUN make          a block begins with the task's number and name
//! #5 0.123 gcc -c main.c           output, with the time since the task began
//! #5 ...                           another task has the word now
//!
//! #6 [stage-1 2/2] RUN true
//! #6 DONE 0.1s                     CACHED, ERROR: …, CANCELED
//! ```
//!
//! One task has the word at a time. What the others write waits for it: until it ends, until it has been silent for
//! [`SILENCE`], or until somebody has waited for [`PATIENCE`] or has [`FULL`] bytes to say. Nothing is left out.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, SystemTime};

use super::board::{Board, Change, Phase, Task, TaskId, since};
use super::format;
use super::log::Line;
use super::renderer::Renderer;
use super::warning::Warning;

/// A task that was silent for this long gives way to one that has something to say.
const SILENCE: Duration = Duration::from_secs(1);
/// Nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody holds more bytes back than this.
const FULL: usize = 64 * 1024;
/// A counter is printed this often.
const COUNTER_INTERVAL: Duration = Duration::from_secs(5);
/// Names are cut to this when the user asks for short ones.
const SHORT_NAME: usize = 72;

/// Appends to `out`.
#[derive(Debug)]
pub(super) struct Plain<W> {
    out: W,
    short_names: bool,
    /// Who has the word.
    current: Option<TaskId>,
    /// When that task last said something.
    spoke: SystemTime,
    waiting: HashMap<TaskId, Waiting>,
    /// Who waits with something to say, and who with nothing but a name; in the order in which they came.
    talkers: Queue,
    silent: Queue,
    places: u64,
    counted: HashMap<(TaskId, usize), Shown>,
    any: bool,
}

#[derive(Debug)]
struct Waiting {
    text: String,
    since: SystemTime,
    /// An entry of a queue with another number is outdated.
    place: u64,
}

type Queue = VecDeque<(u64, TaskId)>;

/// When a counter was last printed, and whether that was for the last time.
#[derive(Debug)]
struct Shown {
    at: SystemTime,
    ended: bool,
}

impl<W: Write + Send> Plain<W> {
    /// Names are shown in full, or cut after 72 characters.
    pub(super) fn new(out: W, short_names: bool, now: SystemTime) -> Self {
        Self {
            out,
            short_names,
            current: None,
            spoke: now,
            waiting: HashMap::new(),
            talkers: VecDeque::new(),
            silent: VecDeque::new(),
            places: 0,
            counted: HashMap::new(),
            any: false,
        }
    }

    /// Says `text` for the task, or keeps it until the task has the word.
    fn say(&mut self, board: &Board, id: TaskId, text: &str, ended: bool, now: SystemTime) {
        if ended || self.current.is_none_or(|current| current == id) {
            self.speak(board, id, text, now);
        } else if self.wait(id, text, now) >= FULL {
            self.speak(board, id, "", now);
        }
        if ended {
            self.current = None;
            if let Some((next, _)) = self.next() {
                self.speak(board, next, "", now);
            }
        }
    }

    /// Returns how much the task has to say by now.
    fn wait(&mut self, id: TaskId, text: &str, now: SystemTime) -> usize {
        let known = self.waiting.get(&id).map(|waiting| waiting.text.is_empty());
        if known.is_none() || known == Some(true) && !text.is_empty() {
            self.places += 1;
            let queue = if text.is_empty() { &mut self.silent } else { &mut self.talkers };
            queue.push_back((self.places, id));
            self.waiting.insert(id, Waiting { text: text.to_owned(), since: now, place: self.places });
        } else if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.text.push_str(text);
        }
        self.waiting.get(&id).map_or(0, |waiting| waiting.text.len())
    }

    fn speak(&mut self, board: &Board, id: TaskId, text: &str, now: SystemTime) {
        let task = board.task(id);
        let Some(number) = task.number else { return };
        let mut block = String::new();
        if self.current != Some(id) {
            if let Some(before) = self.current.and_then(|current| board.task(current).number) {
                let _ = writeln!(block, "#{before} ...");
            }
            if std::mem::replace(&mut self.any, true) {
                block.push('\n');
            }
            let _ = writeln!(block, "#{number} {}", self.name(task));
        }
        if let Some(waiting) = self.waiting.remove(&id) {
            block.push_str(&waiting.text);
        }
        block.push_str(text);
        let _ = self.out.write_all(block.as_bytes()).and_then(|()| self.out.flush());
        self.current = Some(id);
        self.spoke = now;
    }

    fn name(&self, task: &Task) -> String {
        if self.short_names && task.name.chars().count() > SHORT_NAME {
            let cut: String = task.name.chars().take(SHORT_NAME).collect();
            return format!("{cut}...");
        }
        task.name.clone()
    }

    /// Who has waited longest, and since when. Those with something to say come before all others.
    fn next(&mut self) -> Option<(TaskId, SystemTime)> {
        self.talker().or_else(|| first(&mut self.silent, &self.waiting))
    }

    fn talker(&mut self) -> Option<(TaskId, SystemTime)> {
        first(&mut self.talkers, &self.waiting)
    }

    /// Lets somebody else speak if it is time.
    fn take_turns(&mut self, board: &Board, now: SystemTime) {
        let silence = since(self.spoke, now);
        let turn = match (self.talker(), first(&mut self.silent, &self.waiting)) {
            (Some((id, waits)), _) if silence >= SILENCE || since(waits, now) >= PATIENCE => id,
            (_, Some((id, waits))) if since(waits, now) >= PATIENCE => id,
            _ => return,
        };
        self.speak(board, turn, "", now);
    }

    /// Counters are printed every few seconds, and when they end.
    fn counters(&mut self, id: TaskId, task: &Task, now: SystemTime, text: &mut String) {
        let Some(number) = task.number else { return };
        for (position, counter) in task.counters.iter().enumerate() {
            let shown = self.counted.get(&(id, position));
            let due = match (counter.ended, shown) {
                (_, Some(Shown { ended: true, .. })) => false,
                (None, Some(shown)) => since(shown.at, now) >= COUNTER_INTERVAL,
                // A counter without a name is worth a line only when it takes a while.
                (ended, None) if counter.label.is_empty() => {
                    ended.is_none() && since(counter.started, now) >= COUNTER_INTERVAL
                }
                (Some(_), Some(_)) | (_, None) => true,
            };
            if due {
                self.counted.insert((id, position), Shown { at: now, ended: counter.ended.is_some() });
                let _ = writeln!(text, "#{number} {}", counter.text());
            }
        }
    }
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn changed(&mut self, board: &Board, id: TaskId, change: &Change, lines: &[Line], now: SystemTime) {
        let task = board.task(id);
        let Some(number) = task.number else { return };
        if matches!(change, Change::Missed(_)) {
            return;
        }
        let mut text = String::new();
        for line in lines {
            let _ = writeln!(text, "#{number} {} {}", format::offset(line.at), line.text);
        }
        if task.ended() || matches!(change, Change::Counted { .. }) {
            self.counters(id, task, now, &mut text);
        }
        match &task.phase {
            Phase::Waiting => {}
            Phase::Running if text.is_empty() && !matches!(change, Change::Started { .. }) => {}
            Phase::Running => self.say(board, id, &text, false, now),
            ended => {
                let _ = match ended {
                    Phase::Cached => writeln!(text, "#{number} CACHED"),
                    Phase::Completed { took } => writeln!(text, "#{number} DONE {}", format::seconds(*took)),
                    Phase::Failed { message, .. } => writeln!(text, "#{number} ERROR: {message}"),
                    _ => writeln!(text, "#{number} CANCELED"),
                };
                self.say(board, id, &text, true, now);
            }
        }
    }

    fn warned(&mut self, board: &Board, task: Option<TaskId>, warning: &Warning, now: SystemTime) {
        if let Some((id, number)) = task.and_then(|id| Some((id, board.task(id).number?))) {
            self.say(board, id, &format!("#{number} WARN: {}\n", warning.summary()), false, now);
        }
    }

    fn tick(&mut self, board: &Board, now: SystemTime) {
        self.take_turns(board, now);
    }

    fn finish(&mut self, board: &Board, now: SystemTime) {
        while let Some((id, _)) = self.talker() {
            self.speak(board, id, "", now);
        }
    }
}

/// The first entry of a queue that is not outdated.
fn first(queue: &mut Queue, waiting: &HashMap<TaskId, Waiting>) -> Option<(TaskId, SystemTime)> {
    while let Some(&(place, id)) = queue.front() {
        match waiting.get(&id) {
            Some(waiting) if waiting.place == place => return Some((id, waiting.since)),
            _ => queue.pop_front(),
        };
    }
    None
}
