//! The steps of a build in the words of BuildKit's LLB, as its provenance has them: ids, ops, inputs, and the lines of
//! the Dockerfile that asked for them.
//!
//! Secrets are named by their ids. Proxies are not part of a step, and addresses have no passwords.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use builder_frontend::platform::Platform;
use builder_solver::address::{redact, redact_text};
use builder_solver::{
    CopyAction, Exec, FileAction, FileMode, Graph, Mount, MountKind, NetworkMode, Op, Owner, SecretFile, SecurityMode,
    Sharing, Source, VertexId,
};
use serde_json::{Map, Value, json};

use crate::build::report::Origins;
use crate::build::source::BuildSource;

/// The steps that lead to a target, and where they are written.
#[derive(Debug)]
pub(super) struct Steps {
    /// `buildConfig`.
    pub(super) config: Value,
    /// `source`: texts and lines.
    pub(super) source: Value,
}

impl Steps {
    pub(super) fn new(graph: &Graph, target: VertexId, platform: &Platform, origins: &Origins) -> Self {
        let needed = graph.reachable(&[target]);
        let numbers: HashMap<VertexId, usize> = needed.iter().enumerate().map(|(number, &id)| (id, number)).collect();
        let name = |id: &VertexId| format!("step{}:0", numbers.get(id).copied().unwrap_or_default());
        let mut definition = Vec::with_capacity(needed.len() + 1);
        let mut lines = Lines::default();
        for (number, &id) in needed.iter().enumerate() {
            let vertex = graph.vertex(id);
            let step = format!("step{number}");
            let mut op = json!({ "Op": op(&vertex.op, vertex.inputs.len()) });
            let place = match &vertex.op {
                Op::Exec(Exec { platform: Some(other), .. }) => other.parse().unwrap_or_else(|_| platform.clone()),
                // A process that needs no other machine ran on this one, whatever the result is for.
                Op::Exec(_) => Platform::host(),
                _ => platform.clone(),
            };
            op["platform"] = json!({ "Architecture": place.architecture, "OS": place.os });
            if !place.variant.is_empty() {
                op["platform"]["Variant"] = json!(place.variant);
            }
            let mut value = json!({ "id": step, "op": op });
            if !vertex.inputs.is_empty() {
                value["inputs"] = vertex.inputs.iter().map(name).collect();
            }
            definition.push(value);
            if let (Some(span), Some(source)) = (&vertex.origin.span, origins.source(id)) {
                lines.add(&step, source, span);
            }
        }
        let last = format!("step{}", definition.len());
        definition.push(json!({ "id": last, "op": { "Op": null }, "inputs": [name(&target)] }));
        Self { config: json!({ "llbDefinition": definition }), source: lines.value() }
    }
}

/// Which lines asked for a step.
#[derive(Default)]
struct Lines<'a> {
    sources: Vec<&'a Rc<BuildSource>>,
    locations: BTreeMap<(usize, String), Value>,
}

impl<'a> Lines<'a> {
    fn add(&mut self, step: &str, source: &'a Rc<BuildSource>, span: &std::ops::Range<usize>) {
        let known = self.sources.iter().position(|known| Rc::ptr_eq(known, source));
        let position = known.unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        let line = |at: usize| {
            let before = source.text.as_bytes().get(..at).unwrap_or(source.text.as_bytes());
            before.iter().filter(|byte| **byte == b'\n').count() + 1
        };
        let last = span.end.saturating_sub(1).max(span.start);
        let range = json!({ "start": { "line": line(span.start) }, "end": { "line": line(last) } });
        let mut location = json!({ "ranges": [range] });
        if position > 0 {
            location["sourceIndex"] = json!(position);
        }
        self.locations.insert((step.len(), step.to_owned()), json!({ "locations": [location] }));
    }

    fn value(self) -> Value {
        let infos: Vec<Value> = self
            .sources
            .iter()
            .map(|source| {
                let data = BASE64.encode(redact_text(&source.text));
                json!({ "filename": file_name(&source.name), "language": "Dockerfile", "data": data })
            })
            .collect();
        let locations: Map<String, Value> = self.locations.into_iter().map(|((_, step), at)| (step, at)).collect();
        json!({ "locations": locations, "infos": infos })
    }
}

/// A Dockerfile's name without the directories of this machine.
pub(super) fn file_name(name: &str) -> &str {
    let is_path = !name.contains("://") && name.starts_with('/');
    if is_path { name.rsplit('/').next().unwrap_or(name) } else { name }
}

