//! Cache keys: every field counts, nothing else does.

use std::collections::HashSet;

use builder_solver::cache_key::{InputKey, content_key, definition, fetched, keys_of, op_digest, recipe_key};
use builder_solver::{
    CacheKey, CacheMount, ContentDigest, CopyAction, Exec, FileAction, FileMode, FileOp, GitSource, HttpSource, Mount,
    MountKind, NetworkMode, Op, Owner, Script, SecretEnv, SecretFile, SecurityMode, Selection, Sharing, Source,
};
use proptest::prelude::*;

fn exec() -> Exec {
    Exec {
        args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        env: vec![("PATH".into(), "/bin".into()), ("A".into(), "1".into())],
        cwd: "/src".into(),
        user: "app".into(),
        network: NetworkMode::Default,
        script: None,
        proxy_env: vec![],
        ..Exec::default()
    }
}

fn copy() -> CopyAction {
    CopyAction {
        input: 1,
        selection: Selection { sources: vec!["a".into(), "b".into()], exclude: vec![], parents: false },
        dest: "/d/".into(),
        owner: Owner::Default,
        mode: None,
        unpack: false,
    }
}

fn recipe(op: &Op, inputs: &[InputKey]) -> CacheKey {
    recipe_key(definition(op), inputs).0
}

fn secret(id: &str) -> SecretFile {
    SecretFile { id: id.into(), required: false, mode: 0o400, uid: 0, gid: 0 }
}

fn secret_env(id: &str, name: &str) -> SecretEnv {
    SecretEnv { id: id.into(), name: name.into(), required: false }
}

fn cache() -> CacheMount {
    CacheMount { id: "a".into(), sharing: Sharing::Shared, seed: None, mode: 0o755, uid: 0, gid: 0 }
}

fn mounting(target: &str, kind: MountKind) -> Op {
    Op::Exec(Exec { mounts: vec![Mount { target: target.into(), read_only: false, kind }], ..exec() })
}

fn http() -> HttpSource {
    HttpSource { url: "https://host/a".into(), name: "a".into(), checksum: None }
}

fn git() -> GitSource {
    GitSource {
        remote: "https://host/a.git".into(),
        reference: None,
        subdir: None,
        checksum: None,
        keep_git_dir: false,
        submodules: false,
        commit_times: false,
    }
}

fn file(action: FileAction) -> Op {
    Op::File(FileOp { actions: vec![action] })
}

fn selecting(selection: Selection) -> Op {
    file(FileAction::Copy(CopyAction { selection, ..copy() }))
}

