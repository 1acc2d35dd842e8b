//! The live view of a terminal: what is over is printed once, above; what runs is drawn again and again, below.

use std::time::{Duration, SystemTime};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::board::{Board, Change, Phase, TaskId};
use super::frame::{self, Look, Size};
use super::log::Line;
use super::options::Options;
use super::renderer::Renderer;
use super::screen::{Screen, Terminal};

/// Events do not redraw more often than this.
const REDRAW: Duration = Duration::from_millis(50);

/// Draws on a [`Screen`] through indicatif.
#[derive(Debug)]
pub(super) struct Live {
    screen: Screen,
    bars: MultiProgress,
    /// One bar whose message is all of the lines that change: they are drawn together or not at all.
    region: ProgressBar,
    look: Look,
    running: Vec<TaskId>,
    /// Tasks that are over and not printed yet.
    over: Vec<TaskId>,
    drawn: Option<SystemTime>,
}

impl Live {
    pub(super) fn new(terminal: impl Terminal + 'static, options: &Options, _now: SystemTime) -> Self {
        let screen = Screen::new(terminal);
        // Without a rate limit of its own: this renderer decides when to draw.
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        let style = ProgressStyle::with_template("{msg}").expect("a constant template that is valid");
        let region = bars.add(ProgressBar::no_length().with_style(style));
        let look = Look { palette: options.palette.clone(), tail_lines: options.tail_lines };
        Self { screen, bars, region, look, running: Vec::new(), over: Vec::new(), drawn: None }
    }

    fn draw_if_due(&mut self, board: &Board, now: SystemTime) {
        let recent = self.drawn.is_some_and(|drawn| now.duration_since(drawn).is_ok_and(|passed| passed < REDRAW));
        if !recent {
            self.draw(board, now);
        }
    }

    fn draw(&mut self, board: &Board, now: SystemTime) {
        let size = self.screen.measure();
        let lines = frame::live(board, &self.running, now, size, &self.look);
        if !lines.is_empty() {
            self.region.set_message(lines.join("\n"));
        }
        self.print(&self.over_lines(board, now, size));
        self.over.clear();
        self.screen.present();
        self.drawn = Some(now);
    }

    fn over_lines(&self, board: &Board, now: SystemTime, size: Size) -> Vec<String> {
        self.over.iter().flat_map(|&id| frame::finished(board.task(id), now, size, &self.look)).collect()
    }

    fn print(&self, lines: &[String]) {
        if !lines.is_empty() {
            let _ = self.bars.println(lines.join("\n"));
        }
    }
}

impl Renderer for Live {
    fn changed(&mut self, board: &Board, id: TaskId, _change: &Change, _lines: &[Line], now: SystemTime) {
        let task = board.task(id);
        if task.number.is_none() {
            return;
        }
        if task.ended() {
            self.running.retain(|&running| running != id);
            self.over.push(id);
        } else if task.phase == Phase::Running && !self.running.contains(&id) {
            self.running.push(id);
        }
        self.draw_if_due(board, now);
    }

    fn tick(&mut self, board: &Board, now: SystemTime) {
        self.draw_if_due(board, now);
    }

    fn finish(&mut self, board: &Board, now: SystemTime) {
        let size = self.screen.measure();
        let mut lines = self.over_lines(board, now, size);
        let any =
            |phase: fn(&Phase) -> bool| board.tasks().any(|(_, task)| task.number.is_some() && phase(&task.phase));
        let ending = if any(|phase| matches!(phase, Phase::Failed { .. })) {
            "FAILED"
        } else if !self.running.is_empty() || any(|phase| *phase == Phase::Cancelled) {
            "CANCELED"
        } else {
            "FINISHED"
        };
        if board.tasks().any(|(_, task)| task.number.is_some()) {
            lines.push(frame::header(board, ending, now, size));
        }
        self.region.finish_and_clear();
        self.print(&lines);
        self.screen.present();
    }
}