fn op(op: &Op, inputs: usize) -> Value {
    match op {
        Op::Source(source) => json!({ "source": { "identifier": identifier(source) } }),
        Op::Exec(exec) => json!({ "exec": self::exec(exec) }),
        Op::File(file) => json!({ "file": { "actions": actions(&file.actions, inputs) } }),
        Op::Merge => json!({ "merge": { "inputs": [{ "input": 0 }, { "input": 1 }] } }),
    }
}

fn identifier(source: &Source) -> String {
    match source {
        Source::Scratch => "scratch://".to_owned(),
        Source::Image { reference, id } if reference.starts_with("oci-layout://") => format!("oci-layout://{id}"),
        Source::Image { reference, .. } => format!("docker-image://{reference}"),
        Source::Local { name } => format!("local://{name}"),
        Source::Http(http) => redact(&http.url),
        Source::Git(git) => {
            let remote = redact(&git.remote);
            let reference = git.reference.as_deref().unwrap_or_default();
            let subdir = git.subdir.as_deref().filter(|subdir| !subdir.is_empty());
            format!("git://{remote}#{reference}{}", subdir.map(|subdir| format!(":{subdir}")).unwrap_or_default())
        }
    }
}

fn exec(exec: &Exec) -> Value {
    let text = |text: &String| redact_text(text);
    let args: Vec<String> = exec.args.iter().map(text).collect();
    let env: Vec<String> = exec.env.iter().map(|(name, value)| redact_text(&format!("{name}={value}"))).collect();
    let mut meta = json!({ "args": args, "env": env, "cwd": exec.cwd });
    if !exec.user.is_empty() {
        meta["user"] = json!(exec.user);
    }
    if let Some(hostname) = &exec.hostname {
        meta["hostname"] = json!(hostname);
    }
    if !exec.hosts.is_empty() {
        meta["extraHosts"] = exec.hosts.iter().map(|(name, address)| json!({ "Host": name, "IP": address })).collect();
    }
    let mut mounts = vec![json!({ "input": 0, "dest": "/", "output": 0 })];
    mounts.extend(exec.mounts.iter().map(mount));
    let mut value = json!({ "meta": meta, "mounts": mounts });
    if exec.network != NetworkMode::Default {
        value["network"] = json!(if exec.network == NetworkMode::Host { 1 } else { 2 });
    }
    if exec.security == SecurityMode::Insecure {
        value["security"] = json!(1);
    }
    if !exec.secret_env.is_empty() {
        let secrets = exec.secret_env.iter();
        value["secretenv"] = secrets
            .map(|secret| json!({ "ID": secret.id, "name": secret.name, "optional": !secret.required }))
            .collect();
    }
    if let Some(script) = &exec.script {
        value["script"] = json!({ "name": script.name, "data": data(&script.data) });
    }
    value
}

/// What a heredoc holds, without the passwords of addresses, as the source shows it, too.
fn data(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => BASE64.encode(redact_text(text)),
        Err(_) => BASE64.encode(bytes),
    }
}

fn mount(mount: &Mount) -> Value {
    let mut value = match &mount.kind {
        MountKind::Bind { input, source } => json!({ "input": input, "selector": source, "output": -1 }),
        MountKind::Cache(cache) => {
            let sharing = match cache.sharing {
                Sharing::Shared => 0,
                Sharing::Private => 1,
                Sharing::Locked => 2,
            };
            let options = json!({ "ID": cache.id, "sharing": sharing });
            let mut value = json!({ "input": -1, "mountType": 3, "cacheOpt": options, "output": -1 });
            if let Some((input, source)) = &cache.seed {
                (value["input"], value["selector"]) = (json!(input), json!(source));
            }
            value
        }
        MountKind::Tmpfs { size } => {
            let options = json!({ "size": size.unwrap_or_default() });
            json!({ "input": -1, "mountType": 4, "TmpfsOpt": options, "output": -1 })
        }
        MountKind::Secret(secret) => json!({ "input": -1, "mountType": 1, "secretOpt": file(secret), "output": -1 }),
        MountKind::Ssh(agent) => json!({ "input": -1, "mountType": 2, "SSHOpt": file(agent), "output": -1 }),
    };
    value["dest"] = json!(mount.target);
    if mount.read_only {
        value["readonly"] = json!(true);
    }
    value
}

