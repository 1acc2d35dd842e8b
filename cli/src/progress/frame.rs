//! The text of the live view, as a function of the board, the time and the size of the terminal.
//!
//! ```text
//! [+] Building 3.4s (7/12)
//!  => [build 3/4] RUN make                                       2.1s
//!  => => # gcc -c main.c
//!  => [assets 2/2] RUN npm ci                                    1.0s
//! ```

use std::time::SystemTime;

use super::board::{Board, Counter, Phase, Task, TaskId, since};
use super::colour::{Palette, paint};
use super::control::visible_text;
use super::format::{fit, justify, seconds};

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// How the view looks.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) palette: Palette,
    /// The most lines of output below a running task.
    pub(super) tail_lines: usize,
}

impl Size {
    /// The width that is used. The last column stays free, so that no line ever wraps.
    fn width(self) -> usize {
        self.columns.saturating_sub(1)
    }
}

/// `[+] Building 3.4s (7/12)`, with a word at the end when all is over.
pub(super) fn header(board: &Board, ending: &str, now: SystemTime, size: Size) -> String {
    let [over, appeared, all] = board.progress();
    // What is not needed any more when all is over was never counted.
    let all = if ending.is_empty() { all } else { appeared };
    let elapsed = seconds(since(board.since, now));
    fit(format!("[+] Building {elapsed} ({over}/{all}) {ending}").trim_end(), size.width())
}

/// What remains of a task that is over.
pub(super) fn finished(task: &Task, now: SystemTime, size: Size, look: &Look) -> Vec<String> {
    let (word, colour) = match task.phase {
        Phase::Cached => ("CACHED ", &look.palette.run),
        Phase::Failed { .. } => ("ERROR ", &look.palette.error),
        Phase::Cancelled => ("CANCELED ", &look.palette.cancel),
        _ => ("", &look.palette.run),
    };
    let mut lines = vec![line(&format!("{word}{}", task.name), task, now, size)];
    for counter in task.counters.iter().filter(|counter| !counter.label.is_empty()) {
        lines.push(part(counter, now, size));
    }
    lines.iter().map(|line| paint(colour, line)).collect()
}

/// The lines that are drawn again and again: the header, then what runs. None on a terminal of one row, where nothing
/// can be drawn again.
pub(super) fn live(board: &Board, running: &[TaskId], now: SystemTime, size: Size, look: &Look) -> Vec<String> {
    // The cursor rests on a row below.
    let Some(room) = size.rows.checked_sub(2) else { return Vec::new() };
    let hidden = if running.len() > room { running.len() - room.saturating_sub(1) } else { 0 };
    let running: Vec<&Task> = running[..running.len() - hidden].iter().map(|&id| board.task(id)).collect();
    let spare = room.saturating_sub(running.len() + usize::from(hidden > 0));
    let below = below(&running, spare, now, size, look);

    let mut lines = vec![header(board, "", now, size)];
    for (task, below) in running.iter().zip(below) {
        lines.push(line(&task.name, task, now, size));
        lines.extend(below);
    }
    if hidden > 0 && room > 0 {
        lines.push(fit(&format!(" => and {hidden} more running"), size.width()));
    }
    lines
}

/// The lines below each running task, at most `spare` together. Who wrote last goes first.
fn below(running: &[&Task], mut spare: usize, now: SystemTime, size: Size, look: &Look) -> Vec<Vec<String>> {
    let mut order: Vec<usize> = (0..running.len()).collect();
    order.sort_by_key(|&position| std::cmp::Reverse(last_output(running[position])));
    let mut all = vec![Vec::new(); running.len()];
    for position in order {
        let task = running[position];
        let mut lines: Vec<String> = task
            .counters
            .iter()
            .filter(|counter| counter.ended.is_none() && !counter.text().is_empty())
            .map(|counter| part(counter, now, size))
            .take(spare)
            .collect();
        spare -= lines.len();
        let output = output(task, look.tail_lines.min(spare));
        spare -= output.len();
        lines.extend(
            output.iter().map(|text| paint(&look.palette.output, &fit(&format!(" => => # {text}"), size.width()))),
        );
        all[position] = lines;
    }
    all
}

fn last_output(task: &Task) -> Option<SystemTime> {
    Some(task.started? + task.tail.lines().next_back()?.at)
}

/// The last `count` lines of output, the unfinished one included.
fn output(task: &Task, count: usize) -> Vec<String> {
    let unfinished: Vec<String> = task.unfinished().filter(|text| !text.trim().is_empty()).collect();
    let mut written: Vec<&super::log::Line> = task.tail.lines().rev().take(count + 1).collect();
    if !unfinished.is_empty() && written.first().is_some_and(|last| last.replaced) {
        written.remove(0);
    }
    let mut lines: Vec<String> = written.iter().rev().map(|line| visible_text(&line.text)).collect();
    lines.extend(unfinished);
    lines.split_off(lines.len().saturating_sub(count))
}

fn line(name: &str, task: &Task, now: SystemTime, size: Size) -> String {
    justify(&format!(" => {name}"), &seconds(task.elapsed(now)), size.width())
}

fn part(counter: &Counter, now: SystemTime, size: Size) -> String {
    let took = seconds(since(counter.started, counter.ended.unwrap_or(now)));
    let open = Counter { ended: None, ..counter.clone() };
    justify(&format!(" => => {}", open.text()), &took, size.width())
}
