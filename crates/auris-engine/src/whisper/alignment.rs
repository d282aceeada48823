//! When each token was spoken, from the decoder's cross-attention: dynamic time warping over the
//! heads that follow the speech. The method is OpenAI's (`timing.py` of openai-whisper).

use super::attention::{Head, Scores};
use super::ffi::Shape;

/// The width, in frames, of the median filter that smooths each head's weights; odd.
const MEDIAN_FRAMES: usize = 7;

/// The heads that follow the audio, each as layer and head. For a published model, those that
/// OpenAI lists (`_ALIGNMENT_HEADS`); for other models, all heads of the last half of the layers.
pub(super) fn heads(shape: &Shape) -> Vec<Head> {
    let published: Option<&[(usize, usize)]> =
        match (shape.text_state, shape.text_layers, shape.multilingual) {
            (384, 4, false) => Some(&TINY_EN),
            (384, 4, true) => Some(&TINY),
            (512, 6, false) => Some(&BASE_EN),
            (512, 6, true) => Some(&BASE),
            (768, 12, false) => Some(&SMALL_EN),
            (768, 12, true) => Some(&SMALL),
            (1_024, 24, false) => Some(&MEDIUM_EN),
            (1_024, 24, true) => Some(&MEDIUM),
            (1_280, 32, true) if shape.languages > 99 => Some(&LARGE_V3),
            (1_280, 32, true) => Some(&LARGE_V2),
            (1_280, 4, true) => Some(&LARGE_V3_TURBO),
            _ => None,
        };
    match published {
        Some(heads) => heads.iter().map(|&(layer, head)| Head { layer, head }).collect(),
        None => {
            let layers = shape.text_layers / 2..shape.text_layers;
            layers
                .flat_map(|layer| (0..shape.text_heads).map(move |head| Head { layer, head }))
                .collect()
        }
    }
}

#[rustfmt::skip]
mod published {
    pub(super) const TINY_EN: [(usize, usize); 8] = [(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)];
    pub(super) const TINY: [(usize, usize); 6] = [(2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)];
    pub(super) const BASE_EN: [(usize, usize); 5] = [(3, 3), (4, 7), (5, 1), (5, 5), (5, 7)];
    pub(super) const BASE: [(usize, usize); 8] = [(3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)];
    pub(super) const SMALL_EN: [(usize, usize); 19] = [(6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10), (10, 0), (10, 1), (10, 2), (10, 3), (10, 6), (10, 11), (11, 2), (11, 4)];
    pub(super) const SMALL: [(usize, usize); 10] = [(5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)];
    pub(super) const MEDIUM_EN: [(usize, usize); 18] = [(11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14), (18, 7), (18, 10), (18, 15), (20, 0), (20, 3), (20, 9), (20, 14), (21, 12)];
    pub(super) const MEDIUM: [(usize, usize); 6] = [(13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)];
    pub(super) const LARGE_V2: [(usize, usize); 23] = [(10, 12), (13, 17), (16, 11), (16, 12), (16, 13), (17, 15), (17, 16), (18, 4), (18, 11), (18, 19), (19, 11), (21, 2), (21, 3), (22, 3), (22, 9), (22, 12), (23, 5), (23, 7), (23, 13), (25, 5), (26, 1), (26, 12), (27, 15)];
    pub(super) const LARGE_V3: [(usize, usize); 10] = [(7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6)];
    pub(super) const LARGE_V3_TURBO: [(usize, usize); 6] = [(2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)];
}
use published::*;

/// Returns, for each of the rows `from..to` (tokens), the frame in which the path enters it. Every
/// head has a row for each token.
pub(super) fn entry_frames(heads: &[Scores], from: usize, to: usize) -> Vec<usize> {
    let frames = heads.first().map_or(0, |head| head.frames);
    if frames == 0 || to <= from {
        return vec![0; to.saturating_sub(from)];
    }
    let mut cost = vec![0.0f32; (to - from) * frames];
    for head in heads {
        let mut weights = head.values.clone();
        weights.chunks_mut(frames).for_each(softmax);
        normalise_columns(&mut weights, frames);
        for (row, smoothed) in weights.chunks(frames).enumerate() {
            if (from..to).contains(&row) {
                let cost = &mut cost[(row - from) * frames..][..frames];
                add_median(smoothed, cost);
            }
        }
    }
    warp(&cost, frames)
}

fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}

/// Normalises each frame's weights over all tokens to a mean of 0 and a deviation of 1.
fn normalise_columns(weights: &mut [f32], frames: usize) {
    let rows = (weights.len() / frames) as f32;
    for frame in 0..frames {
        let column = || weights.iter().skip(frame).step_by(frames);
        let mean = column().sum::<f32>() / rows;
        let variance = column().map(|value| (value - mean).powi(2)).sum::<f32>() / rows;
        let deviation = variance.sqrt().max(1e-9);
        for value in weights.iter_mut().skip(frame).step_by(frames) {
            *value = (*value - mean) / deviation;
        }
    }
}

