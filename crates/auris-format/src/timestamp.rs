//! Times as people and players read them.
//!
//! Everything is rounded to whole milliseconds once, here, and then split into fields: so a carry
//! such as 59.9996 s goes up to the next minute, and no binary fraction reaches a response.

/// A time later than any recording (over 30,000 years), small enough for exact arithmetic.
const LATEST_MS: f64 = 1e15;

/// `seconds` as whole milliseconds. What is negative or not a number becomes 0.
pub(super) fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round().clamp(0.0, LATEST_MS) as u64
}

/// `seconds` without a binary fraction: the number nearest to its whole milliseconds.
pub(super) fn rounded(seconds: f64) -> f64 {
    milliseconds(seconds) as f64 / 1000.0
}

/// `HH:MM:SS` and three decimals after `decimal_sign`: `,` in SubRip, `.` in WebVTT.
/// Past 99 hours the first field grows.
pub(super) fn clock(ms: u64, decimal_sign: char) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{decimal_sign}{:03}", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_carry_into_minutes_and_hours() {
        for (seconds, expected) in [
            (0.0, "00:00:00.000"),
            (0.0004, "00:00:00.000"),
            (0.0006, "00:00:00.001"),
            (59.9994, "00:00:59.999"),
            (59.9996, "00:01:00.000"),
            (3599.9996, "01:00:00.000"),
            (3661.25, "01:01:01.250"),
            (359_999.999_6, "100:00:00.000"),
        ] {
            assert_eq!(clock(milliseconds(seconds), '.'), expected, "{seconds}");
        }
    }

    #[test]
    fn a_thousand_hours_read_back_as_written() {
        // A step with an odd remainder at every field, so that all their values occur.
        for ms in (0..=3_600_000_000).step_by(61_789) {
            let text = clock(ms, ',');
            let (whole, thousandths) = text.split_once(',').unwrap();
            let fields: Vec<u64> = whole.split(':').map(|field| field.parse().unwrap()).collect();
            assert!(fields[1] < 60 && fields[2] < 60 && thousandths.len() == 3, "{text}");
            let seconds = fields[0] * 3600 + fields[1] * 60 + fields[2];
            assert_eq!(seconds * 1000 + thousandths.parse::<u64>().unwrap(), ms, "{text}");
        }
    }

    #[test]
    fn order_survives_rounding() {
        let times = (0..36_000).map(|step| milliseconds(f64::from(step) * 100.000_37));
        assert!(times.is_sorted());
    }

    #[test]
    fn binary_fractions_never_show() {
        assert_eq!(rounded(0.1 + 0.2).to_string(), "0.3");
        assert_eq!(rounded(3_599_999.123_4).to_string(), "3599999.123");
    }

    #[test]
    fn impossible_times_are_harmless() {
        for seconds in [-1.0, -0.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(milliseconds(seconds), 0, "{seconds}");
        }
        assert_eq!(milliseconds(f64::INFINITY), 1_000_000_000_000_000);
    }
}
