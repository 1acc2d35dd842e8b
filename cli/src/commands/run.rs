use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use builder_cache::{ContainerId, Error as StoreError, HeldContainer, Image, Lease, NewContainer, Store};
use builder_executor::container::{Container, ContainerOptions, NotStarted, Volume};
use builder_executor::op::OpError;
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
#[command(override_usage = "builder run [OPTIONS] IMAGE [COMMAND] [ARGUMENT]...", disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Remove the container when it ends
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
    /// Set the variables of a file, one NAME=VALUE a line; --env comes after it. Can be given several times
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
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
    #[arg(long, visible_alias = "net", value_name = "MODE", value_parser = ["default", "host", "none"], default_value = "default")]
    network: String,
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Write the container's id to this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
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

    /// What the container is to be called.
    fn container_name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name))
    }

    /// The variables that the command line sets, files first.
    fn variables(&self) -> CliResult<Vec<String>> {
        let mut all = Vec::new();
        for path in &self.env_files {
            all.extend(containers::variables(path)?);
        }
        all.extend(self.env.iter().cloned());
        Ok(all)
    }

    fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

/// What fails before the command runs has an exit code of its own: others are the command's.
pub(crate) fn run(global: &Global, args: &RunArgs) -> CliResult<u8> {
    match run_in_container(global, args) {
        Err(error @ CliError::Failed { .. }) => {
            output::notice(&error.to_string());
            Ok(NOT_CREATED)
        }
        result => result,
    }
}

fn run_in_container(global: &Global, args: &RunArgs) -> CliResult<u8> {
    check_privilege()?;
    args.container_name().map_or(Ok(()), containers::check_name)?;
    let variables = args.variables()?;
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
    let id = ContainerId::random()?;
    let options = options(args, &config, id, &variables)?;
    let driver = driver(global, &store)?;
    let streams = match (args.interactive, args.tty) {
        (true, true) => Streams::Terminal { input: true },
        (false, true) => Streams::Terminal { input: false },
        (input, false) => Streams::Own { input },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let held = store.create_container(new_container(id, args, &found.image, &config, &options, &variables)?)?;
    if let Some(path) = &args.cidfile {
        write_id(path, id)?;
    }
    let code = runtime.block_on(attend(held, lease, &store, &driver, &found.image, &options, streams))?;
    if !args.rm {
        sync::after_build(global, &store, durability)?;
    }
    Ok(code)
}

/// What `docker run` ends with when there is no container.
const NOT_CREATED: u8 = 125;

fn write_id(path: &Path, id: ContainerId) -> CliResult<()> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(id.to_string().as_bytes()));
    Ok(written.with_context(|| format!("the container's id can't be written to {}", path.display()))?)
}

fn new_container(
    id: ContainerId,
    args: &RunArgs,
    image: &Image,
    config: &ImageConfig,
    options: &ContainerOptions,
    variables: &[String],
) -> CliResult<NewContainer> {
    let description = Description {
        image: args.image().to_owned(),
        command: options.args.clone(),
        config: committed_config(args, config, variables)?,
        hostname: options.hostname.clone(),
        mounts: options.volumes.iter().map(Mounted::from).collect(),
        remove: args.rm,
    };
    Ok(NewContainer {
        id,
        names: match args.container_name() {
            Some(name) => vec![name.to_owned()],
            None => containers::invent_names()?,
        },
        image: image.id,
        snapshot: image.snapshot.clone(),
        description: description.to_text()?,
        created_ms: jiff::Timestamp::now().as_millisecond(),
        remove: args.rm,
    })
}

/// What the image's config would be if it had said all that the command line says: an image that is made of the
/// container goes on with it.
fn committed_config(args: &RunArgs, image: &ImageConfig, variables: &[String]) -> CliResult<ContainerConfig> {
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
    set_env(&mut config.env, variables)?;
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

/// Runs a container, and writes down how it ended.
async fn attend(
    held: HeldContainer,
    lease: Lease,
    store: &Store,
    driver: &Driver,
    image: &Image,
    options: &ContainerOptions,
    streams: Streams,
) -> CliResult<u8> {
    let sandbox = Sandbox::new();
    let stdio = streams.stdio()?;
    let mut container = match Container::start(held, store, driver, &sandbox, &image.snapshot, options, stdio) {
        Ok(container) => container,
        Err(not) => {
            let NotStarted { error, held } = *not;
            if let OpError::Store(StoreError::ContainerName { .. }) = &error {
                return Err(error.into());
            }
            let told = container::ended(Err(error));
            held.never_ran(i32::from(told.as_ref().map_or(NOT_CREATED, |ended| ended.code)))?;
            return told.map(|ended| ended.code);
        }
    };
    // The container itself keeps what it runs on from being pruned: nobody has to wait for its end.
    drop(lease);
    store.rest();
    let told = container::attend(&mut container, streams).await;
    let ended = told.as_ref().map_or(Ended { code: NOT_CREATED, ran: true }, |ended| *ended);
    let held = container.finish()?;
    if ended.ran {
        held.finished(i32::from(ended.code))?;
    } else {
        held.never_ran(i32::from(ended.code))?;
    }
    told.map(|ended| ended.code)
}

/// The image's config with the command line's wishes on top.
fn options(args: &RunArgs, config: &ImageConfig, id: ContainerId, variables: &[String]) -> CliResult<ContainerOptions> {
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
    let hostname = args.hostname.clone().unwrap_or_else(|| id.short());
    if args.tty {
        set("TERM", "xterm");
    }
    set("HOSTNAME", &hostname);
    set_env(&mut env, variables)?;
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
