//! Reads the head of a rule text for what Cedar does not tell: where each annotation stands, and how many clauses follow.

/// One `@name("value")`, with its bytes in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// First byte: the `@`.
    pub start: usize,
    /// The byte after the closing parenthesis.
    pub end: usize,
    /// First byte of the value, after its quote.
    pub value_start: usize,
    /// Name without the `@`.
    pub name: String,
}

/// What the head of a text looks like.
#[derive(Debug, Default)]
pub struct Scan {
    /// Annotations in order.
    pub annotations: Vec<Annotation>,
    /// Bytes of the `permit` or `forbid` that follows them.
    pub effect: (usize, usize),
    /// `when` and `unless` clauses: first byte of each and the byte after its closing brace.
    pub clauses: Vec<(usize, usize)>,
}

/// Scans a text; what it can't read it leaves to Cedar's parser to complain about.
#[must_use]
pub fn scan(text: &str) -> Scan {
    let mut scanner = Scanner { bytes: text.as_bytes(), text, at: 0 };
    let mut scan = Scan::default();
    while let Some(annotation) = scanner.annotation() {
        scan.annotations.push(annotation);
    }
    let start = scanner.at;
    scanner.word();
    scan.effect = (start.min(text.len()), scanner.at.max(start).min(text.len()));
    scan.clauses = scanner.clauses();
    scan
}

struct Scanner<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        loop {
            if self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
                self.at += 1;
            } else if self.bytes[self.at..].starts_with(b"//") {
                while self.peek().is_some_and(|b| b != b'\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn word(&mut self) -> &str {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Past a string literal; the scanner stands on its opening quote.
    fn string(&mut self) {
        self.at += 1;
        while let Some(b) = self.peek() {
            self.at += if b == b'\\' { 2 } else { 1 };
            if b == b'"' {
                break;
            }
        }
        self.at = self.at.min(self.bytes.len());
    }

    fn annotation(&mut self) -> Option<Annotation> {
        self.blank();
        if self.peek() != Some(b'@') {
            return None;
        }
        let start = self.at;
        self.at += 1;
        let name = self.word().to_owned();
        let mut end = self.at;
        let mut value_start = end;
        self.blank();
        if self.peek() == Some(b'(') {
            self.at += 1;
            self.blank();
            if self.peek() == Some(b'"') {
                value_start = self.at + 1;
                self.string();
            }
            self.blank();
            if self.peek() == Some(b')') {
                self.at += 1;
            }
            end = self.at;
        }
        Some(Annotation { start, end, value_start, name })
    }

    fn clauses(&mut self) -> Vec<(usize, usize)> {
        let (mut found, mut depth) = (Vec::<(usize, usize)>::new(), 0_usize);
        while let Some(b) = self.peek() {
            if b == b'"' {
                self.string();
            } else if b == b'/' {
                let before = self.at;
                self.blank();
                self.at = self.at.max(before + 1);
            } else if b.is_ascii_alphabetic() || b == b'_' {
                let start = self.at;
                let is_clause = matches!(self.word(), "when" | "unless");
                self.blank();
                if is_clause && self.peek() == Some(b'{') {
                    found.push((start, self.bytes.len()));
                }
            } else {
                self.at += 1;
                match b {
                    b'{' => depth += 1,
                    b'}' => depth = depth.saturating_sub(1),
                    _ => continue,
                }
                if let Some((_, end)) = found.last_mut().filter(|_| b == b'}' && depth == 0) {
                    *end = self.at;
                }
            }
        }
        found
    }
}

/// Line and column (in characters), both from 1, of a byte of a text.
#[must_use]
pub fn line_column(text: &str, byte: usize) -> (u32, u32) {
    let mut end = byte.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}
