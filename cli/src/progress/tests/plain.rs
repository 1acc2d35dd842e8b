use super::*;

const EXIT: &str = r#"process "/bin/sh -c make" did not complete successfully: exit code: 2"#;

#[test]
fn a_build_from_end_to_end() {
    let script = Script::plain(&[
        "[internal] load build context",
        "(scratch)",
        "[build 1/3] FROM docker.io/library/debian:13",
        "[build 2/3] COPY . /src",
        "[build 3/3] RUN make",
        "[stage-1 1/1] COPY --from=build /src/app /app",
    ]);
    let load = script.progress.step("[internal] load build definition from Dockerfile");
    load.part("transferring dockerfile:").count("bytes", 128, None);
    load.done();
    let ignore = script.progress.step("[internal] load .dockerignore");
    ignore.part("transferring context:").count("bytes", 2, None);
    ignore.done();
    script.started(0).started(1).cached(2).wait(40);
    script.counted(0, "files", 12, Some(12)).completed(0, 40).completed(1, 0);
    script.missed(3, MissReason::New).started(3).wait(100).completed(3, 100);
    script.started(4).wait(123);
    script.out(4, "gcc -c main.c\ngcc -o").wait(200).out(4, " app main.o\n").completed(4, 323);
    script.cached(5);
    let export = script.progress.step("exporting to image");
    let layers = export.part("exporting layers");
    script.wait(300);
    drop(layers);
    export.note("writing image sha256:0123456789abcdef");
    export.note("naming to docker.io/library/app");
    export.done();
    script.progress.finish();
    insta::assert_snapshot!(script.sink.text());
}

#[test]
fn steps_take_turns() {
    let script = Script::plain(&["[a 1/1] RUN one", "[b 1/1] RUN two", "[c 1/1] RUN three"]);
    script.started(0).started(1).started(2).wait(10);
    script.out(0, "one begins\n").out(1, "two waits\n").out(1, "for its turn\n").wait(900);
    script.out(0, "one again\n").wait(500).wait(500);
    // The first was silent for a second: the second has the word.
    script.out(1, "two goes on\n").out(0, "one waits now\n").wait(20);
    // The end of a step is told at once.
    script.completed(2, 1930);
    script.out(0, "one is the only one that waits\n");
    script.completed(1, 1940).completed(0, 1950);
    script.progress.finish();
    insta::assert_snapshot!(script.sink.text());
}

#[test]
fn nobody_waits_for_ever() {
    let script = Script::plain(&["[a 1/1] RUN one", "[b 1/1] RUN two"]);
    script.started(0).started(1).out(1, "patient\n");
    for _ in 0..50 {
        script.wait(99).out(0, "chatter\n");
    }
    assert!(!script.sink.text().contains("patient"));
    for _ in 0..2 {
        script.wait(99).out(0, "chatter\n");
    }
    assert!(script.sink.text().ends_with("#1 ...\n\n#2 [b 1/1] RUN two\n#2 0.000 patient\n"));
}

#[test]
fn whoever_has_much_to_say_does_not_wait() {
    let script = Script::plain(&["[a 1/1] RUN one", "[b 1/1] RUN two"]);
    script.started(0).started(1);
    for _ in 0..700 {
        script.out(1, &format!("{}\n", "x".repeat(100)));
    }
    script.completed(1, 10).completed(0, 10);
    let text = script.sink.text();
    assert_eq!(text.matches(&"x".repeat(100)).count(), 700);
    assert!(text.contains("#1 ...\n"));
}

