//! Where a budget period begins and ends.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::Offset,
};
use runspine_types::Micros;

use crate::words::PeriodKind;

/// Begin and end of a period; the end belongs to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First microsecond.
    pub start: Micros,
    /// First microsecond of the next period; `None`: it never ends.
    pub end: Option<Micros>,
}

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 1970-01-05 was a Monday.
const FIRST_MONDAY: i64 = 4 * DAY;

/// The period of `kind` that `at` falls into, for a day that is `offset_minutes` ahead of UTC. `created` begins TOTAL.
#[must_use]
pub fn bounds(kind: PeriodKind, offset_minutes: i32, created: Micros, at: Micros) -> Bounds {
    let offset = i64::from(offset_minutes) * MINUTE;
    let local = at.0.saturating_add(offset);
    let fixed = |length: i64, anchor: i64| {
        let start = local - (local - anchor).rem_euclid(length);
        (start, start + length)
    };
    let (start, end) = match kind {
        PeriodKind::Total => return Bounds { start: created, end: None },
        PeriodKind::Hourly => fixed(HOUR, 0),
        PeriodKind::Daily => fixed(DAY, 0),
        PeriodKind::Weekly => fixed(7 * DAY, FIRST_MONDAY),
        PeriodKind::Monthly => month(local).unwrap_or_else(|| fixed(30 * DAY, 0)),
    };
    Bounds { start: Micros(start - offset), end: Some(Micros(end - offset)) }
}

/// First of this and of the next month; `None` outside of the years that a calendar knows.
fn month(local: i64) -> Option<(i64, i64)> {
    let at = jiff::Timestamp::from_microsecond(local).ok()?;
    let first = Offset::UTC.to_datetime(at).date().first_of_month();
    let next = first.last_of_month().tomorrow().ok()?;
    Some((midnight(first)?, midnight(next)?))
}

fn midnight(date: Date) -> Option<i64> {
    let at = Offset::UTC.to_timestamp(DateTime::from_parts(date, Time::midnight())).ok()?;
    Some(at.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> Micros {
        Micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn boundaries_over_leap_years_month_ends_and_offsets() {
        use PeriodKind::{Daily, Hourly, Monthly, Weekly};
        let rows = [
            (Hourly, 0, "2026-11-21T09:59:59.999999Z", "2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z"),
            (Hourly, 30, "2026-11-21T09:29:59Z", "2026-11-21T08:30:00Z", "2026-11-21T09:30:00Z"),
            (Daily, 0, "2028-02-29T23:59:59Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Daily, -720, "2026-01-01T11:59:59Z", "2025-12-31T12:00:00Z", "2026-01-01T12:00:00Z"),
            (Daily, 840, "2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z"),
            (Weekly, 0, "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Weekly, 0, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Monthly, 0, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Monthly, 0, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            (Monthly, 0, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Monthly, 60, "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z"),
            (Monthly, -60, "2027-01-01T00:59:59Z", "2026-12-01T01:00:00Z", "2027-01-01T01:00:00Z"),
        ];
        for (kind, offset, at, start, end) in rows {
            let expected = Bounds { start: us(start), end: Some(us(end)) };
            assert_eq!(bounds(kind, offset, Micros(0), us(at)), expected, "{kind:?} {offset} {at}");
        }
    }

    #[test]
    fn total_begins_at_creation_and_never_ends() {
        let created = us("2026-05-01T00:00:01Z");
        let period = bounds(PeriodKind::Total, 60, created, us("2030-01-01T00:00:00Z"));
        assert_eq!(period, Bounds { start: created, end: None });
    }

    #[test]
    fn periods_tile_time() {
        for kind in [PeriodKind::Hourly, PeriodKind::Daily, PeriodKind::Weekly, PeriodKind::Monthly] {
            let mut at = us("2027-12-30T22:17:00Z");
            for _ in 0..40 {
                let period = bounds(kind, 330, Micros(0), at);
                let end = period.end.unwrap();
                assert!(period.start <= at && at < end);
                assert_eq!(bounds(kind, 330, Micros(0), Micros(end.0 - 1)), period);
                assert_eq!(bounds(kind, 330, Micros(0), end).start, end);
                at = end;
            }
        }
    }
}
