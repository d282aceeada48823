//! The models that are known by name: whisper.cpp's published ones, of which one is bundled.
//!
//! Data alone; what is installed is the business of `store`.

use super::header::{Dimensions, Languages};

/// Where the published files are, unless a mirror is configured.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedModel {
    /// The name that people type, such as `medium.en-q5_0`.
    pub name: &'static str,
    /// The file's name, upstream and in a models folder.
    pub file_name: &'static str,
    /// The file's exact length, which is also about what the weights take in memory.
    pub size_bytes: u64,
    /// The file's SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
    pub languages: Languages,
    /// What decides the memory that its use takes.
    pub dimensions: Dimensions,
    /// Comes with the program, and is not downloaded.
    pub bundled: bool,
}

impl PublishedModel {
    /// The file's address below `endpoint`, which is [`DEFAULT_ENDPOINT`] or a mirror of it.
    pub fn url(&self, endpoint: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        let (repository, revision) = SOURCE;
        format!("{endpoint}/{repository}/resolve/{revision}/{}", self.file_name)
    }
}

/// The name of the model that comes with the program: OpenAI's `base`, multilingual. Its tensors
/// are those of the published file of that name; they stand in another order, so that its checksum
/// is another one (models/README.md).
pub const BUNDLED: &str = "base-q8_0";

pub fn find(name: &str) -> Option<&'static PublishedModel> {
    REGISTRY.iter().find(|entry| entry.name == name)
}

pub(super) fn find_file(file_name: &str) -> Option<&'static PublishedModel> {
    REGISTRY.iter().find(|entry| entry.file_name == file_name)
}

/// Repository and revision of the published models. The revision is pinned, so that a change
/// upstream cannot make the checksums below wrong.
const SOURCE: (&str, &str) = ("ggerganov/whisper.cpp", "5359861c739e955e79d9a303bcbc70fb988958b1");

const V1: Languages = Languages::Multilingual { count: 99 };
const V3: Languages = Languages::Multilingual { count: 100 };

const TINY: Dimensions = whisper(384, 4);
const BASE: Dimensions = whisper(512, 6);
const SMALL: Dimensions = whisper(768, 12);
const MEDIUM: Dimensions = whisper(1_024, 24);
const LARGE: Dimensions = whisper(1_280, 32);
const TURBO: Dimensions = whisper(1_280, 4);

const fn whisper(state: u32, text_layers: u32) -> Dimensions {
    Dimensions { state, text_layers, audio_context: 1_500, text_context: 448 }
}

