use super::super::frame::Size;
use super::super::screen::Terminal;
use super::*;

/// A terminal that only listens.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Sink);

impl Recorder {
    pub(super) fn text(&self) -> String {
        self.0.text()
    }
}

impl Terminal for Recorder {
    fn size(&self) -> Size {
        Size { rows: 24, columns: 80 }
    }

    fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }
}

/// A terminal that shows what it is sent, with everything that was scrolled off.
#[derive(Clone)]
struct Emulator(Arc<Mutex<vt100::Parser>>);

impl Terminal for Emulator {
    fn size(&self) -> Size {
        let (rows, columns) = self.0.lock().unwrap().screen().size();
        Size { rows: rows.into(), columns: columns.into() }
    }

    fn write(&mut self, text: &str) {
        self.0.lock().unwrap().process(text.as_bytes());
    }
}

impl Emulator {
    fn new(rows: u16, columns: u16) -> Self {
        Self(Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 10_000))))
    }

    /// Everything, the scrolled off lines first.
    fn text(&self) -> String {
        let mut parser = self.0.lock().unwrap();
        let (rows, columns) = parser.screen().size();
        let screen = parser.screen_mut();
        screen.set_scrollback(usize::MAX);
        let above = screen.scrollback();
        let mut lines = Vec::new();
        for offset in (1..=above).rev() {
            screen.set_scrollback(offset);
            lines.extend(screen.rows(0, columns).next());
        }
        screen.set_scrollback(0);
        lines.extend(screen.rows(0, columns).take(rows.into()));
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Wraps the lines anew, as terminals do that remember which line breaks were written.
    fn resize(&self, rows: u16, columns: u16) {
        let text = self.text();
        let mut parser = vt100::Parser::new(rows, columns, 10_000);
        for line in text.lines() {
            parser.process(line.as_bytes());
            parser.process(b"\r\n");
        }
        *self.0.lock().unwrap() = parser;
    }

    fn cursor(&self) -> (u16, u16) {
        self.0.lock().unwrap().screen().cursor_position()
    }
}

const NAMES: [&str; 5] = [
    "[build 1/3] FROM docker.io/library/debian:13",
    "[build 2/3] COPY . /src",
    "[build 3/3] RUN make -j2 all",
    "[assets 1/1] RUN npm ci",
    "[stage-1 1/1] COPY --from=build /src/app /app",
];

