use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use builder_executor::container::{Container, ContainerOptions, Volume};
use builder_executor::sandbox::{Network, Sandbox, check_privilege};
use builder_frontend::config::ImageConfig;
use clap::Args;

use super::Global;
use crate::build::driver;
use crate::container::{self, Streams};
use crate::error::{CliError, CliResult};
use crate::store;

/// Runs a command in a new container. The container and what it writes are gone when the command ends.
#[derive(Debug, Args)]
#[command(override_usage = "builder run [OPTIONS] IMAGE [COMMAND] [ARGUMENT]...")]
pub(crate) struct RunArgs {
    /// Remove the container when it ends; accepted for scripts, since every container is removed in this version
    #[arg(long)]
    rm: bool,
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
    let store = store::open(global)?;
    let lease = store.lease()?;
    let found = store::find(&store, args.image())?;
    let config = store::config(&store, &found.image.id)?;
    if args.tty && !std::io::stdin().is_terminal() && args.interactive {
        return Err(CliError::with_hint(
            anyhow::anyhow!("the input is not a terminal"),
            "leave -t out when input comes from a file or a pipe",
        ));
    }
    let options = options(args, &config)?;
    let driver = driver(global, &store)?;
    let streams = match (args.interactive, args.tty) {
        (true, true) => Streams::Terminal { input: true },
        (false, true) => Streams::Terminal { input: false },
        (input, false) => Streams::Own { input },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let sandbox = Sandbox::new();
        let container = Container::start(&store, &driver, &sandbox, &found.image.snapshot, &options, streams.stdio()?)?;
        container::attend(container, streams).await
    });
    drop(lease);
    code
}

/// The image's config with the command line's wishes on top.
fn options(args: &RunArgs, config: &ImageConfig) -> CliResult<ContainerOptions> {
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
    let mut set = |name: &str, value: String| {
        env.retain(|variable| variable.split_once('=').map_or(variable.as_str(), |(name, _)| name) != name);
        env.push(format!("{name}={value}"));
    };
    let hostname = args.hostname.clone().unwrap_or_else(container::random_name);
    if args.tty {
        set("TERM", "xterm".to_owned());
    }
    set("HOSTNAME", hostname.clone());
    for variable in &args.env {
        match variable.split_once('=') {
            Some(("", _)) => return Err(CliError::Usage(format!("--env `{variable}` has no name"))),
            Some((name, value)) => set(name, value.to_owned()),
            None => {
                if let Some(value) = std::env::var_os(variable) {
                    set(variable, value.to_string_lossy().into_owned());
                }
            }
        }
    }
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