/// Every model that is known by name, from small to large.
///
/// Lengths and checksums are those of the repository's Git LFS objects at the pinned revision, but
/// for the bundled one's.
/// (The SHA-1 values in whisper.cpp's models/README.md are of the same files.)
#[rustfmt::skip] // a model a line
pub const REGISTRY: &[PublishedModel] = &[
    PublishedModel { name: "tiny", file_name: "ggml-tiny.bin", size_bytes: 77_691_713, sha256: "be07e048e1e599ad46341c8d2a135645097a538221678b7acdd1b1919c6e1b21", languages: V1, dimensions: TINY, bundled: false },
    PublishedModel { name: "tiny-q5_1", file_name: "ggml-tiny-q5_1.bin", size_bytes: 32_152_673, sha256: "818710568da3ca15689e31a743197b520007872ff9576237bda97bd1b469c3d7", languages: V1, dimensions: TINY, bundled: false },
    PublishedModel { name: "tiny-q8_0", file_name: "ggml-tiny-q8_0.bin", size_bytes: 43_537_433, sha256: "c2085835d3f50733e2ff6e4b41ae8a2b8d8110461e18821b09a15c40c42d1cca", languages: V1, dimensions: TINY, bundled: false },
    PublishedModel { name: "tiny.en", file_name: "ggml-tiny.en.bin", size_bytes: 77_704_715, sha256: "921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f", languages: Languages::English, dimensions: TINY, bundled: false },
    PublishedModel { name: "tiny.en-q5_1", file_name: "ggml-tiny.en-q5_1.bin", size_bytes: 32_166_155, sha256: "c77c5766f1cef09b6b7d47f21b546cbddd4157886b3b5d6d4f709e91e66c7c2b", languages: Languages::English, dimensions: TINY, bundled: false },
    PublishedModel { name: "tiny.en-q8_0", file_name: "ggml-tiny.en-q8_0.bin", size_bytes: 43_550_795, sha256: "5bc2b3860aa151a4c6e7bb095e1fcce7cf12c7b020ca08dcec0c6d018bb7dd94", languages: Languages::English, dimensions: TINY, bundled: false },
    PublishedModel { name: "base", file_name: "ggml-base.bin", size_bytes: 147_951_465, sha256: "60ed5bc3dd14eea856493d334349b405782ddcaf0028d4b5df4088345fba2efe", languages: V1, dimensions: BASE, bundled: false },
    PublishedModel { name: "base-q5_1", file_name: "ggml-base-q5_1.bin", size_bytes: 59_707_625, sha256: "422f1ae452ade6f30a004d7e5c6a43195e4433bc370bf23fac9cc591f01a8898", languages: V1, dimensions: BASE, bundled: false },
    PublishedModel { name: BUNDLED, file_name: "ggml-base-q8_0.bin", size_bytes: 81_768_585, sha256: "364167dabed3601a49e3f26114c3b175b4d0742dc36f60a7a2b7241cc4c02947", languages: V1, dimensions: BASE, bundled: true },
    PublishedModel { name: "base.en", file_name: "ggml-base.en.bin", size_bytes: 147_964_211, sha256: "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002", languages: Languages::English, dimensions: BASE, bundled: false },
    PublishedModel { name: "base.en-q5_1", file_name: "ggml-base.en-q5_1.bin", size_bytes: 59_721_011, sha256: "4baf70dd0d7c4247ba2b81fafd9c01005ac77c2f9ef064e00dcf195d0e2fdd2f", languages: Languages::English, dimensions: BASE, bundled: false },
    PublishedModel { name: "base.en-q8_0", file_name: "ggml-base.en-q8_0.bin", size_bytes: 81_781_811, sha256: "a4d4a0768075e13cfd7e19df3ae2dbc4a68d37d36a7dad45e8410c9a34f8c87e", languages: Languages::English, dimensions: BASE, bundled: false },
    PublishedModel { name: "small", file_name: "ggml-small.bin", size_bytes: 487_601_967, sha256: "1be3a9b2063867b937e64e2ec7483364a79917e157fa98c5d94b5c1fffea987b", languages: V1, dimensions: SMALL, bundled: false },
    PublishedModel { name: "small-q5_1", file_name: "ggml-small-q5_1.bin", size_bytes: 190_085_487, sha256: "ae85e4a935d7a567bd102fe55afc16bb595bdb618e11b2fc7591bc08120411bb", languages: V1, dimensions: SMALL, bundled: false },
    PublishedModel { name: "small-q8_0", file_name: "ggml-small-q8_0.bin", size_bytes: 264_464_607, sha256: "49c8fb02b65e6049d5fa6c04f81f53b867b5ec9540406812c643f177317f779f", languages: V1, dimensions: SMALL, bundled: false },
    PublishedModel { name: "small.en", file_name: "ggml-small.en.bin", size_bytes: 487_614_201, sha256: "c6138d6d58ecc8322097e0f987c32f1be8bb0a18532a3f88f734d1bbf9c41e5d", languages: Languages::English, dimensions: SMALL, bundled: false },
    PublishedModel { name: "small.en-q5_1", file_name: "ggml-small.en-q5_1.bin", size_bytes: 190_098_681, sha256: "bfdff4894dcb76bbf647d56263ea2a96645423f1669176f4844a1bf8e478ad30", languages: Languages::English, dimensions: SMALL, bundled: false },
    PublishedModel { name: "small.en-q8_0", file_name: "ggml-small.en-q8_0.bin", size_bytes: 264_477_561, sha256: "67a179f608ea6114bd3fdb9060e762b588a3fb3bd00c4387971be4d177958067", languages: Languages::English, dimensions: SMALL, bundled: false },
    PublishedModel { name: "medium", file_name: "ggml-medium.bin", size_bytes: 1_533_763_059, sha256: "6c14d5adee5f86394037b4e4e8b59f1673b6cee10e3cf0b11bbdbee79c156208", languages: V1, dimensions: MEDIUM, bundled: false },
    PublishedModel { name: "medium-q5_0", file_name: "ggml-medium-q5_0.bin", size_bytes: 539_212_467, sha256: "19fea4b380c3a618ec4723c3eef2eb785ffba0d0538cf43f8f235e7b3b34220f", languages: V1, dimensions: MEDIUM, bundled: false },
    PublishedModel { name: "medium-q8_0", file_name: "ggml-medium-q8_0.bin", size_bytes: 823_369_779, sha256: "42a1ffcbe4167d224232443396968db4d02d4e8e87e213d3ee2e03095dea6502", languages: V1, dimensions: MEDIUM, bundled: false },
    PublishedModel { name: "medium.en", file_name: "ggml-medium.en.bin", size_bytes: 1_533_774_781, sha256: "cc37e93478338ec7700281a7ac30a10128929eb8f427dda2e865faa8f6da4356", languages: Languages::English, dimensions: MEDIUM, bundled: false },
    PublishedModel { name: "medium.en-q5_0", file_name: "ggml-medium.en-q5_0.bin", size_bytes: 539_225_533, sha256: "76733e26ad8fe1c7a5bf7531a9d41917b2adc0f20f2e4f5531688a8c6cd88eb0", languages: Languages::English, dimensions: MEDIUM, bundled: false },
    PublishedModel { name: "medium.en-q8_0", file_name: "ggml-medium.en-q8_0.bin", size_bytes: 823_382_461, sha256: "43fa2cd084de5a04399a896a9a7a786064e221365c01700cea4666005218f11c", languages: Languages::English, dimensions: MEDIUM, bundled: false },
    PublishedModel { name: "large-v1", file_name: "ggml-large-v1.bin", size_bytes: 3_094_623_691, sha256: "7d99f41a10525d0206bddadd86760181fa920438b6b33237e3118ff6c83bb53d", languages: V1, dimensions: LARGE, bundled: false },
    PublishedModel { name: "large-v2", file_name: "ggml-large-v2.bin", size_bytes: 3_094_623_691, sha256: "9a423fe4d40c82774b6af34115b8b935f34152246eb19e80e376071d3f999487", languages: V1, dimensions: LARGE, bundled: false },
    PublishedModel { name: "large-v2-q5_0", file_name: "ggml-large-v2-q5_0.bin", size_bytes: 1_080_732_091, sha256: "3a214837221e4530dbc1fe8d734f302af393eb30bd0ed046042ebf4baf70f6f2", languages: V1, dimensions: LARGE, bundled: false },
    PublishedModel { name: "large-v2-q8_0", file_name: "ggml-large-v2-q8_0.bin", size_bytes: 1_656_129_691, sha256: "fef54e6d898246a65c8285bfa83bd1807e27fadf54d5d4e81754c47634737e8c", languages: V1, dimensions: LARGE, bundled: false },
    PublishedModel { name: "large-v3", file_name: "ggml-large-v3.bin", size_bytes: 3_095_033_483, sha256: "64d182b440b98d5203c4f9bd541544d84c605196c4f7b845dfa11fb23594d1e2", languages: V3, dimensions: LARGE, bundled: false },
    PublishedModel { name: "large-v3-q5_0", file_name: "ggml-large-v3-q5_0.bin", size_bytes: 1_081_140_203, sha256: "d75795ecff3f83b5faa89d1900604ad8c780abd5739fae406de19f23ecd98ad1", languages: V3, dimensions: LARGE, bundled: false },
    PublishedModel { name: "large-v3-turbo", file_name: "ggml-large-v3-turbo.bin", size_bytes: 1_624_555_275, sha256: "1fc70f774d38eb169993ac391eea357ef47c88757ef72ee5943879b7e8e2bc69", languages: V3, dimensions: TURBO, bundled: false },
    PublishedModel { name: "large-v3-turbo-q5_0", file_name: "ggml-large-v3-turbo-q5_0.bin", size_bytes: 574_041_195, sha256: "394221709cd5ad1f40c46e6031ca61bce88931e6e088c188294c6d5a55ffa7e2", languages: V3, dimensions: TURBO, bundled: false },
    PublishedModel { name: "large-v3-turbo-q8_0", file_name: "ggml-large-v3-turbo-q8_0.bin", size_bytes: 874_188_075, sha256: "317eb69c11673c9de1e1f0d459b253999804ec71ac4c23c17ecf5fbe24e259a1", languages: V3, dimensions: TURBO, bundled: false },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_files_and_checksums_are_each_unique_and_well_formed() {
        for entry in REGISTRY {
            assert_eq!(entry.sha256.len(), 64, "{}", entry.name);
            assert!(entry.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            assert_eq!(entry.name.contains(".en"), entry.languages == Languages::English);
            assert_eq!(entry.file_name, format!("ggml-{}.bin", entry.name));
            assert_eq!(entry.bundled, entry.name == BUNDLED);
        }
        for column in [
            |e: &PublishedModel| e.name,
            |e: &PublishedModel| e.file_name,
            |e: &PublishedModel| e.sha256,
        ] {
            assert_eq!(REGISTRY.iter().map(column).collect::<HashSet<_>>().len(), REGISTRY.len());
        }
    }

    #[test]
    fn a_quantised_file_is_smaller_than_the_whole_one() {
        for entry in REGISTRY {
            if let Some(whole) = entry.name.split_once("-q").and_then(|(whole, _)| find(whole)) {
                assert!(entry.size_bytes < whole.size_bytes, "{}", entry.name);
                assert_eq!(entry.languages, whole.languages, "{}", entry.name);
                assert_eq!(entry.dimensions, whole.dimensions, "{}", entry.name);
            }
        }
    }

    #[test]
    fn the_address_is_below_the_endpoint() {
        let tiny = find("tiny-q8_0").unwrap();
        insta::assert_snapshot!(tiny.url("https://mirror.example/"), @"https://mirror.example/ggerganov/whisper.cpp/resolve/5359861c739e955e79d9a303bcbc70fb988958b1/ggml-tiny-q8_0.bin");
    }
}
