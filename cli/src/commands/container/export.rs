use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use builder_executor::container::View;
use builder_image::export;
use clap::Args;

use crate::build::driver;
use crate::commands::Global;
use crate::containers;
use crate::error::{CliError, CliResult};
use crate::store;
use crate::whole_file;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write; standard output if it is not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Its id, its name, or the beginning of its id
    container: String,
}

pub(crate) fn run(global: &Global, args: &ExportArgs) -> CliResult<u8> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(CliError::Usage("refusing to write a tarball to a terminal: redirect it, or use -o FILE".into()));
    }
    let store = store::open(global)?;
    let _lease = store.lease()?;
    let container = containers::find(&store, &args.container)?;
    let driver = driver(global, &store)?;
    let view = View::read(&store, &driver, &container)?;
    let export = |out: &mut dyn Write| -> CliResult<()> {
        let written = export::tar(view.root(), None, out)
            .with_context(|| format!("the container {} can't be exported", container.name));
        containers::still_there(&store, &container)?;
        written?;
        Ok(())
    };
    if let Some(path) = &args.output {
        whole_file::write(path, export)?;
    } else {
        let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
        export(&mut out)?;
        out.flush().context("standard output can't be written")?;
    }
    Ok(0)
}
