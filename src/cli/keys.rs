//! The options about who may use the server, and `auris keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// Accepted API keys, as NAME:KEY or KEY. Prefer the variable: other users of the machine can
    /// see the command line [default: no key required]
    #[arg(
        long,
        env = "AURIS_API_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        value_delimiter = ','
    )]
    pub api_keys: Vec<String>,
    /// A TOML file of more keys, by their SHA-256 and with limits; `auris keys new` prints entries
    #[arg(long, env = "AURIS_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,
    /// Origins whose web pages may use the server, such as https://app.example.org, or `*` for all
    /// [default: none]
    #[arg(long, env = "AURIS_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Names by which requests may call the server, beside local names and addresses [default: with
    /// keys any name, without keys none]
    #[arg(long, env = "AURIS_ALLOWED_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
}

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Print a new key, which is not stored, and its entry for the file of keys
    New {
        /// The name of its holder
        name: String,
    },
}
