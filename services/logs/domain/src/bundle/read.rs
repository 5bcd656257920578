//! Reads the lines of a bundle in order: sections in their order, indices without holes, nothing after the end.

use std::io::{self, BufRead, Read as _};

use super::{SECTIONS, line::Line, report::Findings};

/// Longest line that is read, so that a file can't exhaust memory by one line.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// Where reading stands.
pub(super) struct Lines<R> {
    reader: R,
    count: u64,
    /// Rank of the current section, and the index that comes next in it.
    place: (usize, u64),
    ended: bool,
}

/// The rank of a section in the file.
fn rank(section: &str) -> Option<usize> {
    match section {
        "manifest" => Some(0),
        "manifest_signature" => Some(1),
        "end" => Some(SECTIONS.len() + 2),
        name => SECTIONS.iter().position(|known| *known == name).map(|place| place + 2),
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, count: 0, place: (0, 0), ended: false }
    }

    /// Lines read so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next line that can be read; what can't is noted and passed over.
    pub(super) fn next(&mut self, found: &mut Findings) -> io::Result<Option<Line>> {
        loop {
            let mut text = Vec::new();
            (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut text)?;
            if text.is_empty() {
                if !self.ended {
                    found.fail("TRUNCATED_FILE", format!("after line {}", self.count));
                }
                return Ok(None);
            }
            self.count += 1;
            let at = format!("line {}", self.count);
            if !text.ends_with(b"\n") && !self.ended {
                found.fail("TRUNCATED_FILE", at.clone());
            }
            if let Some(line) = Line::read(&text).filter(|line| self.in_order(line)) {
                return Ok(Some(line));
            }
            found.fail("MALFORMED", at);
        }
    }

    fn in_order(&mut self, line: &Line) -> bool {
        let Some(rank) = rank(&line.s).filter(|_| !self.ended) else { return false };
        if line.s == "end" {
            self.ended = true;
            let bare = line.t.is_none() && line.a.is_none() && line.d.is_none();
            return bare && line.b.is_none() && line.l.is_none() && line.n == self.count;
        }
        let expected = match rank.cmp(&self.place.0) {
            std::cmp::Ordering::Less => return false,
            std::cmp::Ordering::Equal => self.place.1,
            std::cmp::Ordering::Greater => 0,
        };
        // A missing line is noted once; reading goes on behind it.
        self.place = (rank, line.n.saturating_add(1));
        line.n == expected
    }
}
