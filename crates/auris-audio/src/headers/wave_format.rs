//! The format of the samples of a WAV file, with what the reader wants to know and no more.
//!
//! Where its fields contradict each other, those count by which other programs read the file.

/// What the samples are.
#[derive(Debug, PartialEq)]
pub(super) enum WaveFormat {
    /// A chunk `fmt ` that describes them.
    Wave(Vec<u8>),
    /// Frames of MPEG audio, which need no header.
    Mpeg,
}

// The registered numbers of formats (mmreg.h).
const PCM: u16 = 1;
const ADPCM_MS: u16 = 2;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
const ADPCM_IMA: u16 = 0x11;
const MPEG: u16 = 0x50;
const MP3: u16 = 0x55;
const EXTENSIBLE: u16 = 0xfffe;

/// Reads a chunk `fmt ` and writes it anew; what is not known stays as it is.
pub(super) fn repaired(chunk: &[u8]) -> WaveFormat {
    let Some(fields) = FormatFields::read(chunk) else { return WaveFormat::Wave(chunk.to_vec()) };
    match fields.tag {
        MPEG | MP3 => WaveFormat::Mpeg,
        PCM => match fields.sample_bytes() {
            0 => WaveFormat::Wave(chunk.to_vec()),
            bytes => WaveFormat::Wave(fields.written(PCM, bytes * 8, &[])),
        },
        FLOAT => {
            let is_double = fields.bits == 64 || fields.bits != 32 && fields.by_block() == 8;
            WaveFormat::Wave(fields.written(FLOAT, if is_double { 64 } else { 32 }, &[]))
        }
        ALAW | MULAW => WaveFormat::Wave(fields.written(fields.tag, 8, &[0; 2])),
        ADPCM_MS => WaveFormat::Wave(fields.adpcm(32)),
        ADPCM_IMA => WaveFormat::Wave(fields.adpcm(2)),
        _ => WaveFormat::Wave(chunk.to_vec()),
    }
}

struct FormatFields {
    tag: u16,
    channels: u16,
    rate_hz: u32,
    byte_rate: u32,
    block_align: u16,
    bits: u16,
}

impl FormatFields {
    fn read(chunk: &[u8]) -> Option<Self> {
        let short = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_le_bytes(chunk.get(at..at + 4)?.try_into().ok()?));
        let tag = match short(0)? {
            // Its GUID begins with the number.
            EXTENSIBLE => short(24).filter(|tag| *tag != 0).unwrap_or(PCM),
            tag => tag,
        };
        Some(Self {
            tag,
            channels: short(2).filter(|channels| *channels > 0)?,
            rate_hz: long(4)?,
            byte_rate: long(8)?,
            block_align: short(12)?,
            bits: short(14).unwrap_or(0),
        })
    }

    /// The bytes of a sample by the block of one of each channel; 0 if it is none.
    fn by_block(&self) -> u16 {
        let is_whole = self.block_align.is_multiple_of(self.channels);
        if is_whole { self.block_align / self.channels } else { 0 }
    }

    /// The bytes of a PCM sample; 0 if there is no such format.
    fn sample_bytes(&self) -> u16 {
        let (by_bits, by_block) = (self.bits.div_ceil(8), self.by_block());
        let bytes_per_second = u64::from(self.rate_hz) * u64::from(self.block_align);
        let agrees = u64::from(self.byte_rate) == bytes_per_second;
        let bytes = match by_bits {
            0 => by_block,
            // Usual for 20 and 24 bits.
            3 if by_block == 4 && agrees => 4,
            _ => by_bits,
        };
        if (1..=4).contains(&bytes) { bytes } else { 0 }
    }

    /// The chunk, with blocks of one sample of each channel.
    fn written(&self, tag: u16, bits: u16, extension: &[u8]) -> Vec<u8> {
        let block = self.channels.saturating_mul(bits / 8);
        self.with_block(tag, block, bits, extension)
    }

    /// The chunk with an extension of so many bytes, which the reader skips.
    fn adpcm(&self, extension: u16) -> Vec<u8> {
        let bytes = usize::from(extension) + 2;
        let mut extension = extension.to_le_bytes().to_vec();
        extension.resize(bytes, 0);
        self.with_block(self.tag, self.block_align, 4, &extension)
    }

    fn with_block(&self, tag: u16, block: u16, bits: u16, extension: &[u8]) -> Vec<u8> {
        let mut chunk = tag.to_le_bytes().to_vec();
        chunk.extend(self.channels.to_le_bytes());
        chunk.extend(self.rate_hz.to_le_bytes());
        chunk.extend(self.rate_hz.saturating_mul(block.into()).to_le_bytes());
        chunk.extend(block.to_le_bytes());
        chunk.extend(bits.to_le_bytes());
        chunk.extend(extension);
        chunk
    }
}
