//! Transcripts as no test's author would think of them, the same ones for the same seed.

use super::transcript;
use crate::CueRules;
use auris_core::transcript::{Segment, Transcript, Word};

/// Pieces of text, and what of each can be seen.
const FRAGMENTS: &[(&str, &str)] = &[
    (" Hello,", "Hello,"),
    (" a", "a"),
    (" it is well-known.", "itiswell-known."),
    (
        " Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen",
        "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen",
    ),
    (" मेरा नाम रवि है।", "मेरानामरविहै।"),
    (" क\u{94d}\u{200d}षत्रिय", "क\u{94d}\u{200d}षत्रिय"),
    ("今日はとても寒いです。", "今日はとても寒いです。"),
    (
        "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏",
        "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏",
    ),
    ("สวัสดีครับผมชื่อสมชาย", "สวัสดีครับผมชื่อสมชาย"),
    (" مرحبا بالعالم", "مرحبابالعالم"),
    (" e\u{301}e\u{301}", "e\u{301}e\u{301}"),
    (" 👩\u{200d}👩\u{200d}👧\u{200d}👦", "👩\u{200d}👩\u{200d}👧\u{200d}👦"),
    ("🇮🇳🇳🇴", "🇮🇳🇳🇴"),
    (" <i>so</i>", "so"),
    (" <font color=\"red\">", ""),
    (" 2 < 3 > 1 & I <3 you", "2<3>1&I<3you"),
    (" &lt;b&gt; &amp;", "&lt;b&gt;&amp;"),
    (" a --> b", "a-->b"),
    (" 00:00:01,000 --> 00:00:02.000", "00:00:01,000-->00:00:02.000"),
    (" [Music] [00:05.00]", "[Music][00:05.00]"),
    (" NOTE WEBVTT STYLE", "NOTEWEBVTTSTYLE"),
    (" 7", "7"),
    ("\r\n\r\n", ""),
    ("\u{7}\0\u{1b}\t\u{2028}", ""),
    ("   ", ""),
];

const PAUSES_SECONDS: &[f64] = &[0.0, 0.0, 0.0, 0.0004, 0.3, 3.3, 100.0, -1.0];
const DURATIONS_SECONDS: &[f64] =
    &[0.0, 0.001, 0.5, 2.0, 5.0, 6.9996, 7.0004, 12.0, 29.9, 300.0, -2.0];

/// The generator splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(super) fn rules(&mut self) -> CueRules {
        let rate = self.pick(&[None, Some(5.0), Some(17.5)]);
        CueRules::new(Some(10 + self.below(50)), Some(1 + self.below(4)), rate).unwrap()
    }

    /// A transcript that begins at `hour`, and all that can be seen of it.
    pub(super) fn transcript(&mut self, hour: f64) -> (Transcript, String) {
        let mut clock = hour * 3600.0;
        let (mut segments, mut visible) = (Vec::new(), String::new());
        for _ in 0..self.below(12) {
            let start = clock + self.pick(PAUSES_SECONDS);
            let end = start + self.pick(DURATIONS_SECONDS);
            clock = clock.max(end);
            let (segment, seen) = self.segment(start, end);
            segments.push(segment);
            visible += &seen;
        }
        (transcript(segments), visible)
    }

    fn segment(&mut self, start: f64, end: f64) -> (Segment, String) {
        let (mut text, mut visible) = (String::new(), String::new());
        for _ in 0..self.below(self.0 as usize % 30 + 1) {
            let (fragment, seen) = self.pick(FRAGMENTS);
            text += fragment;
            visible += seen;
        }
        let mut segment = super::segment(start, end, &text);
        if self.below(2) == 0 {
            segment.words = self.words(&segment);
        }
        (segment, visible)
    }

    /// Words that share the segment's time, some of them missing, some misspelt.
    fn words(&mut self, segment: &Segment) -> Vec<Word> {
        let spellings: Vec<&str> = segment.text.split_whitespace().collect();
        let each = (segment.end - segment.start) / spellings.len() as f64;
        let mut words = Vec::new();
        for (index, spelling) in spellings.into_iter().enumerate() {
            let start = segment.start + each * index as f64;
            let text = if self.below(9) == 0 { "misspelt" } else { spelling };
            if self.below(9) > 0 {
                let (text, end) = (text.to_owned(), start + each * 0.9);
                words.push(Word { text, start, end, probability: 0.9 });
            }
        }
        words
    }
}