#[test]
fn every_field_of_every_op_changes_the_key() {
    let selection = copy().selection;
    let ops = vec![
        Op::Source(Source::Scratch),
        Op::Source(Source::Image { reference: "a".into(), id: "sha256:1".into() }),
        Op::Source(Source::Image { reference: "a".into(), id: "sha256:2".into() }),
        Op::Merge,
        Op::Exec(exec()),
        Op::Exec(Exec { args: vec!["/bin/sh".into(), "-c make".into()], ..exec() }),
        Op::Exec(Exec { args: vec!["/bin/sh".into(), "-cmake".into(), String::new()], ..exec() }),
        Op::Exec(Exec { env: vec![("PATH".into(), "/bin".into())], ..exec() }),
        Op::Exec(Exec { env: vec![("A".into(), "1".into()), ("PATH".into(), "/bin".into())], ..exec() }),
        Op::Exec(Exec { env: vec![("PATH".into(), "/bin".into()), ("A".into(), "2".into())], ..exec() }),
        Op::Exec(Exec { env: vec![("PATH".into(), "/bin".into()), ("A1".into(), String::new())], ..exec() }),
        Op::Exec(Exec { cwd: "/".into(), ..exec() }),
        Op::Exec(Exec { user: String::new(), ..exec() }),
        Op::Exec(Exec { network: NetworkMode::None, ..exec() }),
        Op::Exec(Exec { network: NetworkMode::Host, ..exec() }),
        Op::Exec(Exec { script: Some(Script { name: "EOF".into(), data: b"x".to_vec() }), ..exec() }),
        Op::Exec(Exec { script: Some(Script { name: "EOF".into(), data: b"y".to_vec() }), ..exec() }),
        Op::Exec(Exec { script: Some(Script { name: "EOFx".into(), data: vec![] }), ..exec() }),
        Op::Exec(Exec { security: SecurityMode::Insecure, ..exec() }),
        Op::Exec(Exec { hosts: vec![("a".into(), "10.0.0.1".into())], ..exec() }),
        Op::Exec(Exec { hosts: vec![("a".into(), "10.0.0.2".into())], ..exec() }),
        Op::Exec(Exec { hostname: Some("a".into()), ..exec() }),
        Op::Exec(Exec { platform: Some("linux/arm64".into()), ..exec() }),
        Op::Exec(Exec { secret_env: vec![secret_env("a", "A")], ..exec() }),
        Op::Exec(Exec { secret_env: vec![secret_env("a", "B")], ..exec() }),
        Op::Exec(Exec { secret_env: vec![secret_env("b", "A")], ..exec() }),
        mounting("/m", MountKind::Tmpfs { size: None }),
        mounting("/n", MountKind::Tmpfs { size: None }),
        mounting("/m", MountKind::Tmpfs { size: Some(1) }),
        mounting("/m", MountKind::Bind { input: 1, source: "/".into() }),
        mounting("/m", MountKind::Bind { input: 2, source: "/".into() }),
        mounting("/m", MountKind::Bind { input: 1, source: "/a".into() }),
        mounting("/m", MountKind::Cache(cache())),
        mounting("/m", MountKind::Cache(CacheMount { seed: Some((1, "/".into())), ..cache() })),
        mounting("/m", MountKind::Cache(CacheMount { mode: 0o700, ..cache() })),
        mounting("/m", MountKind::Cache(CacheMount { uid: 1, ..cache() })),
        mounting("/m", MountKind::Cache(CacheMount { gid: 1, ..cache() })),
        mounting("/m", MountKind::Secret(secret("a"))),
        mounting("/m", MountKind::Secret(secret("b"))),
        mounting("/m", MountKind::Secret(SecretFile { mode: 0o444, ..secret("a") })),
        mounting("/m", MountKind::Secret(SecretFile { uid: 1, ..secret("a") })),
        mounting("/m", MountKind::Secret(SecretFile { gid: 1, ..secret("a") })),
        mounting("/m", MountKind::Ssh(secret("a"))),
        mounting("/m", MountKind::Ssh(SecretFile { mode: 0o666, ..secret("a") })),
        Op::Source(Source::Http(http())),
        Op::Source(Source::Http(HttpSource { url: "https://host/b".into(), ..http() })),
        Op::Source(Source::Http(HttpSource { name: "b".into(), ..http() })),
        Op::Source(Source::Http(HttpSource { checksum: Some("sha256:1".into()), ..http() })),
        Op::Source(Source::Git(git())),
        Op::Source(Source::Git(GitSource { reference: Some("main".into()), ..git() })),
        Op::Source(Source::Git(GitSource { subdir: Some("main".into()), ..git() })),
        Op::Source(Source::Git(GitSource { checksum: Some("main".into()), ..git() })),
        Op::Source(Source::Git(GitSource { keep_git_dir: true, ..git() })),
        Op::Source(Source::Git(GitSource { submodules: true, ..git() })),
        Op::Source(Source::Git(GitSource { commit_times: true, ..git() })),
        file(FileAction::Copy(copy())),
        file(FileAction::Copy(CopyAction { dest: "/d".into(), ..copy() })),
        file(FileAction::Copy(CopyAction { owner: Owner::Named("app".into()), ..copy() })),
        file(FileAction::Copy(CopyAction { mode: Some(FileMode::Octal(0o644)), ..copy() })),
        file(FileAction::Copy(CopyAction { mode: Some(FileMode::Symbolic("644".into())), ..copy() })),
        file(FileAction::Copy(CopyAction { unpack: true, ..copy() })),
        file(FileAction::Copy(CopyAction { input: 2, ..copy() })),
        selecting(Selection { sources: vec!["ab".into()], ..selection.clone() }),
        selecting(Selection { sources: vec!["b".into(), "a".into()], ..selection.clone() }),
        selecting(Selection { exclude: vec!["x".into()], ..selection.clone() }),
        selecting(Selection { parents: true, ..selection }),
        file(FileAction::Mkdir { path: "/d".into(), mode: 0o755, owner: Owner::Default }),
        file(FileAction::Mkdir { path: "/d".into(), mode: 0o700, owner: Owner::Default }),
        file(FileAction::Mkfile {
            dest: "/d".into(),
            name: "n".into(),
            data: b"1".to_vec(),
            mode: FileMode::Octal(0o644),
            owner: Owner::Default,
        }),
        file(FileAction::Mkfile {
            dest: "/d".into(),
            name: "n".into(),
            data: b"2".to_vec(),
            mode: FileMode::Octal(0o644),
            owner: Owner::Default,
        }),
        Op::File(FileOp { actions: vec![FileAction::Copy(copy()), FileAction::Copy(copy())] }),
    ];
    let count = ops.len();
    let recipes: HashSet<_> = ops.iter().map(|op| recipe(op, &[])).collect();
    let contents: HashSet<_> = ops.iter().map(|op| content_key(&op_digest(&definition(op)), &[])).collect();
    assert_eq!((recipes.len(), contents.len()), (count, count));
}

