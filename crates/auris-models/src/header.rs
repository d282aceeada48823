//! The first bytes of a whisper.cpp model file, read before any engine sees it.
//!
//! whisper.cpp 1.8.3 trusts what it loads; a file that is plainly something else is refused here
//! with a reason. This proves nothing about the weights: the checksum at download does that.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::ModelError;
use auris_core::language::Language;

/// Which languages a model was trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Languages {
    /// English alone; cannot detect or translate.
    English,
    /// The first `count` languages of Whisper's vocabulary: 99, or 100 with Cantonese since v3.
    Multilingual {
        /// How many.
        count: usize,
    },
}

impl Languages {
    /// Whether the model knows `language`.
    pub fn covers(self, language: Language) -> bool {
        match self {
            Self::English => language == Language::ENGLISH,
            Self::Multilingual { count } => Language::all().take(count).any(|own| own == language),
        }
    }

    /// Whether the model can detect the language of speech.
    pub fn is_multilingual(self) -> bool {
        self != Self::English
    }
}

impl fmt::Display for Languages {
    /// For a list: `English` or `99 languages`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::English => f.write_str("English"),
            Self::Multilingual { count } => write!(f, "{count} languages"),
        }
    }
}

/// The sizes of a model's tensors that decide how much memory its use takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// Width of encoder and decoder (`n_audio_state`, which equals `n_text_state`).
    pub state: u32,
    /// Layers of the decoder (`n_text_layer`).
    pub text_layers: u32,
    /// Positions of the encoder (`n_audio_ctx`), 1500 for 30 s.
    pub audio_context: u32,
    /// Positions of the decoder (`n_text_ctx`).
    pub text_context: u32,
}

impl Dimensions {
    /// Bytes of attention caches for one whisper state.
    ///
    /// Self and cross attention keep keys and values as f16 for each decoder layer, padded to 256
    /// positions, and there is one layer of padding for flash attention. The compute buffers come
    /// on top.
    fn state_bytes(self) -> u64 {
        let keys_and_values = |positions: u32| {
            2 * 2 * u64::from(self.state) * u64::from(positions).next_multiple_of(256)
        };
        let layers = u64::from(self.text_layers);
        layers * keys_and_values(self.text_context)
            + (layers + 1) * keys_and_values(self.audio_context)
    }

    /// Bytes that a slot on a GPU takes besides the weights: one whisper state.
    pub fn slot_bytes(self) -> u64 {
        self.state_bytes() + self.compute_bytes() + self.attention_bytes()
    }

    /// Bytes of the cross-attention that is kept for the times of words: f32 for each head of the
    /// layers that have alignment heads, two in five at most but in the smallest models.
    fn attention_bytes(self) -> u64 {
        const HEAD_SIZE: u32 = 64;
        let layers = (self.text_layers * 2).div_ceil(5);
        let heads = self.state.div_ceil(HEAD_SIZE);
        let row = 4 * u64::from(self.audio_context).next_multiple_of(256);
        u64::from(layers) * u64::from(heads) * row * u64::from(self.text_context / 2)
    }

    /// Bytes of the engine's compute buffers for one whisper state on a GPU: a line through what
    /// whisper.cpp 1.8.3 logs for tiny, small, medium and large with flash attention (table in
    /// docs/gpu.md), and 64 MB for cuBLAS' workspace, which it does not log.
    fn compute_bytes(self) -> u64 {
        64_000_000 + 102_300_000 + u64::from(self.state) * 74_800
    }
}

/// The header of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) languages: Languages,
    pub(super) dimensions: Dimensions,
}

/// Reads and checks the header of `path`.
///
/// # Errors
/// [`ModelError::Unreadable`] and [`ModelError::NotAModel`].
pub(super) fn read(path: &Path) -> Result<Header, ModelError> {
    let unreadable = |source| ModelError::Unreadable { path: path.to_owned(), source };
    let mut start = Vec::with_capacity(HEADER_BYTES);
    File::open(path)
        .and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut start))
        .map_err(unreadable)?;
    parse(&start).map_err(|found| ModelError::NotAModel { path: path.to_owned(), found })
}

/// Magic number and eleven hyperparameters, each a little-endian 32-bit integer
/// (whisper.cpp 1.8.3, `whisper_model_load`).
const HEADER_BYTES: usize = 12 * 4;
pub(crate) const MAGIC: [u8; 4] = *b"lmgg";

/// The size of the English vocabulary; the multilingual ones add a token for each language.
const ENGLISH_VOCABULARY: u32 = 51_864;