fn file(secret: &SecretFile) -> Value {
    json!({
        "ID": secret.id, "uid": secret.uid, "gid": secret.gid, "mode": secret.mode, "optional": !secret.required,
    })
}

/// One of BuildKit's actions for each source of ours; each works on what the one before it left.
fn actions(all: &[FileAction], inputs: usize) -> Vec<Value> {
    let mut actions: Vec<(Option<usize>, Value)> = Vec::new();
    for action in all {
        match action {
            FileAction::Copy(copy) => {
                let each = copy.selection.sources.iter();
                actions.extend(each.map(|source| (Some(copy.input), self::copy(copy, source))));
            }
            FileAction::Mkdir { path, mode, owner } => {
                let made = json!({ "path": path, "mode": mode, "makeParents": true, "owner": self::owner(owner) });
                actions.push((None, json!({ "mkdir": made })));
            }
            FileAction::Mkfile { dest, name, data, mode, owner } => {
                let path = if dest.ends_with('/') { format!("{dest}{name}") } else { dest.clone() };
                let mut made = json!({ "path": path, "data": self::data(data), "owner": self::owner(owner) });
                set_mode(&mut made, Some(mode));
                actions.push((None, json!({ "mkfile": made })));
            }
        }
    }
    let last = actions.len().saturating_sub(1);
    let number = |(at, (second, action)): (usize, (Option<usize>, Value))| {
        let first = if at == 0 { 0 } else { inputs + at - 1 };
        let second = second.map_or(-1, |input| input as i64);
        let output = if at == last { 0 } else { -1 };
        json!({ "input": first, "secondaryInput": second, "output": output, "Action": action })
    };
    actions.into_iter().enumerate().map(number).collect()
}

fn copy(copy: &CopyAction, source: &str) -> Value {
    let mut value = json!({
        "src": source, "dest": copy.dest, "owner": owner(&copy.owner), "dirCopyContents": true, "allowWildcard": true,
        "createDestPath": true,
    });
    if !copy.selection.exclude.is_empty() {
        value["excludePatterns"] = json!(copy.selection.exclude);
    }
    if copy.unpack {
        value["attemptUnpackDockerCompatibility"] = json!(true);
    }
    set_mode(&mut value, copy.mode.as_ref());
    json!({ "copy": value })
}

fn set_mode(value: &mut Value, mode: Option<&FileMode>) {
    match mode {
        None => value["mode"] = json!(-1),
        Some(FileMode::Octal(mode)) => value["mode"] = json!(mode),
        Some(FileMode::Symbolic(text)) => {
            value["mode"] = json!(-1);
            value["modeStr"] = json!(text);
        }
    }
}

fn owner(owner: &Owner) -> Value {
    match owner {
        Owner::Default => json!({}),
        Owner::Named(name) => json!({ "user": { "User": { "byName": { "name": name } } } }),
    }
}

#[cfg(test)]
mod tests {
    use builder_solver::{Origin, Script, Vertex};

    use super::*;

    #[test]
    fn a_process_ran_where_it_ran_and_no_password_is_told() {
        let mut graph = Graph::default();
        let script = Script { name: "EOF".into(), data: b"#!/bin/sh\ncurl https://u:hidden@h/\n".to_vec() };
        let run = |platform: Option<&str>, script| Vertex {
            op: Op::Exec(Exec {
                args: vec!["x".into()],
                platform: platform.map(str::to_owned),
                script,
                ..Exec::default()
            }),
            inputs: Vec::new(),
            origin: Origin::default(),
            ignore_cache: false,
        };
        let other: Platform = "linux/riscv64".parse().expect("a platform");
        for (platform, expected) in
            [(None, Platform::host()), (Some("linux/s390x"), "linux/s390x".parse().expect("one"))]
        {
            let target = graph.add(run(platform, Some(script.clone())));
            let steps = Steps::new(&graph, target, &other, &Origins::default());
            let op = &steps.config["llbDefinition"][0]["op"];
            assert_eq!(op["platform"]["Architecture"], json!(expected.architecture));
            let data = op["Op"]["exec"]["script"]["data"].as_str().expect("a text");
            let data = String::from_utf8(BASE64.decode(data).expect("base64")).expect("a text");
            assert_eq!(data, "#!/bin/sh\ncurl https://u:xxxxx@h/\n");
        }
    }
}
