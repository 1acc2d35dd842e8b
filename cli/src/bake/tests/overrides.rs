use serde_json::{Value, json};

use super::Bake;

const TEXT: &str = r#"
target "webDEP" {
  args = { VAR_INHERITED = "webDEP", VAR_BOTH = "webDEP" }
  no-cache = true
}
target "webapp" {
  dockerfile = "Dockerfile.webapp"
  args = { VAR_BOTH = "webapp" }
  attest = ["type=provenance,mode=max"]
  platforms = ["linux/amd64"]
  secret = ["id=FOO,env=FOO"]
  inherits = ["webDEP"]
}
"#;

/// What the target is with these flags.
#[track_caller]
fn webapp(flags: &[&str]) -> Value {
    let bake = flags.iter().fold(Bake::hcl(TEXT).target("webapp"), |bake, flag| bake.set(flag));
    bake.env("FROM_ENV", "outside").ok()["target"]["webapp"].clone()
}

#[test]
fn keys_are_set() {
    let table: [(&[&str], &str, Value); 28] = [
        (&["webapp.context=foo"], "context", json!("foo")),
        (&["webapp.dockerfile=foo"], "dockerfile", json!("foo")),
        (&["*.dockerfile=foo"], "dockerfile", json!("foo")),
        (&["web*.target=x"], "target", json!("x")),
        (&["webapp.no-cache=false"], "no-cache", json!(false)),
        (&["webapp.platform=linux/arm64"], "platforms", json!(["linux/arm64"])),
        (&["webapp.platform+=linux/arm64"], "platforms", json!(["linux/amd64", "linux/arm64"])),
        (&["webapp.platform+=a/b", "webapp.platform+=c/d"], "platforms", json!(["linux/amd64", "a/b", "c/d"])),
        (&["webapp.tags=a", "webapp.tags=b"], "tags", json!(["a", "b"])),
        (&["webapp.output=type=local,dest=x"], "output", json!([{"dest": "x", "type": "local"}])),
        (&["webapp.secrets=id=BAR,env=B"], "secret", json!([{"id": "BAR", "env": "B"}])),
        (&["webapp.secrets+=id=BAR,env=B"], "secret", json!([{"id": "FOO", "env": "FOO"}, {"id": "BAR", "env": "B"}])),
        (&["webapp.secret.FOO=src=/f"], "secret", json!([{"id": "FOO", "src": "/f"}])),
        (&["webapp.attest=type=sbom"], "attest", json!([{"mode": "max", "type": "provenance"}, {"type": "sbom"}])),
        (&["webapp.ssh=default"], "ssh", json!([{"id": "default"}])),
        (&["webapp.labels.a.b=c"], "labels", json!({"a.b": "c"})),
        (&["webapp.contexts.x=y"], "contexts", json!({"x": "y"})),
        (&["webapp.extra-hosts.h=1.1.1.1"], "extra-hosts", json!({"h": "1.1.1.1"})),
        (&["webapp.resources.memory=1g"], "resources", json!({"memory": "1g"})),
        (&["webapp.ulimits=nofile=1:1"], "ulimits", json!(["nofile=1:1"])),
        (&["webapp.push=true"], "output", json!([{"push": "true", "type": "image"}])),
        (&["webapp.load=true"], "output", json!([{"type": "docker"}])),
        (&["webapp.output=type=local,dest=x", "webapp.load=true"], "output", json!([{"dest": "x", "type": "local"}])),
        (
            &["webapp.output=type=oci,dest=x", "webapp.load=true"],
            "output",
            json!([{"dest": "x", "type": "oci"}, {"type": "docker"}]),
        ),
        (&["webapp.annotations=a=b"], "annotations", json!(["a=b"])),
        (&["webapp.network=none"], "network", json!("none")),
        (&["webapp.shm-size=1g"], "shm-size", json!("1g")),
        (&["webapp.call=check"], "call", json!("check")),
    ];
    for (flags, key, expected) in table {
        let found = webapp(flags);
        assert_eq!(found[key], expected, "{flags:?}: {found:#}");
    }
}

#[test]
fn arguments_are_set() {
    let table: [(&[&str], Value); 6] = [
        (&["webapp.args.SET=bananas"], json!({"SET": "bananas", "VAR_BOTH": "webapp", "VAR_INHERITED": "webDEP"})),
        (&["webapp.args.VAR_BOTH="], json!({"VAR_BOTH": "", "VAR_INHERITED": "webDEP"})),
        (&["webapp.args.UNSET"], json!({"VAR_BOTH": "webapp", "VAR_INHERITED": "webDEP"})),
        (&["webapp.args.FROM_ENV"], json!({"FROM_ENV": "outside", "VAR_BOTH": "webapp", "VAR_INHERITED": "webDEP"})),
        (
            &["webDEP.args.VAR_INHERITED=over", "webDEP.args.VAR_BOTH=over"],
            json!({"VAR_BOTH": "webapp", "VAR_INHERITED": "over"}),
        ),
        (&["*.args.VAR_BOTH=x=y"], json!({"VAR_BOTH": "x=y", "VAR_INHERITED": "webDEP"})),
    ];
    for (flags, expected) in table {
        assert_eq!(webapp(flags)["args"], expected, "{flags:?}");
    }
}

#[test]
fn wrong_flags_are_named() {
    for (flag, expected) in [
        ("webapp.context", "a value is missing"),
        ("webapp", "write TARGET.KEY=VALUE"),
        ("webapp.contxt=x", "there is no key `contxt`"),
        ("webapp.args=x", "write webapp.args.NAME=VALUE"),
        ("webapp.tags.x=y", "`tags` has no members"),
        ("webap.context=foo", "could not find any target matching 'webap'"),
        ("nomatch*.dockerfile=foo", "could not find any target matching 'nomatch*'"),
        ("webapp.no-cache=maybe", "it takes true or false, not `maybe`"),
        ("webapp.secret.BAR=env=B", "secret \"BAR\" must be declared before it can be overridden"),
        ("webapp.secret.FOO=id=BAR,env=B", "does not match declared secret \"FOO\""),
        ("webapp.output=dest=x,tar=true", "type is required"),
    ] {
        let text = Bake::hcl(TEXT).target("webapp").set(flag).fails();
        assert!(text.contains(expected), "{flag}: {text}");
    }
}
