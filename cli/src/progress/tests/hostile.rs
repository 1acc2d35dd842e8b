//! Output, names, messages and files that were written to take over the terminal.

use super::super::control::{Styles, visible};
use super::super::{Dockerfile, Warning};
use super::live::Recorder;
use super::*;

const ATTACKS: &[&str] = &[
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;ZXZpbA==\x1b\\",
    "\u{9d}52;c;ZXZpbA==\u{9c}",
    "\x1b]0;title\x07",
    "\x1b]0;never ended",
    "\x1b[2A\x1b[2K\x1b[1;1H\x1b[J",
    "\u{9b}2A\u{9b}2J",
    "innocent\r\x1b[K",
    "\x07\x08\x0e\x0f\x7f",
    "\x1bc\x1b(0\x1b7\x1b8\x1bM\x1bD",
    "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[3;4r",
    "\x1b[6n\x1b[c\x1bZ\x1b[21t",
    "\x1bP$q q\x1b\\\x1b_x\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\",
    "\x1b[8mconcealed",
    "\u{202e}desrever",
    "\x1b",
    "\x1b[",
    "\x1b]",
];

fn attack(script: &Script) -> String {
    script.started(0);
    for attack in ATTACKS {
        script.out(0, &format!("before {attack} after\n"));
        // In pieces.
        for byte in attack.bytes() {
            script.bytes(0, LogStream::Stderr, &[byte]);
        }
        script.wait(100);
    }
    script.counted(0, "bytes", 1, Some(2)).wait(6000);
    script.failed(0, &ATTACKS.concat(), 1);
    let step = script.progress.step(&ATTACKS.concat());
    step.note(ATTACKS.concat());
    script.wait(100);
    step.done();
    script.progress.warn(Warning { rule: ATTACKS.concat(), message: ATTACKS.concat(), ..Warning::default() });
    let outcome = script.progress.finish();
    let text = ATTACKS.concat();
    let failed = &outcome.failed[0];
    let dockerfile = Dockerfile { name: &text, text: &text };
    format!("{}{}{}", failed.report(Some(dockerfile)), outcome.explain(None), outcome.warning_summary())
}

/// No control characters but line breaks and tabs.
fn assert_harmless(text: &str) {
    for line in text.split('\n') {
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
        assert!(!line.contains('\u{202e}'), "{line:?}");
    }
}

#[test]
fn plain_output_is_harmless() {
    let script = Script::plain(&[&ATTACKS.concat()]);
    let report = attack(&script);
    assert_harmless(&script.sink.text());
    assert_harmless(&report);
    // What came before and after an attack is there, and what was to be hidden too. Two introducers at the end of
    // theirs take a letter with them, as on a terminal.
    let text = script.sink.text();
    assert!(text.matches("before ").count() >= ATTACKS.len());
    assert!(text.matches("fter\n").count() >= ATTACKS.len() && text.matches(" after\n").count() >= ATTACKS.len() - 2);
    assert!(text.contains("before innocent\n"), "{text}");
}

#[test]
fn plain_output_in_colour_has_colours_only() {
    let coloured = Options { colour: true, ..options(Mode::Plain) };
    let script =
        Script::with(&["[1/1] RUN x"], &coloured, |sink, now| Box::new(plain_lines::Plain::new(sink, false, now)));
    script.started(0).out(0, "\x1b[31mred\n");
    let report = attack(&script);
    let text = script.sink.text();
    assert!(text.contains("#1 0.000 \x1b[31mred\x1b[0m\n"), "{text:?}");
    assert_harmless(&text.replace("\x1b[31m", "").replace("\x1b[0m", ""));
    assert_harmless(&report.replace("\x1b[31m", "").replace("\x1b[0m", ""));
}

#[test]
fn the_live_view_sends_its_own_sequences_only() {
    let recorder = Recorder::default();
    let script = Script::live(&[&ATTACKS.concat()], recorder.clone(), &options(Mode::Tty));
    let report = attack(&script);
    assert_harmless(&report);
    let mut text = recorder.text().replace("\r\n", "\n").replace("\x1b[K", "").replace("\x1b[J", "");
    while let Some(at) = text.find("\r\x1b[") {
        let end = text[at + 3..].find('A').expect("up is the only movement") + at + 3;
        assert!(text[at + 3..end].bytes().all(|byte| byte.is_ascii_digit()), "{:?}", &text[at..end]);
        text.replace_range(at..=end, "");
    }
    assert_harmless(&text);
}

#[test]
fn json_is_harmless_by_itself() {
    let script = Script::rawjson(&[&ATTACKS.concat()]);
    attack(&script);
    assert_harmless(&script.sink.text());
}

#[test]
fn a_flood_of_sequences_is_no_longer_than_itself() {
    for attack in ATTACKS {
        let flood = attack.repeat(1000);
        let shown = visible(flood.as_bytes(), Styles::Keep);
        assert!(shown.len() <= flood.len() + 4);
    }
}
