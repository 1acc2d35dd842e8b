//! `import --change` and `commit -c`.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests, too")]

use builder_frontend::changes::apply_changes;
use builder_frontend::config::{History, ImageConfig};

fn changed(config: &str, changes: &[&str]) -> Result<String, String> {
    let mut config = ImageConfig {
        config: serde_json::from_str(config).unwrap(),
        history: vec![History::default()],
        ..ImageConfig::default()
    };
    let before = config.clone();
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    match apply_changes(&mut config, &changes) {
        Ok(()) => {
            assert_eq!(config.history, before.history);
            Ok(serde_json::to_string(&config.config).unwrap())
        }
        Err(error) => {
            assert_eq!(config, before, "a wrong change must leave the config alone");
            assert!(error.diagnostic().is_some());
            Err(error.to_string())
        }
    }
}

#[test]
fn changes_are_applied() {
    let table: [(&str, &[&str], &str); 14] = [
        ("{}", &[], "{}"),
        ("{}", &["CMD [\"sh\"]"], r#"{"Cmd":["sh"],"ArgsEscaped":true}"#),
        ("{}", &["CMD echo hi"], r#"{"Cmd":["/bin/sh","-c","echo hi"],"ArgsEscaped":true}"#),
        (r#"{"Cmd":["a"]}"#, &["ENTRYPOINT [\"x\"]"], r#"{"Entrypoint":["x"]}"#),
        (
            r#"{"Cmd":["a"]}"#,
            &["CMD [\"b\"]", "ENTRYPOINT [\"x\"]"],
            r#"{"Entrypoint":["x"],"Cmd":["b"],"ArgsEscaped":true}"#,
        ),
        (r#"{"Env":["A=1","B=2"]}"#, &["ENV A=3", "ENV C=$A$B"], r#"{"Env":["A=3","B=2","C=32"]}"#),
        ("{}", &["env debug true"], r#"{"Env":["debug=true"]}"#),
        (
            r#"{"ExposedPorts":{"1/tcp":{}}}"#,
            &["EXPOSE 80 53/udp"],
            r#"{"ExposedPorts":{"1/tcp":{},"53/udp":{},"80/tcp":{}}}"#,
        ),
        (r#"{"Labels":{"a":"1"}}"#, &["LABEL b=2 a=3"], r#"{"Labels":{"a":"3","b":"2"}}"#),
        ("{}", &["ONBUILD RUN make $X"], r#"{"OnBuild":["RUN make $X"]}"#),
        (
            "{}",
            &["USER me:us", "VOLUME /data", "STOPSIGNAL 9"],
            r#"{"User":"me:us","Volumes":{"/data":{}},"StopSignal":"9"}"#,
        ),
        (r#"{"WorkingDir":"/a"}"#, &["WORKDIR b", "WORKDIR ../c"], r#"{"WorkingDir":"/a/c"}"#),
        (
            "{}",
            &["SHELL [\"/bin/bash\", \"-c\"]", "CMD x"],
            r#"{"Cmd":["/bin/bash","-c","x"],"ArgsEscaped":true,"Shell":["/bin/bash","-c"]}"#,
        ),
        (
            "{}",
            &["HEALTHCHECK --timeout=1s CMD true"],
            r#"{"Healthcheck":{"Test":["CMD-SHELL","true"],"Timeout":1000000000}}"#,
        ),
    ];
    for (config, changes, expected) in table {
        assert_eq!(changed(config, changes).as_deref(), Ok(expected), "{changes:?}");
    }
}

#[test]
fn wrong_changes_are_named() {
    let table: [(&[&str], &str); 5] = [
        (&["CMD x", "RUN make"], "in the change `RUN make`: `RUN` is not possible here"),
        (&["COPY a b"], "in the change `COPY a b`: `COPY` is not possible here"),
        (&["EXPOSE http"], "in the change `EXPOSE http`: `http` is not a port"),
        (&["ENV A=${B:?no}"], "in the change `ENV A=${B:?no}`: B: no"),
        (&["CDM x"], "in the change `CDM x`: unknown instruction: CDM"),
    ];
    for (changes, expected) in table {
        let error = changed("{}", changes).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
