//! Exports of incidents: what may be frozen for one, and which attempts it is about.

use runspine_errors::{Fault, Outcome};

use crate::reasons;

/// What an export is for. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportKind {
    /// Everything that is known.
    Evidence = 1,
    /// The same, held against SOC 2.
    Soc2 = 2,
    /// One page.
    Executive = 3,
}

impl ExportKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Evidence, Self::Soc2, Self::Executive];

    /// The kind of a number.
    #[must_use]
    pub fn of(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i32 == code)
    }
}

/// Most attempts that one export is about.
pub const MOST_ATTEMPTS: usize = 100;
/// Most rows of each list of a part.
pub const MOST_ROWS: usize = 1_000;

/// An attempt that an incident struck; attempt 0 is the latest, where a person named the run.
pub type Attempt = (String, u32);

/// The attempts that an incident struck, each once: the one that opened it first, then in the order of the occurrences.
#[must_use]
pub fn attempts<'a>(
    source: (&'a str, u32),
    struck: impl IntoIterator<Item = (&'a str, u32)>,
) -> Vec<Attempt> {
    let mut found: Vec<Attempt> = Vec::new();
    for (run, attempt) in std::iter::once(source).chain(struck) {
        let known = found.iter().any(|(known, n)| known == run && *n == attempt);
        if !run.is_empty() && !known {
            found.push((run.to_owned(), attempt));
        }
    }
    found
}

/// Cuts what a page does not need, and refuses evidence that would not be all of it.
///
/// # Errors
/// `EXPORT_TOO_LARGE`.
pub fn bounded(kind: ExportKind, mut attempts: Vec<Attempt>, longest_list: usize) -> Outcome<Vec<Attempt>> {
    let whole = attempts.len() <= MOST_ATTEMPTS && longest_list <= MOST_ROWS;
    if !whole && kind != ExportKind::Executive {
        let message =
            "the incident has more than an export can hold; ask for the page, or for exports of its runs";
        return Err(Fault::new(&reasons::EXPORT_TOO_LARGE, message).precondition(
            "incident",
            "has at most 100 attempts, and 1 000 occurrences, pieces of evidence, events and links",
        ));
    }
    attempts.truncate(MOST_ATTEMPTS);
    Ok(attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_stands_once_and_the_first_is_the_one_that_opened_it() {
        let struck = [("b", 1), ("a", 1), ("", 0), ("a", 2), ("b", 1)];
        let found = attempts(("a", 1), struck);
        assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 1), ("a".to_owned(), 2)]);
        assert!(attempts(("", 0), []).is_empty());
    }

    #[test]
    fn evidence_is_whole_or_refused_and_a_page_is_cut() {
        let many = |n: u32| (0..n).map(|attempt| ("run".to_owned(), attempt)).collect::<Vec<_>>();
        for kind in ExportKind::ALL {
            assert_eq!(bounded(kind, many(100), 1_000).unwrap().len(), 100);
            for (attempts, rows) in [(101, 0), (1, 1_001)] {
                let bounded = bounded(kind, many(attempts), rows);
                if kind == ExportKind::Executive {
                    assert!(bounded.unwrap().len() <= MOST_ATTEMPTS);
                } else {
                    assert!(bounded.unwrap_err().is(&reasons::EXPORT_TOO_LARGE));
                }
            }
            assert_eq!(ExportKind::of(kind as i32), Some(kind));
        }
        assert_eq!((ExportKind::of(0), ExportKind::of(4)), (None, None));
    }
}
