//! A whisper.cpp model file with weights of fewer bits, made by ggml's quantiser.
//!
//! Reads tensor by tensor, so that memory is that of the largest one. What is quantised and what
//! is not is what whisper.cpp's loader expects of such a file: matrices, but neither biases nor
//! positional embeddings nor the convolutions.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use whisper_rs::whisper_rs_sys as sys;

/// How the weights are kept, by ggml's names. The digit is the number of bits; `_1` has an offset
/// for each block as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As good as 16 bits.
    Q8_0,
    /// Five bits with an offset.
    Q5_1,
    /// Five bits.
    Q5_0,
    /// Four bits with an offset.
    Q4_1,
    /// Four bits.
    Q4_0,
}

/// The text names no precision.
#[derive(Debug, thiserror::Error)]
#[error("unknown precision {0:?}: give one of q8_0, q5_1, q5_0, q4_1, q4_0")]
pub struct UnknownPrecision(String);

const PRECISIONS: [(Precision, &str); 5] = [
    (Precision::Q8_0, "q8_0"),
    (Precision::Q5_1, "q5_1"),
    (Precision::Q5_0, "q5_0"),
    (Precision::Q4_1, "q4_1"),
    (Precision::Q4_0, "q4_0"),
];

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = PRECISIONS.iter().find(|(_, name)| *name == text);
        found.map(|(precision, _)| *precision).ok_or_else(|| UnknownPrecision(text.to_owned()))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PRECISIONS.iter().find(|(precision, _)| precision == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A model file cannot be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantiseError {
    /// The file cannot be read, or the result not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is something else, or damaged.
    #[error("this is no whisper.cpp model file with a tensor list: {0}")]
    NotAModel(String),
    /// Its weights have few bits already.
    #[error("its weights are quantised already; give a model of 16 or 32 bits")]
    AlreadyQuantised,
}

/// The first four bytes of a model file.
const MAGIC: i32 = 0x6767_6d6c;

/// Place of the weights' type among the first numbers.
const FILE_TYPE: usize = 11;

/// No part of a real file is larger; what claims to be is damage.
const MOST_VALUES: usize = 1 << 30;
const MOST_BYTES_OF_A_NAME: usize = 1 << 10;

/// The matrices that stay as they are.
const KEPT: [&str; 4] = [
    "encoder.conv1.bias",
    "encoder.conv2.bias",
    "encoder.positional_embedding",
    "decoder.positional_embedding",
];

/// ggml's numbers for a precision: of a tensor's type, and of the file's.
fn numbers(precision: Precision) -> (sys::ggml_type, i32) {
    match precision {
        Precision::Q8_0 => (sys::ggml_type_GGML_TYPE_Q8_0, 7),
        Precision::Q5_1 => (sys::ggml_type_GGML_TYPE_Q5_1, 9),
        Precision::Q5_0 => (sys::ggml_type_GGML_TYPE_Q5_0, 8),
        Precision::Q4_1 => (sys::ggml_type_GGML_TYPE_Q4_1, 3),
        Precision::Q4_0 => (sys::ggml_type_GGML_TYPE_Q4_0, 2),
    }
}

/// Reads a model of 16 or 32 bits from `input` and writes it to `output` with `precision`.
///
/// # Errors
/// [`QuantiseError`]; what was written is of no use then.
pub fn quantise(
    mut input: impl Read,
    mut output: impl Write,
    precision: Precision,
) -> Result<(), QuantiseError> {
    let (tensor_type, file_type) = numbers(precision);
    let mut header = [0; FILE_TYPE + 1];
    for number in &mut header {
        *number = integer(&mut input)?;
    }
    if header[0] != MAGIC {
        return Err(QuantiseError::NotAModel("its first bytes are not ggml's".to_owned()));
    }
    if !matches!(header[FILE_TYPE], 0 | 1) {
        return Err(QuantiseError::AlreadyQuantised);
    }
    let version = (sys::GGML_QNT_VERSION * sys::GGML_QNT_VERSION_FACTOR) as i32;
    header[FILE_TYPE] = version + file_type;
    header.iter().try_for_each(|number| output.write_all(&number.to_le_bytes()))?;
    copy_filters_and_vocabulary(&mut input, &mut output)?;
    while let Some(tensor) = Tensor::read(&mut input)? {
        tensor.write(&mut output, tensor_type)?;
    }
    Ok(output.flush()?)
}

fn copy_filters_and_vocabulary(
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), QuantiseError> {
    let (bands, bins) = (integer(input)?, integer(input)?);
    [bands, bins].iter().try_for_each(|number| output.write_all(&number.to_le_bytes()))?;
    output.write_all(&bytes(input, 4 * product(&[bands, bins])?)?)?;
    let words = integer(input)?;
    output.write_all(&words.to_le_bytes())?;
    for _ in 0..product(&[words])? {
        let length = integer(input)?;
        output.write_all(&length.to_le_bytes())?;
        output.write_all(&bytes(input, product(&[length])?)?)?;
    }
    Ok(())
}

/// One matrix, vector or convolution.
struct Tensor {
    /// The fastest one first.
    dimensions: Vec<i32>,
    name: Vec<u8>,
    tensor_type: sys::ggml_type,
    data: Vec<u8>,
}

impl Tensor {
    /// The next tensor; none at the end of the file.
    fn read(input: &mut impl Read) -> Result<Option<Self>, QuantiseError> {
        let mut first = Vec::new();
        input.take(4).read_to_end(&mut first)?;
        let Ok(first) = <[u8; 4]>::try_from(first.as_slice()) else {
            return if first.is_empty() { Ok(None) } else { Err(cut_short(END.into())) };
        };
        let (rank, name, tensor_type) =
            (i32::from_le_bytes(first), integer(input)?, integer(input)?);
        if !(1..=4).contains(&rank) {
            return Err(QuantiseError::NotAModel(format!("a tensor of {rank} dimensions")));
        }
        let dimensions: Vec<i32> =
            (0..rank).map(|_| integer(input)).collect::<Result<_, QuantiseError>>()?;
        let name_bytes = product(&[name])?;
        if name_bytes > MOST_BYTES_OF_A_NAME {
            return Err(QuantiseError::NotAModel(format!("a name of {name_bytes} bytes")));
        }
        let name = bytes(input, name_bytes)?;
        let bytes_each = match tensor_type {
            0 => 4,
            1 => 2,
            _ => return Err(QuantiseError::AlreadyQuantised),
        };
        let data = bytes(input, bytes_each * product(&dimensions)?)?;
        Ok(Some(Self { dimensions, name, tensor_type: tensor_type as sys::ggml_type, data }))
    }

    /// Writes it, quantised if it is a matrix that may be.
    fn write(self, output: &mut impl Write, wanted: sys::ggml_type) -> Result<(), QuantiseError> {
        let is_kept = KEPT.iter().any(|kept| kept.as_bytes() == self.name);
        let (tensor_type, data) = match self.dimensions[..] {
            [width, rows] if !is_kept => (wanted, self.quantised(wanted, width, rows)?),
            _ => (self.tensor_type, self.data),
        };
        let rank = self.dimensions.len() as i32;
        for number in [rank, self.name.len() as i32, tensor_type as i32] {
            output.write_all(&number.to_le_bytes())?;
        }
        for dimension in self.dimensions {
            output.write_all(&dimension.to_le_bytes())?;
        }
        output.write_all(&self.name)?;
        Ok(output.write_all(&data)?)
    }

    fn quantised(
        &self,
        wanted: sys::ggml_type,
        width: i32,
        rows: i32,
    ) -> Result<Vec<u8>, QuantiseError> {
        let values: Vec<f32> = match self.tensor_type {
            sys::ggml_type_GGML_TYPE_F32 => {
                self.data.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect()
            }
            _ => {
                let halves: Vec<u16> =
                    self.data.as_chunks().0.iter().copied().map(u16::from_le_bytes).collect();
                let mut values = vec![0.0; halves.len()];
                // SAFETY: both have as many values as is said.
                unsafe {
                    sys::ggml_fp16_to_fp32_row(
                        halves.as_ptr(),
                        values.as_mut_ptr(),
                        halves.len() as i64,
                    );
                }
                values
            }
        };
        // SAFETY: asks for constants of a type that ggml knows.
        let (block, row_bytes) =
            unsafe { (sys::ggml_blck_size(wanted), sys::ggml_row_size(wanted, i64::from(width))) };
        if i64::from(width) % block != 0 {
            let name = String::from_utf8_lossy(&self.name).into_owned();
            return Err(QuantiseError::NotAModel(format!("rows of {width} values in {name}")));
        }
        let mut quantised = vec![0_u8; row_bytes * rows as usize];
        // SAFETY: there are `rows` rows of `width` values to read, the room for them is what ggml
        // says, and these precisions need no weights of importance.
        let written = unsafe {
            let (width, rows) = (i64::from(width), i64::from(rows));
            let room = quantised.as_mut_ptr().cast();
            sys::ggml_quantize_chunk(
                wanted,
                values.as_ptr(),
                room,
                0,
                rows,
                width,
                std::ptr::null(),
            )
        };
        quantised.truncate(written);
        Ok(quantised)
    }
}

const END: io::ErrorKind = io::ErrorKind::UnexpectedEof;

fn cut_short(error: io::Error) -> QuantiseError {
    match error.kind() {
        END => QuantiseError::NotAModel("it ends early".to_owned()),
        _ => error.into(),
    }
}

fn integer(input: &mut impl Read) -> Result<i32, QuantiseError> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes).map_err(cut_short)?;
    Ok(i32::from_le_bytes(bytes))
}

