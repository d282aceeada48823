//! The options about who may use the server, and `auris keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Who may use the server
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// Keys of which requests must have one, as NAME:KEY or KEY; better in the variable, since
    /// other users of the machine see the command line [default: none is asked for]
    #[arg(
        long,
        env = "AURIS_API_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        value_delimiter = ','
    )]
    pub api_keys: Vec<String>,
    /// A TOML file of more keys, by their SHA-256 and with limits; `auris keys new` makes entries
    #[arg(long, env = "AURIS_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Origins whose pages may use the server from a browser, such as https://app.example.org, or
    /// `*` for all [default: none]
    #[arg(long, env = "AURIS_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
}

/// Make API keys
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// What to do with keys
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Print a new key, which is kept nowhere, and its entry for the file of keys
    New {
        /// What its holder is called
        name: String,
    },
}
