//! When cues appear and disappear.

use super::Cue;
use super::wrap::width;

/// The longest that a cue stays on screen, as broadcasters' guidelines have it.
pub(super) const LONGEST_MS: u64 = 7000;

/// Makes every cue end after it starts, before the next one starts, and before it has been there
/// for too long, without reordering.
pub(super) fn put_in_order(cues: &mut [Cue]) {
    for index in 0..cues.len() {
        let (before, rest) = cues.split_at_mut(index);
        let cue = &mut rest[0];
        if let Some(previous) = before.last_mut() {
            if cue.start_ms > previous.start_ms {
                previous.end_ms = previous.end_ms.min(cue.start_ms);
            } else {
                cue.start_ms = previous.end_ms;
            }
        }
        cue.end_ms = cue.end_ms.clamp(cue.start_ms + 1, cue.start_ms + LONGEST_MS);
    }
}

/// Lets each cue stay into the silence after it until it can be read at `chars_per_second`, if
/// there is so much. `duration_ms` is the end of the last silence.
pub(super) fn give_time_to_read(cues: &mut [Cue], chars_per_second: f32, duration_ms: u64) {
    let mut silence_end_ms = duration_ms;
    for cue in cues.iter_mut().rev() {
        let needed_ms = width(&cue.text) as f32 / chars_per_second * 1000.0;
        let wanted_ms = cue.start_ms + (needed_ms.ceil() as u64).min(LONGEST_MS);
        cue.end_ms = cue.end_ms.max(wanted_ms.min(silence_end_ms));
        silence_end_ms = cue.start_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cues(times: &[(u64, u64)]) -> Vec<Cue> {
        let cue =
            |&(start_ms, end_ms)| Cue { start_ms, end_ms, text: "x".repeat(20), channel: None };
        times.iter().map(cue).collect()
    }

    #[track_caller]
    fn check(adjust: impl Fn(&mut [Cue]), times: &[(u64, u64)], expected: &[(u64, u64)]) {
        let mut cues = cues(times);
        adjust(&mut cues);
        let found: Vec<_> = cues.iter().map(|cue| (cue.start_ms, cue.end_ms)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn cues_neither_overlap_nor_end_before_they_start_nor_stay_for_too_long() {
        check(
            put_in_order,
            &[(1000, 3000), (2000, 1500), (2000, 4000), (500, 600), (0, 99_000), (20_000, 27_000)],
            &[
                (1000, 2000),
                (2000, 2001),
                (2001, 4000),
                (4000, 4001),
                (4001, 11_001),
                (20_000, 27_000),
            ],
        );
    }

    #[test]
    fn a_cue_stays_until_it_is_read_or_the_next_one_comes() {
        // Twenty characters take two seconds.
        let at_ten = |cues: &mut [Cue]| give_time_to_read(cues, 10.0, 10_500);
        check(
            at_ten,
            &[(0, 1000), (1500, 2000), (4000, 7000), (9000, 9500)],
            &[(0, 1500), (1500, 3500), (4000, 7000), (9000, 10_500)],
        );
        // Nothing is shortened where the file ends before its text does.
        check(at_ten, &[(10_000, 11_000)], &[(10_000, 11_000)]);
    }

    #[test]
    fn time_to_read_is_not_endless() {
        check(|cues| give_time_to_read(cues, 1.0, 60_000), &[(0, 1000)], &[(0, LONGEST_MS)]);
    }
}
