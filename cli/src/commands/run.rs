use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use builder_cache::{ContainerId, HeldContainer, Image, Lease, NewContainer, Store};
use builder_executor::container::{Container, ContainerOptions, NotStarted, Volume};
use builder_executor::rootfs::Driver;
use builder_executor::sandbox::{Network, Sandbox, check_privilege};
use builder_frontend::config::{ContainerConfig, ImageConfig};
use clap::Args;

use super::Global;
use crate::build::driver;
use crate::container::{self, Ended, Streams};
use crate::containers::{self, Description, Mounted};
use crate::error::{CliError, CliResult};
use crate::pull::{self, PullPolicy};
use crate::{output, store, sync};

/// Runs a command in a new container. The container stays when the command has ended, until `builder rm`; with --rm it
/// is gone then, and what it wrote with it.
#[derive(Debug, Args)]
#[command(override_usage = "builder run [OPTIONS] IMAGE [COMMAND] [ARGUMENT]...")]
pub(crate) struct RunArgs {
    /// Remove the container when it ends. Without --name it is in no list then, and nothing is written about it
    #[arg(long)]
    rm: bool,
    /// What to call the container [default: a name is made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Give the container a label
    #[arg(short, long = "label", value_name = "NAME[=VALUE]")]
    labels: Vec<String>,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; without =VALUE it is passed on from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Start in this directory of the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Run as this user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Make a directory or file of the host visible: /host/dir:/container/dir, with :ro read-only
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET[:ro]")]
    volumes: Vec<String>,
    /// Run this program instead of the image's entrypoint; an empty one removes the entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The network: host (the default for now), or none
    #[arg(long, value_name = "MODE", value_parser = ["default", "host", "none"], default_value = "default")]
    network: String,
    /// The container's host name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// When the registry is asked for the image: missing (when the store does not have it), always, newer (always, but
    /// the store will do when it does not answer), or never
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: PullPolicy,
    /// The image for this platform [default: what the name stands for]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The image (name, id, or the beginning of an id), and what to run instead of its command. What follows the image
    /// is the command's, options too
    #[arg(trailing_var_arg = true, required = true, value_name = "IMAGE [COMMAND]")]
    image_and_command: Vec<String>,
}

