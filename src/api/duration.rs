//! Durations as the spec writes them: `90s`, `1h30m`, `500ms`.

use std::time::Duration;

/// What a duration looks like. The API server's own parser accepts more (signs, fractions, `us`); the contract does not.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// Longest text that [`PATTERN`] admits: four times five digits and two letters.
pub const MAX_LENGTH: u32 = 28;

/// Reads a duration that fits [`PATTERN`].
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits).filter(|_| (1..=5).contains(&digits))?;
        let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let number: u32 = number.parse().ok()?;
        sum += number
            * match &unit[..letters] {
                "h" => Duration::from_hours(1),
                "m" => Duration::from_mins(1),
                "s" => Duration::from_secs(1),
                "ms" => Duration::from_millis(1),
                _ => return None,
            };
        rest = &unit[letters..];
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_the_pattern_is_read() {
        let read = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("90s"), Some(90_000));
        assert_eq!(read("1h30m"), Some(5_400_000));
        assert_eq!(read("1h1m1s1ms"), Some(3_661_001));
        assert_eq!(read("99999h99999h99999h99999h"), Some(4 * 99_999 * 3_600_000));
    }

    #[test]
    fn nothing_else_is_read() {
        for text in ["", "5", "s", "5 s", "-5s", "1.5s", "5us", "5d", "123456s", "5s ", "1s1s1s1s1s", "5µs", "5S"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
