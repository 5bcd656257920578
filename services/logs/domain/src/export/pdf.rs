//! Papers as PDF: lines of text in fonts that every reader has, so that nothing has to be embedded and the same paper is
//! always the same bytes. The letters of one width make lines that can be counted.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

use super::{paper::Paper, winansi::encoded};

/// A4, in points.
const PAGE: (f32, f32) = (595.0, 842.0);
/// What stays empty on every side.
const MARGIN: f32 = 50.0;
/// Where the last line above the footer stands.
const LAST: f32 = MARGIN + 24.0;
/// Width of a letter of size 1.
const LETTER: f32 = 0.6;
/// The column of the names, in letters of the body.
const NAMES: u16 = 28;

const TEXT: Name<'static> = Name(b"F1");
const BOLD: Name<'static> = Name(b"F2");

/// Size and letters in a line of each kind: the page is 495 points wide.
const TITLE: (f32, usize) = (16.0, 51);
const HEADING: (f32, usize) = (11.0, 75);
const BODY: (f32, usize) = (9.0, 91);
const SMALL: (f32, usize) = (7.0, 117);
/// Letters of a value beside its name.
const VALUE: usize = 62;

/// One line: where it stands below the one before, and its texts by their place from the left.
struct Line {
    font: Name<'static>,
    size: f32,
    above: f32,
    texts: Vec<(f32, Vec<u8>)>,
}

impl Line {
    fn new(font: Name<'static>, size: f32, text: Vec<u8>) -> Self {
        Self { font, size, above: size * 1.35, texts: vec![(MARGIN, text)] }
    }

    fn below(mut self, gap: f32) -> Self {
        self.above += gap;
        self
    }
}

/// The bytes of a paper.
#[must_use]
pub fn pdf(paper: &Paper) -> Vec<u8> {
    let pages = paged(lines(paper));
    let mut out = Pdf::new();
    let (catalog, tree, text, bold, info) = (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4), Ref::new(5));
    out.catalog(catalog).pages(tree);
    let count = i32::try_from(pages.len()).unwrap_or(i32::MAX);
    let of_page = |number: i32| (Ref::new(6 + 2 * number), Ref::new(7 + 2 * number));
    out.pages(tree).kids((0..count).map(|number| of_page(number).0)).count(count);
    for (id, name) in [(text, Name(b"Courier")), (bold, Name(b"Courier-Bold"))] {
        out.type1_font(id).base_font(name).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    out.document_info(info).title(TextStr(&paper.title)).producer(TextStr("Runspine"));
    for (number, lines) in (0..count).zip(pages) {
        let (page, content) = of_page(number);
        let mut written = out.page(page);
        written.media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).parent(tree).contents(content);
        written.resources().fonts().pair(TEXT, text).pair(BOLD, bold);
        written.finish();
        let footer = format!("{}   page {} of {count}", paper.footer, number + 1);
        out.stream(content, &drawn(&lines, &footer));
    }
    out.finish()
}

fn lines(paper: &Paper) -> Vec<Line> {
    let mut all = plain(BOLD, TITLE, &paper.title);
    if !paper.summary.is_empty() {
        let summary = plain(TEXT, BODY, &paper.summary);
        all.extend(
            summary.into_iter().enumerate().map(|(n, line)| if n == 0 { line.below(6.0) } else { line }),
        );
    }
    for section in &paper.sections {
        let heading = plain(BOLD, HEADING, &section.title);
        all.extend(heading.into_iter().map(|line| line.below(10.0)));
        for row in &section.rows {
            all.extend(row_lines(&row.name, &row.value));
            if !row.reference.is_empty() {
                all.extend(plain(TEXT, SMALL, &format!("from {}", row.reference)).into_iter().map(indented));
            }
        }
    }
    let said = paper.sections.iter().flat_map(|s| &s.rows).flat_map(|r| [&r.name, &r.value, &r.reference]);
    if said.chain([&paper.summary]).any(|text| encoded(text).1) {
        let note = "A character that these pages have no letter for stands as \\u{its number}.";
        all.extend(plain(TEXT, SMALL, note).into_iter().map(|line| line.below(10.0)));
    }
    all
}

fn plain(font: Name<'static>, (size, most): (f32, usize), text: &str) -> Vec<Line> {
    wrapped(text, most).into_iter().map(|text| Line::new(font, size, text)).collect()
}

/// A name, and its value beside it; a name that is too long stands above.
fn row_lines(name: &str, value: &str) -> Vec<Line> {
    let column = usize::from(NAMES) - 1;
    let mut names = wrapped(name, BODY.1);
    let beside = names.len() == 1 && names.first().is_some_and(|name| name.len() <= column);
    let first = if beside { names.pop() } else { None };
    let mut lines: Vec<Line> = names.into_iter().map(|name| Line::new(TEXT, BODY.0, name)).collect();
    for (n, value) in wrapped(value, VALUE).into_iter().enumerate() {
        let mut line = indented(Line::new(TEXT, BODY.0, value));
        if n == 0 {
            line.texts.extend(first.clone().map(|name| (MARGIN, name)));
        }
        lines.push(line);
    }
    lines
}

fn indented(mut line: Line) -> Line {
    for (x, _) in &mut line.texts {
        *x += f32::from(NAMES) * BODY.0 * LETTER;
    }
    line
}

/// Lines of at most `most` letters, broken at spaces where there are any. A text without letters is one empty line.
fn wrapped(text: &str, most: usize) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for paragraph in text.lines().chain(text.is_empty().then_some("")) {
        let letters = encoded(paragraph).0;
        let mut rest = letters.as_slice();
        while rest.len() > most {
            // What is one long word is cut.
            let space = rest[..=most].iter().rposition(|letter| *letter == b' ').filter(|at| *at > 0);
            let (line, behind) = rest.split_at(space.unwrap_or(most));
            lines.push(line.to_vec());
            rest = if space.is_some() { &behind[1..] } else { behind };
        }
        lines.push(rest.to_vec());
    }
    lines
}

fn paged(lines: Vec<Line>) -> Vec<Vec<Line>> {
    let mut pages = vec![Vec::new()];
    let mut y = PAGE.1 - MARGIN;
    for line in lines {
        y -= line.above;
        if y < LAST {
            pages.push(Vec::new());
            y = PAGE.1 - MARGIN - line.above;
        }
        if let Some(page) = pages.last_mut() {
            page.push(line);
        }
    }
    pages
}

fn drawn(lines: &[Line], footer: &str) -> Vec<u8> {
    let mut content = Content::new();
    let mut show = |font: Name<'_>, size: f32, (x, y): (f32, f32), text: &[u8]| {
        content.begin_text().set_font(font, size).next_line(x, y).show(Str(text)).end_text();
    };
    let mut y = PAGE.1 - MARGIN;
    for line in lines {
        y -= line.above;
        for (x, text) in &line.texts {
            show(line.font, line.size, (*x, y), text);
        }
    }
    show(TEXT, SMALL.0, (MARGIN, MARGIN), &encoded(footer).0);
    content.finish().to_vec()
}

#[cfg(test)]
#[path = "pdf_tests.rs"]
mod tests;
