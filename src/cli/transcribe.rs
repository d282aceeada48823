//! The options of `auris transcribe`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::EngineArgs;
use auris_core::language::Language;
use auris_core::recording::{ChannelChoice, Selection, TrackChoice};
use auris_core::transcript::Task;
use auris_format::{CueRuleError, CueRules, Format};

#[derive(Debug, Args)]
pub struct TranscribeArgs {
    /// Audio and video files, folders of them, or `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<PathBuf>,
    /// Where results are written, below the same folders as the inputs [default: a single result
    /// goes to standard output]
    #[arg(long, short, value_name = "FOLDER")]
    pub output_dir: Option<PathBuf>,
    /// The formats of the results, separated by commas
    #[arg(long, short, value_name = "FORMATS", value_delimiter = ',', default_value = "text", value_parser = format_parser())]
    pub format: Vec<Format>,
    /// Load and use only this model: a name or a file [default: `--models`, by language]
    #[arg(long, short, value_name = "NAME")]
    pub model: Option<String>,
    /// The spoken language, as a code or an English name [default: detected]
    #[arg(long, short)]
    pub language: Option<Language>,
    /// Translate into English
    #[arg(long)]
    pub translate: bool,
    /// The audio track of files that have several: its number from 1, or its language as the file
    /// declares it, such as `hin` [default: the file's default track, or else the first]
    #[arg(long, value_name = "TRACK")]
    pub track: Option<TrackChoice>,
    /// Which channels to transcribe: `mix` for all of them together, `left`, `right`, a number from 1,
    /// or `split` for each on its own
    #[arg(long, value_name = "CHANNEL", default_value_t = ChannelChoice::Mix)]
    pub channel: ChannelChoice,
    /// Words and names to expect, in the wanted style
    #[arg(long)]
    pub prompt: Option<String>,
    /// From 0 to 1; 0 is the most probable text
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// The most characters in a line of subtitles, from 10 to 200; a wide character counts as two
    #[arg(long, value_name = "N", default_value_t = CueRules::default().line_chars, help_heading = "Subtitles")]
    pub max_line_length: usize,
    /// The most lines of a subtitle, from 1 to 10
    #[arg(long, value_name = "N", default_value_t = CueRules::default().lines, help_heading = "Subtitles")]
    pub max_lines: usize,
    /// Extend subtitles into pauses until they can be read at this speed, from 5 to 100 characters
    /// per second
    #[arg(long, value_name = "N", help_heading = "Subtitles")]
    pub max_chars_per_second: Option<f32>,
    /// Transcribe finished files again
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl TranscribeArgs {
    pub fn task(&self) -> Task {
        if self.translate { Task::Translate } else { Task::Transcribe }
    }

    pub fn selection(&self) -> Selection {
        Selection { track: self.track.clone().unwrap_or_default(), channel: self.channel }
    }

    pub fn cue_rules(&self) -> Result<CueRules, String> {
        let (line_chars, lines) = (Some(self.max_line_length), Some(self.max_lines));
        CueRules::new(line_chars, lines, self.max_chars_per_second).map_err(|error| {
            let option = match error {
                CueRuleError::LineChars(_) => "--max-line-length",
                CueRuleError::Lines(_) => "--max-lines",
                CueRuleError::CharsPerSecond(_) => "--max-chars-per-second",
            };
            format!("{option}: {error}")
        })
    }
}

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.iter().map(|format| format.name()))
        .try_map(|name| name.parse::<Format>())
}
