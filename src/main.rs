//! The program: parse, run, exit.

use std::process::ExitCode;

use auris::cli::CliCommand;
use auris::{batch, commands, config, doctor, serve, telemetry};

fn main() -> ExitCode {
    let cli = config::command_line();
    if let Err(error) = telemetry::init(&cli.log_filter(), cli.log_format) {
        return commands::fail(&error);
    }
    let run = async {
        match cli.command {
            CliCommand::Serve(args) => serve::run(args).await.map(|()| ExitCode::SUCCESS),
            CliCommand::Transcribe(args) => batch::run(args).await,
            CliCommand::Devices(args) => commands::devices(&args).await,
            CliCommand::Doctor(args) => doctor::run(&args).await,
            CliCommand::Models(args) => commands::models(args).await,
            CliCommand::Jobs(args) => commands::jobs(args).await,
            CliCommand::Keys(args) => commands::keys(&args),
            CliCommand::Openapi => commands::openapi(),
            CliCommand::Healthcheck(args) => commands::healthcheck(&args).await,
            CliCommand::Completions { shell } => commands::completions(shell),
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run));
    result.unwrap_or_else(|error| commands::fail(&error))
}
