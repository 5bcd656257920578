//! What a conjunction leaves possible: integer intervals, words, flags.

use std::collections::{BTreeMap, BTreeSet};

use super::atoms::{Atom, Compare, Pattern};

/// Integers whose range is known, because they are computed or checked before anything is evaluated.
const KNOWN: [(&str, i64, i64); 7] = [
    ("context.now.hour", 0, 23),
    ("context.now.minute", 0, 59),
    ("context.now.weekday", 1, 7),
    ("context.step_index", 0, u32::MAX as i64),
    ("principal.risk", 0, 3),
    ("resource.risk", 0, 3),
    ("resource.sensitivity", 0, 3),
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers {
    low: i64,
    high: i64,
    not: BTreeSet<i64>,
}

impl Numbers {
    fn at(path: &str) -> Self {
        let known = KNOWN.iter().find(|(p, ..)| *p == path);
        let (low, high) = known.map_or((i64::MIN, i64::MAX), |(_, low, high)| (*low, *high));
        Self { low, high, not: BTreeSet::new() }
    }

    /// Takes a comparison in; `false`: nothing is left.
    fn meet(&mut self, of: Compare, n: i64) -> bool {
        let possible = match of {
            Compare::Less => n.checked_sub(1).is_some_and(|n| self.at_most(n)),
            Compare::AtMost => self.at_most(n),
            Compare::Greater => n.checked_add(1).is_some_and(|n| self.at_least(n)),
            Compare::AtLeast => self.at_least(n),
            Compare::Equal => self.at_least(n) && self.at_most(n),
            Compare::Unequal => {
                self.not.insert(n);
                true
            }
        };
        while self.not.contains(&self.low) && self.low < i64::MAX {
            self.low += 1;
        }
        while self.not.contains(&self.high) && self.high > i64::MIN {
            self.high -= 1;
        }
        possible && self.low <= self.high
    }

    fn at_most(&mut self, n: i64) -> bool {
        self.high = self.high.min(n);
        true
    }

    fn at_least(&mut self, n: i64) -> bool {
        self.low = self.low.max(n);
        true
    }

    fn implies(&self, of: Compare, n: i64) -> bool {
        match of {
            Compare::Less => self.high < n,
            Compare::AtMost => self.high <= n,
            Compare::Greater => self.low > n,
            Compare::AtLeast => self.low >= n,
            Compare::Equal => self.low == n && self.high == n,
            Compare::Unequal => self.not.contains(&n) || self.high < n || self.low > n,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Words {
    is: Option<String>,
    not: BTreeSet<String>,
    like: BTreeSet<Pattern>,
    unlike: BTreeSet<Pattern>,
}

impl Words {
    fn is_possible(&self) -> bool {
        let Some(word) = &self.is else {
            let all = |pattern: &Pattern| self.like.iter().any(|like| pattern.includes(like));
            return !self.unlike.iter().any(|p| *p == Pattern::Anything || all(p));
        };
        let text = bare(word);
        let fits = |p: &Pattern| text.as_deref().is_none_or(|t| p.matches(t));
        let misfits = |p: &Pattern| text.as_deref().is_none_or(|t| !p.matches(t));
        !self.not.contains(word) && self.like.iter().all(fits) && self.unlike.iter().all(misfits)
    }
}

/// The text of a literal as it is compared by `like`; none: it is an entity.
fn bare(word: &str) -> Option<String> {
    serde_json::from_str(word).ok()
}

/// A conjunction that is possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    numbers: BTreeMap<String, Numbers>,
    words: BTreeMap<String, Words>,
    flags: BTreeMap<String, bool>,
}

impl Constraints {
    /// The constraints of all these atoms; none: nothing fulfils them.
    pub(super) fn of<'a>(atoms: impl Iterator<Item = &'a Atom>) -> Option<Self> {
        let mut all = Self::default();
        for atom in atoms {
            if !all.meet(atom) {
                return None;
            }
        }
        Some(all)
    }

    fn meet(&mut self, atom: &Atom) -> bool {
        match atom {
            Atom::Number(path, of, n) => {
                self.numbers.entry(path.clone()).or_insert_with(|| Numbers::at(path)).meet(*of, *n)
            }
            Atom::Flag(what, value) => *self.flags.entry(what.clone()).or_insert(*value) == *value,
            Atom::Word(path, word, wanted) => {
                let words = self.words.entry(path.clone()).or_default();
                if *wanted {
                    if words.is.as_ref().is_some_and(|is| is != word) {
                        return false;
                    }
                    words.is = Some(word.clone());
                } else {
                    words.not.insert(word.clone());
                }
                words.is_possible()
            }
            Atom::Like(path, pattern, wanted) => {
                let words = self.words.entry(path.clone()).or_default();
                let to = if *wanted { &mut words.like } else { &mut words.unlike };
                to.insert(pattern.clone());
                words.is_possible()
            }
        }
    }

    /// Whether whatever fulfils these fulfils the atom too.
    pub(super) fn implies(&self, atom: &Atom) -> bool {
        match atom {
            Atom::Number(path, of, n) => match self.numbers.get(path) {
                Some(numbers) => numbers.implies(*of, *n),
                None => Numbers::at(path).implies(*of, *n),
            },
            Atom::Flag(what, value) => self.flags.get(what) == Some(value),
            Atom::Word(path, word, wanted) => self.words.get(path).is_some_and(|words| match &words.is {
                Some(is) => (is == word) == *wanted,
                None => !*wanted && words.not.contains(word),
            }),
            Atom::Like(path, pattern, wanted) => self.words.get(path).is_some_and(|words| {
                if let Some(text) = words.is.as_deref().and_then(bare) {
                    return pattern.matches(&text) == *wanted;
                }
                if *wanted {
                    words.like.iter().any(|like| pattern.includes(like))
                } else {
                    words.unlike.iter().any(|unlike| unlike.includes(pattern))
                }
            }),
        }
    }

    /// The bounds that are asked of integers: path, whether it is a lower bound, and the bound.
    pub(super) fn thresholds(&self) -> impl Iterator<Item = (&str, bool, i64)> {
        self.numbers.iter().filter_map(|(path, n)| {
            match (n.low > Numbers::at(path).low, n.high < Numbers::at(path).high) {
                (true, false) => Some((path.as_str(), true, n.low)),
                (false, true) => Some((path.as_str(), false, n.high)),
                _ => None,
            }
        })
    }
}