#[test]
fn what_is_over_is_above_and_what_runs_below() {
    let terminal = Emulator::new(24, 64);
    let script = Script::live(&NAMES, terminal.clone(), &options(Mode::Tty));
    script.cached(0).started(1).wait(50).counted(1, "files", 120, Some(400)).wait(100);
    insta::assert_snapshot!(terminal.text(), @r"
     => CACHED [build 1/3] FROM docker.io/library/debian:13    0.0s
    [+] Building 0.1s (1/5)
     => [build 2/3] COPY . /src                                0.1s
     => => 120 / 400 files                                     0.1s
    ");
    script.completed(1, 150).started(2).started(3).wait(100);
    script.out(2, "one\ntwo\nthree\nfour\n").out(3, "npm \x1b[31mwarn\x1b[0m\n12%\r13%\r").wait(100);
    insta::assert_snapshot!(terminal.text(), @r"
     => CACHED [build 1/3] FROM docker.io/library/debian:13    0.0s
     => [build 2/3] COPY . /src                                0.1s
    [+] Building 0.3s (2/5)
     => [build 3/3] RUN make -j2 all                           0.2s
     => => # two
     => => # three
     => => # four
     => [assets 1/1] RUN npm ci                                0.2s
     => => # npm warn
     => => # 13%
    ");
    script.completed(3, 300).completed(2, 200).cached(4);
    let export = script.progress.step("exporting to image");
    drop(export.part("exporting layers"));
    export.note("naming to docker.io/library/app");
    export.done();
    script.progress.finish();
    insta::assert_snapshot!(terminal.text(), @r"
     => CACHED [build 1/3] FROM docker.io/library/debian:13    0.0s
     => [build 2/3] COPY . /src                                0.1s
     => [assets 1/1] RUN npm ci                                0.3s
     => [build 3/3] RUN make -j2 all                           0.2s
     => CACHED [stage-1 1/1] COPY --from=build /src/app /app   0.0s
     => exporting to image                                     0.0s
     => => exporting layers                                    0.0s
     => => naming to docker.io/library/app                     0.0s
    [+] Building 0.3s (6/6) FINISHED
    ");
    assert_eq!(terminal.cursor(), (9, 0));
}

#[test]
fn a_failure_is_marked_and_the_screen_is_left_clean() {
    let terminal = Emulator::new(24, 64);
    let script = Script::live(&NAMES, terminal.clone(), &options(Mode::Tty));
    script.started(2).started(3).wait(100).out(2, "make: *** Error 2\n").wait(100);
    script.failed(2, "exit code: 2", 200).cancelled(3);
    let outcome = script.progress.finish();
    insta::assert_snapshot!(format!("{}\n{}", terminal.text(), outcome.failed[0].output()), @r"
     => ERROR [build 3/3] RUN make -j2 all                     0.2s
     => CANCELED [assets 1/1] RUN npm ci                       0.2s
    [+] Building 0.2s (2/2) FAILED
    ------
     > [build 3/3] RUN make -j2 all:
    0.100 make: *** Error 2
    ------
    ");
}

#[test]
fn an_interrupt_leaves_the_screen_clean() {
    let terminal = Emulator::new(24, 64);
    let script = Script::live(&NAMES, terminal.clone(), &options(Mode::Tty));
    script.started(2).wait(100).out(2, "working\n").wait(100);
    // The terminal itself shows the key.
    terminal.clone().write("^C");
    script.wait(100);
    assert!(terminal.text().ends_with("=> => # working"), "{}", terminal.text());
    // Not even finish was called.
    let Script { progress, .. } = script;
    drop(progress);
    assert_eq!(terminal.text(), "[+] Building 0.3s (0/1) CANCELED");
    assert_eq!(terminal.cursor(), (1, 0));
}

#[test]
fn hundreds_of_steps_scroll_by_once() {
    let names: Vec<String> = (0..300).map(|number| format!("[stage {number}] RUN true")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let terminal = Emulator::new(10, 60);
    let script = Script::live(&names, terminal.clone(), &options(Mode::Tty));
    for index in 0..names.len() {
        script.started(index).out(index, "noise\n").wait(10);
    }
    script.wait(100);
    let live = terminal.text();
    assert!(live.ends_with(" => and 293 more running"), "{live}");
    assert_eq!(live.lines().count(), 9, "{live}");
    for index in 0..names.len() {
        script.wait(7).completed(index, 100);
    }
    script.progress.finish();
    let text = terminal.text();
    for name in &names {
        assert_eq!(text.matches(name).count(), 1, "{name}");
    }
    assert_eq!(text.lines().count(), 301);
}

#[test]
fn a_burst_is_one_write() {
    let recorder = Recorder::default();
    let script = Script::live(&NAMES, recorder.clone(), &options(Mode::Tty));
    for index in 0..NAMES.len() {
        script.cached(index);
    }
    let drawn = recorder.text().matches("[+] Building").count();
    script.progress.finish();
    // The first event, and when it appears above.
    assert_eq!(drawn, 2);
}

#[test]
fn narrow_terminals() {
    for columns in 1..40 {
        for rows in 1..6 {
            let terminal = Emulator::new(rows, columns);
            let script = Script::live(&NAMES, terminal.clone(), &options(Mode::Tty));
            script.started(0).started(1).wait(100).out(0, "some output of this step\n").wait(100);
            let text = terminal.text();
            assert!(text.lines().count() <= usize::from(rows.saturating_sub(1)).max(1), "{rows}x{columns}:\n{text}");
            script.completed(0, 1).completed(1, 1);
            script.progress.finish();
            let text = terminal.text();
            assert!(text.lines().count() <= 3, "{rows}x{columns}:\n{text}");
        }
    }
}

#[test]
fn a_resized_terminal_is_drawn_anew() {
    let expected = " => [build 1/3] FROM docker.io/library/debian:13";
    for (rows, columns) in [(24, 40), (24, 20), (24, 63), (24, 100), (12, 30)] {
        let terminal = Emulator::new(24, 64);
        let script = Script::live(&NAMES, terminal.clone(), &options(Mode::Tty));
        script.started(0).completed(0, 1).started(2).started(3).wait(100);
        script.out(2, "a line of output that is long enough to be wrapped\n").wait(100);
        terminal.resize(rows, columns);
        script.wait(100).wait(100);
        let text = terminal.text();
        assert_eq!(text.matches("[+] Building").count(), 1, "{columns}:\n{text}");
        assert_eq!(text.matches(" => => # ").count(), 1, "{columns}:\n{text}");
        assert_eq!(text.matches("assets").count(), 1, "{columns}:\n{text}");
        assert!(text.replace('\n', "").starts_with(expected), "{columns}:\n{text}");
    }
}

#[test]
fn colours_mark_how_a_step_ended() {
    let recorder = Recorder::default();
    let coloured = Options { colour: true, palette: Palette::default(), ..options(Mode::Tty) };
    let script = Script::live(&NAMES, recorder.clone(), &coloured);
    script.cached(0).started(1).started(2).wait(100).out(1, "output\n").wait(100);
    script.failed(1, "no", 1).cancelled(2);
    script.progress.finish();
    let text = recorder.text();
    for start in ["\x1b[34m => CACHED", "\x1b[31m => ERROR", "\x1b[33m => CANCELED", "\x1b[2m => => # output"] {
        assert!(text.contains(start), "{start:?} in {text:?}");
    }
}

#[test]
fn no_colours_when_none_are_wanted() {
    let recorder = Recorder::default();
    let script = Script::live(&NAMES, recorder.clone(), &options(Mode::Tty));
    script.started(1).wait(100).out(1, "\x1b[31mred\n").wait(100).failed(1, "no", 1);
    script.progress.finish();
    assert!(!recorder.text().contains('m') || !recorder.text().contains("\x1b[31m"));
    assert!(!recorder.text().contains("\x1b[0m"));
}
