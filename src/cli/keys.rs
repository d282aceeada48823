//! The options about who may use the server, and `auris keys`.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
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
    /// Start without keys although others can reach the address; whoever reaches it may use the
    /// server, and sees every job
    #[arg(long, env = "AURIS_INSECURE_NO_KEYS", value_parser = BoolishValueParser::new())]
    pub insecure_no_keys: bool,
    /// Origins whose web pages may use the server, such as https://app.example.org, or `*` for all
    /// [default: none]
    #[arg(long, env = "AURIS_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Names by which requests may call the server, beside `localhost` and addresses [default: with
    /// keys any name; without keys none, or beyond loopback those of the network]
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
