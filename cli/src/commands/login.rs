use std::io::Read as _;

use builder_image::Reference;
use builder_image::registry::{Error, IdentityToken, Login, Registry, Secret, Stop};
use clap::Args;

use super::Global;
use crate::credentials::{Kept, Logins, Place, entry};
use crate::error::{CliError, CliResult};
use crate::registry::{DOCKER_HUB, RegistryArgs};
use crate::{output, prompt, registry};

/// The most that is read as a password.
const LIMIT: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user; asked for if it is not given
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password or token; other users see it in the list of processes, so better --password-stdin
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<Secret>,
    /// Read the password or token from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The registry: host or host:port [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) fn run(global: &Global, args: &LoginArgs) -> CliResult<u8> {
    let host = host(args.server.as_deref())?;
    if args.password.is_some() {
        output::notice("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let registry = registry::client_for(global, &args.registry, [host.as_str()], Stop::default())?;
    let logins = Logins::new(&registry.settings().hosts);
    let place = Place::of(&host, &logins)?;
    if args.username.is_none()
        && args.password.is_none()
        && let Some(login) = logins.find(&host)?
        && again(&registry, &host, &place, &login)?
    {
        return Ok(0);
    }
    let (user, password) = ask(args)?;
    let login = Login::Basic { user: user.clone(), password };
    let login = check(&registry, &host, login)?;
    let kept = place.store(&user, &login)?;
    succeeded(&kept)?;
    Ok(0)
}

/// The registry that a person means.
pub(crate) fn host(server: Option<&str>) -> CliResult<String> {
    let text = server.unwrap_or(DOCKER_HUB);
    let host = entry::hostname(text.trim());
    match format!("{host}/x").parse::<Reference>() {
        Ok(reference) if reference.registry().as_str() == host => Ok(host.to_owned()),
        _ => Err(CliError::Usage(format!("`{text}` is not a registry: write `host` or `host:port`"))),
    }
}

/// Tries what is kept already; whether that was all.
fn again(registry: &Registry, host: &str, place: &Place<'_>, login: &Login) -> CliResult<bool> {
    let user = match login {
        Login::Basic { user, .. } => Some(user.clone()),
        Login::IdentityToken(_) | Login::Bearer(_) => Logins::user(host),
    };
    let user = user.unwrap_or_default();
    let named = if user.is_empty() { String::new() } else { format!(" [Username: {user}]") };
    output::result(&format!("Authenticating with existing credentials...{named}\n"))?;
    match registry.check_login(host, login) {
        Ok(token) => {
            if let Some(IdentityToken(token)) = token {
                place.store(&user, &Login::IdentityToken(token))?;
            }
            output::result("Login Succeeded\n")?;
            Ok(true)
        }
        Err(error) if error.is_unauthorized() => {
            output::notice("Stored credentials invalid or expired");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// User and password from wherever they come.
fn ask(args: &LoginArgs) -> CliResult<(String, Secret)> {
    let is_complete = args.username.is_some() && (args.password.is_some() || args.password_stdin);
    if !is_complete && !prompt::is_possible() {
        return Err(CliError::with_hint(
            anyhow::anyhow!("cannot perform an interactive login from a non TTY device"),
            "give --username, and the password on standard input with --password-stdin",
        ));
    }
    let user = match &args.username {
        Some(user) => user.trim().to_owned(),
        None => prompt::line("Username: ")?,
    };
    if user.is_empty() {
        return Err(CliError::message("username is empty"));
    }
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => from_stdin()?,
        None => Secret::new(prompt::hidden("Password: ")?),
    };
    if password.expose().is_empty() {
        return Err(CliError::message("password is empty"));
    }
    Ok((user, password))
}

/// All of standard input but the end of its line.
fn from_stdin() -> CliResult<Secret> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LIMIT + 1).read_to_string(&mut text);
    read.map_err(|error| CliError::message(format!("the password can't be read from standard input: {error}")))?;
    if text.len() as u64 > LIMIT {
        return Err(CliError::message("the password on standard input is longer than 64 KiB"));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

/// What is to be kept: the login, or the token that the registry gives for it.
fn check(registry: &Registry, host: &str, login: Login) -> CliResult<Login> {
    match registry.check_login(host, &login) {
        Ok(Some(IdentityToken(token))) => Ok(Login::IdentityToken(token)),
        Ok(None) => Ok(login),
        Err(Error::Unauthorized { status, said, .. }) => {
            let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
            Err(CliError::message(format!(
                "login to {host} failed: the registry answered {status}{said}: the user name or the password is wrong"
            )))
        }
        Err(error) => Err(error.into()),
    }
}

fn succeeded(kept: &Kept) -> CliResult<()> {
    if let Kept::InPlainText(path) = kept {
        output::notice(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning: `credsStore` there,\nor `credentials-helper` in builder.toml\n",
            path.display()
        ));
    }
    output::result("Login Succeeded\n")
}
