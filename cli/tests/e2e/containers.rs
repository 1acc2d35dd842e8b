//! Containers that stay: `ps`, `rm`, `commit`, `diff`, `export`, `cp`.

mod commit;
mod copy;
mod files;
mod life;
mod lines;
mod passing;
mod running;

use std::process::Stdio;

use serde_json::Value;

use crate::kit::{Background, Lab};

/// Runs a shell script in a container with this name.
#[track_caller]
fn run(lab: &Lab, name: &str, script: &str) {
    lab.ok(&["run", "--name", name, "busybox", "sh", "-c", script]);
}

/// A container that runs until its input ends.
struct Live {
    background: Background,
}

impl Live {
    /// Starts it; `script` has been run when this returns.
    #[track_caller]
    fn start(lab: &Lab, name: &str, options: &[&str], script: &str) -> Self {
        let script = format!("{script}; echo up >&2; while read line; do eval \"$line\"; echo done >&2; done");
        let mut args = vec!["run", "-i", "--name", name];
        args.extend(options);
        args.extend(["busybox", "sh", "-c", &script]);
        let mut background = Background::start(lab.command(&args).stdin(Stdio::piped()));
        background.wait_for("up");
        Self { background }
    }
}

/// What `container inspect` says.
#[track_caller]
fn inspect(lab: &Lab, name: &str) -> Value {
    let text = lab.ok(&["container", "inspect", name]).stdout;
    let all: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    all[0].clone()
}
