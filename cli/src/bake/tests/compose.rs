use serde_json::json;

use super::Bake;

#[test]
fn services_are_targets() {
    let text = r"
services:
  db:
    build: ./db
    command: ./entrypoint.sh
    image: docker.io/tonistiigi/db
  web.app:
    build:
      context: ./dir
      additional_contexts:
        foo: ./bar
        base: service:db
      dockerfile: Dockerfile-alternate
      network:
        none
      args:
        buildno: 123
        VERSION: 1.10
        OUTSIDE:
        UNSET:
        NODE_ENV:
      cache_from:
        - type=local,src=path/to/cache
      cache_to:
        - type=local,dest=path/to/cache
      ssh:
        - key=path/to/key
        - default
      secrets:
        - token
        - source: aws
      shm_size: 128m
      ulimits:
        nproc: 65535
        nofile: {soft: 1024, hard: 2048}
      extra_hosts:
        - somehost:162.242.195.82
        - other=::1
      labels: [a=b]
      platforms: [linux/amd64]
      no_cache: true
      pull: false
    environment:
      - NODE_ENV=test
    profiles: [test]
  external:
    image: nginx
secrets:
  token: {environment: ENV_TOKEN}
  aws: {file: /root/.aws/credentials}
networks: {x: {driver: $NOBODY}}
";
    let found = Bake::compose(text).env("OUTSIDE", "from outside").ok();
    assert_eq!(found["group"]["default"]["targets"], json!(["db", "web_app"]));
    assert_eq!(
        found["target"],
        json!({
            "db": {"context": "db", "dockerfile": "Dockerfile", "tags": ["docker.io/tonistiigi/db"]},
            "web_app": {
                "context": "dir",
                "contexts": {"base": "target:db", "foo": "./bar"},
                "dockerfile": "Dockerfile-alternate",
                "args": {"NODE_ENV": "test", "OUTSIDE": "from outside", "VERSION": "1.1", "buildno": "123"},
                "labels": {"a": "b"},
                "cache-from": [{"src": "path/to/cache", "type": "local"}],
                "cache-to": [{"dest": "path/to/cache", "type": "local"}],
                "secret": [{"id": "token", "env": "ENV_TOKEN"}, {"id": "aws", "src": "/root/.aws/credentials"}],
                "ssh": [{"id": "default"}, {"id": "key", "paths": ["path/to/key"]}],
                "platforms": ["linux/amd64"],
                "no-cache": true,
                "network": "none",
                "shm-size": "128MiB",
                "ulimits": ["nproc=65535:65535", "nofile=1024:2048"],
                "extra-hosts": {"other": "::1", "somehost": "162.242.195.82"},
            },
        })
    );
}

#[test]
fn the_extension_adds() {
    let text = r"
x-common: &common
  args: {CT_ECR: foo}
services:
  addon:
    image: ct-addon:bar
    build:
      <<: *common
      context: .
      tags: [ct-addon:baz]
      ssh: {key: path/to/key}
      cache_from: [user/app:cache]
      x-bake:
        tags: [ct-addon:foo, ct-addon:baz]
        ssh: [default, other=path/to/otherkey]
        platforms: linux/amd64 linux/arm64
        cache-from: ['type=local,src=path/to/cache']
        contexts: {alpine: docker-image://alpine:3.13}
        secret: ['id=mysecret,src=/local/secret']
        output: type=docker
        pull: true
        no-cache-filter: stage
  dockerfile:
    build:
      dockerfile_inline: |
        FROM scratch
";
    let found = Bake::compose(text).ok();
    let addon = &found["target"]["addon"];
    assert_eq!(addon["tags"], json!(["ct-addon:baz", "ct-addon:foo"]));
    assert_eq!(addon["args"], json!({"CT_ECR": "foo"}));
    assert_eq!(addon["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(addon["ssh"].as_array().unwrap().len(), 3);
    assert_eq!(addon["contexts"], json!({"alpine": "docker-image://alpine:3.13"}));
    assert_eq!(addon["output"], json!([{"type": "docker"}]));
    assert_eq!(addon["pull"], json!(true));
    assert_eq!(addon["no-cache-filter"], json!(["stage"]));
    assert_eq!(found["target"]["dockerfile"]["dockerfile-inline"], json!("FROM scratch\n"));
}

#[test]
fn variables_are_replaced() {
    let text = r#"
services:
  app:
    image: "${REPO:-local}/app:${TAG:?}"
    build:
      context: ${DIR-ctx}
      args:
        PRICE: $$5
        EMPTY: ${NOTHING}
"#;
    let app = Bake::compose(text).env("TAG", "1").ok()["target"]["app"].clone();
    assert_eq!(app["tags"], json!(["local/app:1"]));
    assert_eq!(app["context"], json!("ctx"));
    assert_eq!(app["args"], json!({"EMPTY": "", "PRICE": "$5"}));
    assert!(Bake::compose(text).fails().contains("the variable TAG is required"));
}

#[test]
fn files_and_services_are_merged() {
    let base = r"
services:
  base:
    build: {context: b, args: [A=1, B=1], tags: [x]}
  app:
    extends: {service: base}
    build: {args: {B: 2}, tags: [y]}
";
    let over = r"
services:
  app:
    build:
      dockerfile: Other
      args: {C: 3}
      tags: !override [z]
  base:
    build:
      args: !reset null
";
    let found = Bake::compose(base).file("compose.override.yaml", over).ok();
    assert_eq!(
        found["target"]["app"],
        json!({"context": "b", "dockerfile": "Other", "args": {"A": "1", "B": "2", "C": "3"}, "tags": ["z"]})
    );
    assert_eq!(found["target"]["base"].get("args"), None);
    // HCL comes on top of compose.
    let hcl = "target \"app\" { tags = [\"hcl\"] }\ngroup \"default\" { targets = [\"app\"] }";
    let found = Bake::compose(base).file("docker-bake.hcl", hcl).ok();
    assert_eq!(found["target"]["app"]["tags"], json!(["hcl"]));
    assert_eq!(found["group"]["default"]["targets"], json!(["app"]));
}

#[test]
fn what_is_wrong_is_shown() {
    for (text, expected) in [
        ("services:\n  a:\n    entrypoint: x\n", "the service `a` has neither an image nor a build context"),
        ("services:\n  a:\n    build: {contxt: .}\n", "`build` has no `contxt`"),
        ("services:\n  a:\n    build: {secrets: [token]}\n", "the secret `token` is not defined"),
        (
            "services:\n  a:\n    build: {secrets: [t]}\nsecrets: {t: {external: true}}\n",
            "unsupported external secret t",
        ),
        ("services:\n  a:\n    build: {privileged: true}\n", "`privileged` builds are not supported"),
        ("services:\n  a: {extends: b, build: .}\n", "there is no service `b` to extend"),
        ("services:\n  a: {extends: a, build: .}\n", "extends itself"),
        ("services:\n  a:\n   build: [\n", "not valid YAML"),
        ("services:\n  a: {build: .}\n  a: {build: .}\n", "the key `a` is there already"),
        ("include: [gone.yaml]\n", "gone.yaml can't be read"),
        ("services:\n  a b: {build: .}\n", "can't be the name of a target"),
    ] {
        let drawn = Bake::compose(text).fails();
        assert!(drawn.contains(expected), "{text}: {drawn}");
        assert!(drawn.contains("compose.yaml:"), "{text}: {drawn}");
    }
}