/// The number of values in something of these dimensions.
fn product(dimensions: &[i32]) -> Result<usize, QuantiseError> {
    let product = dimensions.iter().try_fold(1_usize, |product, &dimension| {
        product.checked_mul(usize::try_from(dimension).ok()?)
    });
    product
        .filter(|&values| values <= MOST_VALUES)
        .ok_or_else(|| QuantiseError::NotAModel(format!("dimensions {dimensions:?}")))
}

/// Reads exactly so many bytes, and holds no more than there are.
fn bytes(input: &mut impl Read, count: usize) -> Result<Vec<u8>, QuantiseError> {
    let mut bytes = Vec::new();
    input.take(count as u64).read_to_end(&mut bytes)?;
    if bytes.len() < count {
        return Err(cut_short(END.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &[u8] = include_bytes!("../../tests/fixtures/models/ggml-demo.bin");

    /// The demo model, whose weights have eight bits, with weights of 32.
    fn demo_with_32_bits() -> Vec<u8> {
        let (mut input, mut output) = (DEMO, Vec::new());
        let mut header = [0; FILE_TYPE + 1];
        header.fill_with(|| integer(&mut input).unwrap());
        header[FILE_TYPE] = 0;
        output.extend(header.iter().flat_map(|number| number.to_le_bytes()));
        copy_filters_and_vocabulary(&mut input, &mut output).unwrap();
        while !input.is_empty() {
            let [rank, name, kind] = [(); 3].map(|()| integer(&mut input).unwrap());
            let dimensions: Vec<i32> = (0..rank).map(|_| integer(&mut input).unwrap()).collect();
            let name = bytes(&mut input, name as usize).unwrap();
            let values = product(&dimensions).unwrap();
            let (kind, data) = match kind {
                8 => (0, widened(&bytes(&mut input, values / 32 * 34).unwrap())),
                _ => (kind, bytes(&mut input, values * if kind == 0 { 4 } else { 2 }).unwrap()),
            };
            for number in [rank, name.len() as i32, kind].into_iter().chain(dimensions) {
                output.extend(number.to_le_bytes());
            }
            output.extend(name);
            output.extend(data);
        }
        output
    }

    /// Blocks of a factor of 16 bits and 32 numbers of eight, as 32 bits each.
    fn widened(blocks: &[u8]) -> Vec<u8> {
        let block = |block: &[u8]| {
            let (half, mut factor) = (u16::from_le_bytes([block[0], block[1]]), 0.0);
            // SAFETY: one value each.
            unsafe { sys::ggml_fp16_to_fp32_row(&half, &mut factor, 1) };
            let values = block[2..].iter().map(|&byte| f32::from(byte as i8) * factor);
            values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
        };
        blocks.chunks_exact(34).flat_map(block).collect()
    }

    #[test]
    fn eight_bits_are_those_of_another_program() {
        let mut output = Vec::new();
        quantise(&*demo_with_32_bits(), &mut output, Precision::Q8_0).unwrap();
        assert!(output == DEMO, "{} bytes differ from {}", output.len(), DEMO.len());
    }

    #[test]
    fn fewer_bits_make_smaller_files() {
        let wide = demo_with_32_bits();
        let size = |(precision, _): (Precision, &str)| {
            let mut output = Vec::new();
            quantise(&*wide, &mut output, precision).unwrap();
            output.len()
        };
        let sizes = PRECISIONS.map(size);
        assert!(sizes.is_sorted_by(|larger, smaller| larger > smaller), "{sizes:?}");
    }

    #[test]
    fn what_cannot_be_quantised_is_told() {
        let check = |input: &[u8], expected: &str| {
            let error = quantise(input, io::sink(), Precision::Q8_0).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(DEMO, "quantised already");
        check(b"RIFF", "ends early");
        check(&[0; 100], "not ggml's");
        let wide = demo_with_32_bits();
        for cut in [50, 1_000, 70_000, wide.len() - 1] {
            check(&wide[..cut], "ends early");
        }
        let mut huge = wide;
        huge[48..52].copy_from_slice(&i32::MAX.to_le_bytes());
        check(&huge, "dimensions");
    }
}