#[test]
fn what_does_not_change_the_result_does_not_change_the_key() {
    let named = |reference: &str| Op::Source(Source::Image { reference: reference.into(), id: "sha256:1".into() });
    assert_eq!(recipe(&named("a:1"), &[]), recipe(&named("b:2"), &[]));
    let proxied = Exec { proxy_env: vec![("HTTP_PROXY".into(), "http://proxy".into())], ..exec() };
    assert_eq!(recipe(&Op::Exec(exec()), &[]), recipe(&Op::Exec(proxied), &[]));
    for other in [CacheMount { id: "b".into(), ..cache() }, CacheMount { sharing: Sharing::Locked, ..cache() }] {
        let mount = |cache| mounting("/m", MountKind::Cache(cache));
        assert_eq!(recipe(&mount(cache()), &[]), recipe(&mount(other), &[]));
    }
    let required = SecretFile { required: true, ..secret("a") };
    let mount = |secret| mounting("/m", MountKind::Secret(secret));
    assert_eq!(recipe(&mount(secret("a")), &[]), recipe(&mount(required), &[]));
    let local = |name: &str| Op::Source(Source::Local { name: name.into() });
    assert_eq!(recipe(&local("a"), &[]), recipe(&local("b"), &[]), "its users carry its content");
}

fn bytes(value: u8) -> [u8; 32] {
    [value; 32]
}

proptest! {
    /// Inputs count by position, kind and value.
    #[test]
    fn inputs_count(left in prop::collection::vec((any::<bool>(), any::<u8>()), 0..4), right in prop::collection::vec((any::<bool>(), any::<u8>()), 0..4)) {
        let keys = |inputs: &[(bool, u8)]| -> Vec<InputKey> {
            inputs.iter().map(|(files, value)| if *files {
                InputKey::Files(ContentDigest::from_bytes(bytes(*value)))
            } else {
                InputKey::Recipe(CacheKey::from_bytes(bytes(*value)))
            }).collect()
        };
        let same = recipe(&Op::Merge, &keys(&left)) == recipe(&Op::Merge, &keys(&right));
        prop_assert_eq!(same, left == right);
        let digests = |inputs: &[(bool, u8)]| inputs.iter().map(|(_, value)| ContentDigest::from_bytes(bytes(*value))).collect::<Vec<_>>();
        let op = op_digest(&definition(&Op::Merge));
        let same = content_key(&op, &digests(&left)) == content_key(&op, &digests(&right));
        prop_assert_eq!(same, digests(&left) == digests(&right));
    }

    /// A variable's name and value never run together.
    #[test]
    fn variables_are_framed(one in "[A-Z]{1,3}", two in "[A-Z]{1,3}", first in "[a-z]{0,3}", second in "[a-z]{0,3}") {
        let with = |env: Vec<(String, String)>| recipe(&Op::Exec(Exec { env, ..exec() }), &[]);
        let plain = with(vec![(one.clone(), first.clone()), (format!("{two}X"), second.clone())]);
        let other = with(vec![(format!("{two}X"), second), (one, first)]);
        prop_assert_ne!(plain, other, "order counts");
    }
}

#[test]
fn a_mount_picks_what_it_shows() {
    let picked = |source: &str| {
        let op = mounting("/m", MountKind::Bind { input: 1, source: source.into() });
        assert!(op.picks(0).is_empty(), "the root counts whole");
        op.picks(1)
            .into_iter()
            .filter(|picked| picked.itself)
            .flat_map(|picked| picked.selection.sources)
            .collect::<Vec<_>>()
    };
    assert!(picked("/").is_empty(), "all of it");
    assert_eq!(picked("/a/b"), ["/a/b"]);
    assert_eq!(picked("/a*[b]"), ["/a\\*\\[b]"], "a path is no pattern");
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    let shown = |url: &str| {
        let http = HttpSource { url: url.into(), ..http() };
        definition(&Op::Source(Source::Http(http))).pop().unwrap().value
    };
    for (url, expected) in [
        ("https://host/a@b:c", "https://host/a@b:c"),
        ("https://token@host/a", "https://xxxxx@host/a"),
        ("https://user:p@ss@host:1/a", "https://user:xxxxx@host:1/a"),
    ] {
        assert_eq!(shown(url), expected);
    }
    let remote = "ssh://git:secret@host/a.git".to_owned();
    let git = definition(&Op::Source(Source::Git(GitSource { remote, ..git() }))).pop().unwrap();
    assert_eq!(git.value, "ssh://git:xxxxx@host/a.git");
}

#[test]
fn components_tell_both_keys() {
    let digest = ContentDigest::from_bytes([7; 32]);
    let inputs = [InputKey::Recipe(CacheKey::from_bytes([1; 32])), InputKey::Files(digest)];
    for (op, inputs) in [(Op::Exec(exec()), &inputs[..]), (Op::Merge, &inputs[..1]), (Op::Source(Source::Scratch), &[])]
    {
        let mut definition = definition(&op);
        definition.push(fetched(&digest));
        let op = op_digest(&definition);
        let (recipe, components) = recipe_key(definition, inputs);
        assert_eq!(keys_of(&components), (op, recipe));
    }
}