#[test]
fn a_failure_stops_the_others() {
    let script = Script::plain(&["[a 1/2] RUN make", "[b 1/1] RUN sleep 9", "[a 2/2] RUN never", "(scratch)"]);
    script.started(0).started(1).started(3).wait(50);
    script.out(0, "make: *** [all] Error 2").wait(20).failed(0, EXIT, 70);
    script.cancelled(1).cancelled(2).cancelled(3);
    // What comes later is not believed.
    script.completed(1, 10).out(0, "ghost\n");
    script.progress.finish();
    script.started(2);
    insta::assert_snapshot!(script.sink.text(), @r#"
    #1 [a 1/2] RUN make
    #1 0.050 make: *** [all] Error 2
    #1 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2

    #2 [b 1/1] RUN sleep 9
    #2 CANCELED
    "#);
}

#[test]
fn a_hidden_step_that_fails_is_shown() {
    let script = Script::plain(&["(scratch)"]);
    script.started(0).out(0, "x\n").failed(0, "no space left on device", 10);
    assert_eq!(script.sink.text(), "#1 (scratch)\n#1 ERROR: no space left on device\n");
}

#[test]
fn every_kind_of_line_break() {
    let script = Script::plain(&["[1/1] RUN printf"]);
    script.started(0);
    script.out(0, "unix\nwindows\r\n\n10%\r20%\r");
    script.out(0, "30%\n").bytes(0, LogStream::Stderr, b"caf\xe9\n").bytes(0, LogStream::Stderr, b"gr\xc3");
    script.wait(12_345).bytes(0, LogStream::Stderr, b"\xb6\xc3\x9fe\n").out(0, "slow\n").out(0, "no end");
    script.wait(100_000).completed(0, 112_345);
    insta::assert_snapshot!(script.sink.text(), @r"
    #1 [1/1] RUN printf
    #1 0.000 unix
    #1 0.000 windows
    #1 0.000 
    #1 0.000 10%
    #1 0.000 20%
    #1 0.000 30%
    #1 0.000 caf�
    #1 0.000 größe
    #1 12.35 slow
    #1 12.35 no end
    #1 DONE 112.3s
    ");
}

#[test]
fn counters_are_printed_now_and_then() {
    let script = Script::plain(&["[internal] load build context"]);
    script.started(0);
    for megabytes in 0..120 {
        script.counted(0, "bytes", megabytes * 1_000_000, Some(120_000_000)).wait(100);
    }
    script.completed(0, 12_000);
    insta::assert_snapshot!(script.sink.text(), @r"
    #1 [internal] load build context
    #1 50.00MB / 120.00MB
    #1 100.00MB / 120.00MB
    #1 119.00MB / 120.00MB 12.0s done
    #1 DONE 12.0s
    ");
}

#[test]
fn names_can_be_short() {
    let name = format!("[1/1] RUN {}", "é".repeat(100));
    let script =
        Script::with(&[&name], &options(Mode::Plain), |sink, now| Box::new(plain_lines::Plain::new(sink, true, now)));
    script.cached(0);
    assert_eq!(script.sink.text(), format!("#1 [1/1] RUN {}...\n#1 CACHED\n", "é".repeat(62)));
}

#[test]
fn ten_thousand_steps_at_once() {
    let names: Vec<String> = (0..10_000).map(|number| format!("step {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let script = Script::plain(&names);
    for index in 0..names.len() {
        script.started(index);
    }
    for index in 0..names.len() {
        script.completed(index, 1);
    }
    assert_eq!(script.sink.text().matches(" DONE 0.0s\n").count(), 10_000);
}

#[test]
fn events_come_through_a_channel() {
    let script = Script::plain(&[]);
    let graph = graph(&["[1/2] FROM base", "[2/2] RUN true"]);
    let vertices: Vec<_> = graph.vertices().map(|(id, _)| id).collect();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let attached = script.progress.attach(&graph, &vertices, receiver).expect("threads can be started");
    sender.blocking_send(Event::Cached { vertex: vertices[0] }).expect("somebody reads");
    sender.blocking_send(Event::Cached { vertex: vertices[1] }).expect("somebody reads");
    drop(sender);
    attached.join();
    assert_eq!(script.sink.text(), "#1 [1/2] FROM base\n#1 CACHED\n\n#2 [2/2] RUN true\n#2 CACHED\n");
}

#[test]
fn nothing_is_shown_when_nothing_is_wanted() {
    let progress = Progress::start(&options(Mode::Quiet));
    progress.step("exporting to image").failed("no space left on device");
    drop(progress.step("never ended"));
    let outcome = progress.finish();
    assert_eq!(outcome.failed.len(), 1);
    assert_eq!(outcome.failed[0].name, "exporting to image");
    assert_eq!(outcome.warning_summary(), "");
}