/// Subtracts the row's running median, mirrored at its ends, from the cost.
fn add_median(row: &[f32], cost: &mut [f32]) {
    let half = MEDIAN_FRAMES as isize / 2;
    let last = row.len() as isize - 1;
    for (frame, cost) in cost.iter_mut().enumerate() {
        let mut window = [0.0f32; MEDIAN_FRAMES];
        for (place, offset) in window.iter_mut().zip(-half..=half) {
            let index = (frame as isize + offset).abs();
            let index = if index > last { 2 * last - index } else { index };
            *place = row[index.clamp(0, last) as usize];
        }
        window.sort_unstable_by(f32::total_cmp);
        *cost -= window[MEDIAN_FRAMES / 2];
    }
}

/// Finds the cheapest path from the first row and frame to the last ones; each step goes to the
/// next row, the next frame or both. Returns where the path enters each row.
fn warp(cost: &[f32], frames: usize) -> Vec<usize> {
    #[derive(Clone, Copy)]
    enum From {
        Both,
        Row,
        Frame,
    }
    let rows = cost.len() / frames;
    let width = frames + 1;
    let mut total = vec![f32::INFINITY; (rows + 1) * width];
    let mut from = vec![From::Frame; (rows + 1) * width];
    total[0] = 0.0;
    for row in 1..=rows {
        for frame in 1..=frames {
            let both = total[(row - 1) * width + frame - 1];
            let above = total[(row - 1) * width + frame];
            let before = total[row * width + frame - 1];
            let (least, step) = if both < above && both < before {
                (both, From::Both)
            } else if above < both && above < before {
                (above, From::Row)
            } else {
                (before, From::Frame)
            };
            total[row * width + frame] = cost[(row - 1) * frames + frame - 1] + least;
            from[row * width + frame] = step;
        }
    }
    let mut entries = vec![0; rows];
    let (mut row, mut frame) = (rows, frames);
    while row > 0 && frame > 0 {
        entries[row - 1] = frame - 1;
        match from[row * width + frame] {
            From::Both => (row, frame) = (row - 1, frame - 1),
            From::Row => row -= 1,
            From::Frame => frame -= 1,
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head that looks at `spots`, one frame per row, among `frames`.
    fn head(spots: &[usize], frames: usize) -> Scores {
        let score = |spot: usize, frame: usize| -0.5 * (frame as f32 - spot as f32).abs();
        let values =
            spots.iter().flat_map(|spot| (0..frames).map(move |frame| score(*spot, frame)));
        Scores { frames, values: values.collect() }
    }

    #[test]
    fn the_path_enters_each_row_near_the_place_it_looks_at() {
        let spots = [5, 20, 40, 80, 95];
        let entries = entry_frames(&[head(&spots, 100), head(&spots, 100)], 0, 5);
        assert_eq!(entries[0], 0);
        for (entry, (before, spot)) in
            entries[1..].iter().zip(spots.iter().zip(spots.iter().skip(1)))
        {
            assert!((before..=spot).contains(&entry), "{entries:?}");
        }
        assert!(entries.is_sorted());
    }

    #[test]
    fn only_the_rows_asked_for_are_aligned() {
        let entries = entry_frames(&[head(&[90, 5, 50, 90, 0], 100)], 1, 4);
        assert_eq!(entries.len(), 3);
        assert!(entries[1] > 5 && entries[1] <= 50 && entries[2] > 50, "{entries:?}");
    }

    #[test]
    fn odd_sizes_give_frames_within_the_window() {
        for (rows, frames) in [(1, 1), (5, 1), (1, 5), (9, 3), (3, 8)] {
            let entries = entry_frames(&[head(&vec![0; rows], frames)], 0, rows);
            assert_eq!(entries.len(), rows);
            assert!(entries.iter().all(|frame| *frame < frames), "{entries:?}");
            assert!(entries.is_sorted());
        }
        assert_eq!(entry_frames(&[], 0, 3), [0, 0, 0]);
    }

    #[test]
    fn published_models_have_heads_of_their_own() {
        let shape = Shape {
            vocabulary: 51_865,
            text_layers: 6,
            text_heads: 8,
            text_state: 512,
            text_context: 448,
            positions: 1_500,
            multilingual: true,
            languages: 99,
            end_of_text: 50_257,
            start_of_transcript: 50_258,
            previous: 50_361,
            no_speech: 50_362,
            no_timestamps: 50_363,
            translate: 50_358,
            transcribe: 50_359,
            first_timestamp: 50_364,
        };
        assert_eq!(heads(&shape).len(), 8);
        assert_eq!(heads(&Shape { multilingual: false, ..shape }).len(), 5);
        let other = heads(&Shape { text_state: 128, text_layers: 3, text_heads: 2, ..shape });
        let all = [(1, 0), (1, 1), (2, 0), (2, 1)].map(|(layer, head)| Head { layer, head });
        assert_eq!(other, all);
    }
}