impl RunArgs {
    fn image(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

pub(crate) fn run(global: &Global, args: &RunArgs) -> CliResult<u8> {
    check_privilege()?;
    let durability = sync::durability()?;
    let store = store::open(global)?;
    let lease = store.lease()?;
    let found = pull::for_run(global, &store, args.image(), args.pull, args.platform.as_deref())?;
    let config = store::config(&store, &found.image.id)?;
    if args.tty && !std::io::stdin().is_terminal() && args.interactive {
        return Err(CliError::with_hint(
            anyhow::anyhow!("the input is not a terminal"),
            "leave -t out when input comes from a file or a pipe",
        ));
    }
    let kept = if args.rm && args.name.is_none() { None } else { Some(ContainerId::random()?) };
    let options = options(args, &config, kept)?;
    let driver = driver(global, &store)?;
    let streams = match (args.interactive, args.tty) {
        (true, true) => Streams::Terminal { input: true },
        (false, true) => Streams::Terminal { input: false },
        (input, false) => Streams::Own { input },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(id) = kept else {
        let code = runtime.block_on(async {
            let sandbox = Sandbox::new();
            let snapshot = &found.image.snapshot;
            match Container::start(&store, &driver, &sandbox, snapshot, &options, streams.stdio()?) {
                Ok(mut container) => container::attend(&mut container, streams).await,
                Err(error) => container::ended(Err(error)),
            }
        });
        drop(lease);
        return Ok(code?.code);
    };
    let held = match create(&store, id, args, &found.image, &config, &options) {
        Ok(held) => held,
        Err(error) => {
            output::notice(&error.to_string());
            return Ok(NOT_CREATED);
        }
    };
    let code = runtime.block_on(run_kept(held, lease, &store, &driver, &found.image, &options, args.rm, streams));
    let code = code?;
    if !args.rm {
        sync::after_build(global, &store, durability)?;
    }
    Ok(code)
}

/// What `docker run` ends with when there is no container.
const NOT_CREATED: u8 = 125;

fn create(
    store: &Store,
    id: ContainerId,
    args: &RunArgs,
    image: &Image,
    config: &ImageConfig,
    options: &ContainerOptions,
) -> CliResult<HeldContainer> {
    let wish = args.name.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name));
    if let Some(name) = wish {
        containers::check_name(name)?;
    }
    let description = Description {
        image: args.image().to_owned(),
        command: options.args.clone(),
        config: committed_config(args, config)?,
        hostname: options.hostname.clone(),
        mounts: options.volumes.iter().map(Mounted::from).collect(),
        remove: args.rm,
    };
    let description = description.to_text()?;
    loop {
        let name = match wish {
            Some(name) => name.to_owned(),
            None => containers::invent_name(store)?,
        };
        let (snapshot, description) = (image.snapshot.clone(), description.clone());
        match store.create_container(&NewContainer { id, name, image: image.id, snapshot, description }) {
            // Somebody was given the same name at the same time.
            Err(builder_cache::Error::ContainerName { .. }) if wish.is_none() => {}
            other => return Ok(other?),
        }
    }
}

/// What the image's config would be if it had said all that the command line says: an image that is made of the
/// container goes on with it.
fn committed_config(args: &RunArgs, image: &ImageConfig) -> CliResult<ContainerConfig> {
    let mut config = image.inherit().config;
    // Instructions for whoever builds on the image; a container is no build.
    config.on_build.clear();
    if let Some(program) = &args.entrypoint {
        config.entrypoint = Some(program.clone()).filter(|program| !program.is_empty()).into_iter().collect();
        config.cmd = Vec::new();
    }
    if !args.command().is_empty() {
        config.cmd = args.command().to_vec();
    }
    set_env(&mut config.env, &args.env)?;
    if let Some(user) = &args.user {
        config.user.clone_from(user);
    }
    if let Some(directory) = &args.workdir {
        config.working_dir.clone_from(directory);
    }
    for label in &args.labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.is_empty() {
            return Err(CliError::Usage(format!("--label `{label}` has no name")));
        }
        config.labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(config)
}

/// Runs a container that the store knows, and writes down how it ended.
#[expect(clippy::too_many_arguments, reason = "called once, with all that `run` has found out")]
async fn run_kept(
    held: HeldContainer,
    lease: Lease,
    store: &Store,
    driver: &Driver,
    image: &Image,
    options: &ContainerOptions,
    remove: bool,
    streams: Streams,
) -> CliResult<u8> {
    let end = |held: HeldContainer, ended: Ended| -> CliResult<u8> {
        if remove {
            held.remove()?;
        } else if ended.ran {
            held.finished(i32::from(ended.code))?;
        } else {
            held.never_ran(i32::from(ended.code))?;
        }
        Ok(ended.code)
    };
    let sandbox = Sandbox::new();
    let stdio = streams.stdio()?;
    let mut container = match Container::start_kept(held, store, driver, &sandbox, &image.snapshot, options, stdio) {
        Ok(container) => container,
        Err(not) => {
            let NotStarted { error, held } = *not;
            let told = container::ended(Err(error));
            let ended = told.as_ref().map_or(Ended { code: NOT_CREATED, ran: false }, |ended| *ended);
            if let Some(held) = held {
                end(held, ended)?;
            }
            return told.map(|ended| ended.code);
        }
    };
    // The container itself keeps what it runs on from being pruned: nobody has to wait for its end.
    drop(lease);
    store.rest();
    let told = container::attend(&mut container, streams).await;
    let ended = told.as_ref().map_or(Ended { code: NOT_CREATED, ran: true }, |ended| *ended);
    if let Some(held) = container.finish()? {
        end(held, ended)?;
    }
    told.map(|ended| ended.code)
}

/// The image's config with the command line's wishes on top.
fn options(args: &RunArgs, config: &ImageConfig, kept: Option<ContainerId>) -> CliResult<ContainerOptions> {
    let image = &config.config;
    let (entrypoint, default_command) = match &args.entrypoint {
        // A new entrypoint does not get the arguments that were meant for the old one.
        Some(program) => {
            (Some(program.clone()).filter(|program| !program.is_empty()).into_iter().collect(), Vec::new())
        }
        None => (image.entrypoint.clone(), image.cmd.clone()),
    };
    let command = if args.command().is_empty() { default_command } else { args.command().to_vec() };
    let all: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if all.is_empty() {
        return Err(CliError::with_hint(
            anyhow::anyhow!("the image {} has no command", args.image()),
            "say what to run: builder run IMAGE COMMAND",
        ));
    }
    let mut env = image.env.clone();
    let mut set = |name: &str, value: &str| set_variable(&mut env, name, value);
    let own_name = || kept.map_or_else(container::random_name, |id| id.short());
    let hostname = args.hostname.clone().unwrap_or_else(own_name);
    if args.tty {
        set("TERM", "xterm");
    }
    set("HOSTNAME", &hostname);
    set_env(&mut env, &args.env)?;
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(format!("PATH={}", builder_executor::sandbox::DEFAULT_PATH));
    }
    let cwd = match &args.workdir {
        Some(directory) if directory.starts_with('/') => PathBuf::from(directory),
        Some(directory) => {
            return Err(CliError::Usage(format!("--workdir `{directory}` is not absolute")));
        }
        None if image.working_dir.is_empty() => PathBuf::from("/"),
        None => Path::new("/").join(&image.working_dir),
    };
    Ok(ContainerOptions {
        args: all,
        env,
        cwd,
        user: args.user.clone().unwrap_or_else(|| image.user.clone()),
        hostname,
        network: if args.network == "none" { Network::None } else { Network::Host },
        terminal: args.tty.then(container::terminal_size),
        volumes: args.volumes.iter().map(|text| volume(text)).collect::<CliResult<_>>()?,
    })
}

fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    env.retain(|variable| variable.split_once('=').map_or(variable.as_str(), |(name, _)| name) != name);
    env.push(format!("{name}={value}"));
}

/// Sets what `--env` says.
fn set_env(env: &mut Vec<String>, wanted: &[String]) -> CliResult<()> {
    for variable in wanted {
        match variable.split_once('=') {
            Some(("", _)) => return Err(CliError::Usage(format!("--env `{variable}` has no name"))),
            Some((name, value)) => set_variable(env, name, value),
            None => {
                if let Some(value) = std::env::var_os(variable) {
                    set_variable(env, variable, &value.to_string_lossy());
                }
            }
        }
    }
    Ok(())
}

fn volume(text: &str) -> CliResult<Volume> {
    let fields: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match fields.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(CliError::Usage(format!("--volume `{text}` is not of the form SOURCE:TARGET[:ro]"))),
    };
    if !source.starts_with('/') && !source.starts_with('.') {
        return Err(CliError::Usage(format!(
            "--volume `{text}`: named volumes are not supported yet, give a path that begins with / or ."
        )));
    }
    if !target.starts_with('/') {
        return Err(CliError::Usage(format!("--volume `{text}`: the path in the container is not absolute")));
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            _ => {
                return Err(CliError::Usage(format!(
                    "--volume `{text}`: option `{option}` is not supported, use ro or rw"
                )));
            }
        }
    }
    let source = std::path::absolute(source)?;
    // As in Docker, a directory that is not there is made.
    if !source.exists() {
        std::fs::create_dir_all(&source)
            .map_err(|error| CliError::message(format!("the volume {} can't be made: {error}", source.display())))?;
    }
    Ok(Volume { source, target: PathBuf::from(target), read_only })
}
