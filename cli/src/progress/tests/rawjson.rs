use super::super::Warning;
use super::*;

#[test]
fn a_build_from_end_to_end() {
    let script = Script::rawjson(&["[internal] load build context", "(scratch)", "[1/2] COPY . .", "[2/2] RUN make"]);
    script.started(0).wait(10).counted(0, "files", 3, Some(3)).completed(0, 10);
    script.started(1).completed(1, 0).cached(2);
    script.missed(3, MissReason::New).started(3).wait(250);
    script.bytes(3, LogStream::Stdout, b"\x1b]0;kept\x07 and harmless\n").bytes(3, LogStream::Stderr, b"\xff");
    script.failed(3, "exit code: 1", 300);
    let export = script.progress.step("exporting to image");
    export.note("writing image sha256:0123");
    drop(export);
    script.progress.warn(Warning {
        rule: "JSONArgsRecommended".into(),
        message: "use JSON".into(),
        detail: vec!["because".into()],
        url: Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/".into()),
        line: Some(4),
        ..Warning::default()
    });
    script.progress.finish();
    let text = script.sink.text();
    for line in text.lines() {
        let status: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(status.is_object());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn output_before_the_start_starts_the_step() {
    let script = Script::rawjson(&["[1/1] RUN make"]);
    script.out(0, "early\n");
    let lines = script.sink.text();
    let started = lines.lines().position(|line| line.contains("\"started\"")).expect("it is announced");
    let logged = lines.lines().position(|line| line.contains("\"logs\"")).expect("it is logged");
    assert!(started < logged);
}

#[test]
fn digests_tell_steps_apart() {
    let script = Script::rawjson(&["same", "same"]);
    script.started(0).started(1);
    let text = script.sink.text();
    let status: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let digests: Vec<&str> =
        status["vertexes"].as_array().unwrap().iter().map(|vertex| vertex["digest"].as_str().unwrap()).collect();
    assert_eq!(digests.len(), 2);
    assert_ne!(digests[0], digests[1]);
    assert!(digests.iter().all(|digest| digest.len() == "sha256:".len() + 64));
}
