//! Dates and times as raw files write them.

/// Days from 1970-01-01 to a day of the Gregorian calendar; none if there is no such day.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const LENGTH: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::try_from(month - 1).ok().filter(|&m| m < 12)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = LENGTH[index] + i64::from(leap && month == 2);
    if !(1..=9999).contains(&year) || !(1..=longest).contains(&day) {
        return None;
    }
    // Leap days of the years before this one, and this one's if it is past.
    let past = year - 1;
    let leaps = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    Some((year - 1970) * 365 + leaps + BEFORE[index] + i64::from(leap && month > 2) + day - 1)
}

/// Days of a date such as `2020-07-08`.
pub(crate) fn date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse().ok());
    days(parts.next()??, parts.next()??, parts.next()??)
}

/// Seconds of a time such as `2016-05-04 13:00:59`, or of a date's midnight.
pub(crate) fn date_time(text: &str) -> Option<i64> {
    match text.split_once([' ', 'T']) {
        Some((day, clock)) => Some(date(day)? * 86_400 + seconds(clock)?),
        None => Some(date(text)? * 86_400),
    }
}

/// Seconds of a time such as `11/9/2019 1:05:09 PM`.
pub(crate) fn american(text: &str) -> Option<i64> {
    let (day, rest) = text.split_once(' ')?;
    let (clock, half) = rest.split_once(' ')?;
    let mut parts = day.splitn(3, '/').map(|part| part.parse().ok());
    let (month, day, year) = (parts.next()??, parts.next()??, parts.next()??);
    let clock = seconds(clock).filter(|s| (3600..13 * 3600).contains(s))? % (12 * 3600);
    let afternoon = match half {
        "AM" => 0,
        "PM" => 12 * 3600,
        _ => return None,
    };
    Some(days(year, month, day)? * 86_400 + clock + afternoon)
}

/// Seconds of `13:00:59`.
fn seconds(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..61).contains(&second);
    valid.then_some(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        // From Python's datetime.date.toordinal, less that of 1970-01-01.
        for (day, wanted) in [
            ((1970, 1, 1), Some(0)),
            ((1969, 12, 31), Some(-1)),
            ((2000, 2, 29), Some(11_016)),
            ((2000, 3, 1), Some(11_017)),
            ((2022, 4, 8), Some(19_090)),
            ((2019, 11, 9), Some(18_209)),
            ((1900, 2, 29), None),
            ((2022, 4, 31), None),
            ((2022, 13, 1), None),
            ((2022, 0, 1), None),
        ] {
            assert_eq!(days(day.0, day.1, day.2), wanted, "{day:?}");
        }
    }

    #[test]
    fn times_of_the_files() {
        assert_eq!(date("2020-07-08"), Some(18_451));
        assert_eq!(date_time("2020-07-08"), Some(18_451 * 86_400));
        assert_eq!(date_time("2020-07-08 01:02:03"), Some(18_451 * 86_400 + 3723));
        assert_eq!(american("11/9/2019 1:05:09 PM"), Some(18_209 * 86_400 + 13 * 3600 + 309));
        assert_eq!(american("11/9/2019 12:00:00 AM"), Some(18_209 * 86_400));
        assert_eq!(american("11/9/2019 12:30:00 PM"), Some(18_209 * 86_400 + 45_000));
        for wrong in ["", "2020-07", "2020-07-08x", "x"] {
            assert_eq!((date(wrong), date_time(wrong)), (None, None), "{wrong}");
        }
        for wrong in ["", "11/9/2019", "11/9/2019 13:00:00 PM", "11/9/2019 0:00:00 AM", "11/9/2019 1:00:00"] {
            assert_eq!(american(wrong), None, "{wrong}");
        }
    }
}