/// The header in `start`, or what the file is instead.
fn parse(start: &[u8]) -> Result<Header, String> {
    if !start.starts_with(&MAGIC) {
        return Err(looks_like(start).to_owned());
    }
    let (numbers, _) = start.as_chunks::<4>();
    let numbers: Vec<u32> =
        numbers.iter().take(HEADER_BYTES / 4).copied().map(u32::from_le_bytes).collect();
    let &[
        _,
        vocabulary,
        audio_context,
        audio_state,
        audio_head,
        audio_layers,
        text_context,
        text_state,
        text_head,
        text_layers,
        mels,
        format,
    ] = numbers.as_slice()
    else {
        return Err("it ends within its header: get it again".to_owned());
    };
    // Bounds well outside every published model, well inside what overflows an allocation.
    let plausible = [
        ("vocabulary", vocabulary, 1_000..=1_000_000),
        ("audio context", audio_context, 1..=100_000),
        ("audio width", audio_state, 16..=16_384),
        ("audio heads", audio_head, 1..=1_024),
        ("audio layers", audio_layers, 1..=256),
        ("text context", text_context, 1..=100_000),
        ("text width", text_state, audio_state..=audio_state),
        ("text heads", text_head, 1..=1_024),
        ("text layers", text_layers, 1..=256),
        ("mel bands", mels, 80..=128),
        // thousands carry the version of the quantisation
        ("tensor format", format % 1_000, 0..=32),
    ];
    if let Some((what, value, _)) =
        plausible.iter().find(|(_, value, range)| !range.contains(value))
    {
        return Err(format!("its header has an impossible {what} of {value}: get it again"));
    }
    let languages = match vocabulary.checked_sub(ENGLISH_VOCABULARY + 1) {
        None => Languages::English,
        Some(more) => {
            Languages::Multilingual { count: (99 + more as usize).min(Language::all().count()) }
        }
    };
    let dimensions = Dimensions { state: text_state, text_layers, audio_context, text_context };
    Ok(Header { languages, dimensions })
}

fn looks_like(start: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(start).to_lowercase();
    if start.is_empty() {
        "it is empty: get it again"
    } else if text.starts_with("version https://git-lfs") {
        "it is a Git LFS pointer instead of the file: run `git lfs pull` where it came from"
    } else if text.trim_start().starts_with("<!doctype") || text.trim_start().starts_with("<html") {
        "it is a web page, perhaps a log-in or error page: get the file itself"
    } else if start.starts_with(b"GGUF") {
        "it is a GGUF file: whisper.cpp reads the older ggml .bin files"
    } else if start.starts_with(b"PK\x03\x04") {
        "it is a zip archive or a PyTorch checkpoint: convert it with whisper.cpp's scripts"
    } else {
        "it does not begin with the ggml magic number"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::model_bytes;

    fn refusal(start: &[u8]) -> String {
        parse(start).expect_err("refused")
    }

    #[test]
    fn the_vocabulary_reports_the_languages() {
        let languages = |vocabulary| parse(&model_bytes(vocabulary, 64)).map(|h| h.languages);
        assert_eq!(languages(51_864), Ok(Languages::English));
        assert_eq!(languages(51_865), Ok(Languages::Multilingual { count: 99 }));
        assert_eq!(languages(51_866), Ok(Languages::Multilingual { count: 100 }));
        assert_eq!(languages(60_000), Ok(Languages::Multilingual { count: 100 }));
    }

    #[test]
    fn languages_are_listed_in_short() {
        insta::assert_snapshot!(Languages::English, @"English");
        insta::assert_snapshot!(Languages::Multilingual { count: 99 }, @"99 languages");
    }

    #[test]
    fn cantonese_is_known_since_v3_only() {
        let cantonese = Language::parse("yue").unwrap();
        assert!(!Languages::Multilingual { count: 99 }.covers(cantonese));
        assert!(Languages::Multilingual { count: 100 }.covers(cantonese));
    }

    #[test]
    fn other_files_are_named() {
        insta::assert_snapshot!(refusal(b"version https://git-lfs.github.com/spec/v1\noid"), @"it is a Git LFS pointer instead of the file: run `git lfs pull` where it came from");
        insta::assert_snapshot!(refusal(b"\n<!DOCTYPE html><html>"), @"it is a web page, perhaps a log-in or error page: get the file itself");
        insta::assert_snapshot!(refusal(b"GGUF\x03\0\0\0"), @"it is a GGUF file: whisper.cpp reads the older ggml .bin files");
        insta::assert_snapshot!(refusal(b"PK\x03\x04 archive"), @"it is a zip archive or a PyTorch checkpoint: convert it with whisper.cpp's scripts");
        insta::assert_snapshot!(refusal(b""), @"it is empty: get it again");
        insta::assert_snapshot!(refusal(b"RIFF"), @"it does not begin with the ggml magic number");
    }

    #[test]
    fn a_header_cut_short_or_out_of_range_is_refused() {
        let whole = model_bytes(51_865, 48);
        insta::assert_snapshot!(refusal(&whole[..40]), @"it ends within its header: get it again");
        let with = |index: usize, value: u32| {
            let mut bytes = whole.clone();
            bytes[index * 4..index * 4 + 4].copy_from_slice(&value.to_le_bytes());
            refusal(&bytes)
        };
        insta::assert_snapshot!(with(1, u32::MAX), @"its header has an impossible vocabulary of 4294967295: get it again");
        insta::assert_snapshot!(with(7, 512), @"its header has an impossible text width of 512: get it again");
        insta::assert_snapshot!(with(11, 999), @"its header has an impossible tensor format of 999: get it again");
    }

    #[test]
    fn caches_grow_with_the_decoders() {
        // whisper.cpp's log for tiny: kv self 3.15 MB, kv cross 9.44 MB, kv pad 2.36 MB
        let tiny =
            Dimensions { state: 384, text_layers: 4, audio_context: 1_500, text_context: 448 };
        assert_eq!(tiny.state_bytes(), 3_145_728 + 9_437_184 + 2_359_296);
    }
}
