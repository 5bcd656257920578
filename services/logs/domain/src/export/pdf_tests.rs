use super::*;
use crate::export::paper::{Row, Section};

/// What a reader of the file sees, page by page: the objects are found through the table at its end, the pages through
/// their tree, and the text of each through the operators that show it.
fn read(file: &[u8]) -> Vec<Vec<String>> {
    // Texts with other letters are written as hexadecimal digits: what is no ASCII is the mark of a binary file.
    let text: String =
        file.iter().map(|byte| char::from(if byte.is_ascii() { *byte } else { b'?' })).collect();
    let start: usize = text.rsplit("startxref\n").next().unwrap().lines().next().unwrap().parse().unwrap();
    assert!(text[start..].starts_with("xref"));
    let entries: Vec<&str> = text[start..].lines().skip(2).take_while(|line| line.len() >= 18).collect();
    let object = |number: usize| {
        let at: usize = entries[number][..10].parse().unwrap();
        let body = &text[at..];
        assert!(body.starts_with(&format!("{number} 0 obj")), "{number}: {}", &body[..20]);
        body.split("endobj").next().unwrap()
    };
    let referred = |body: &str, key: &str| -> Vec<usize> {
        let behind = body.split(&format!("/{key} ")).nth(1).unwrap().trim_start_matches('[');
        let end = behind.find([']', '/', '>']).unwrap();
        behind[..end].split(" 0 R").filter_map(|number| number.trim().parse().ok()).collect()
    };
    let tree = object(2);
    let kids = referred(tree, "Kids");
    assert!(tree.contains(&format!("/Count {}", kids.len())));
    let of_page = |page: usize| shown(object(referred(object(page), "Contents")[0]));
    kids.into_iter().map(of_page).collect()
}

/// The strings that a content shows, in order.
fn shown(stream: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for line in stream.lines().filter(|line| line.ends_with(" Tj")) {
        let string = line.trim_end_matches(" Tj");
        let plain = string.strip_prefix('(').and_then(|s| s.strip_suffix(')'));
        texts.push(plain.map_or_else(|| hexed(string), unescaped));
    }
    texts
}

fn unescaped(string: &str) -> String {
    let (mut out, mut letters) = (String::new(), string.chars());
    while let Some(letter) = letters.next() {
        let letter = if letter == '\\' { letters.next().unwrap() } else { letter };
        out.push(letter);
    }
    out
}

fn hexed(string: &str) -> String {
    let digits = string.trim_matches(['<', '>']);
    hex::decode(digits).unwrap().into_iter().map(char::from).collect()
}

fn paper(rows: Vec<Row>) -> Paper {
    Paper {
        title: "Executive summary".into(),
        footer: "Runspine export ex-1".into(),
        summary: "Attempt 1 of run r-1 ended (badly) with POLICY_BLOCK \\ after 3 steps.".into(),
        sections: vec![Section { title: "risk".into(), rows }],
    }
}

fn row(name: &str, value: &str, reference: &str) -> Row {
    Row { name: name.into(), value: value.into(), reference: reference.into() }
}

#[test]
fn a_parser_reads_the_text_back() {
    let paper = paper(vec![row("risk_level", "HIGH", "runspine.activity.v1.RunQueryService/GetRunView")]);
    let file = pdf(&paper);
    assert!(file.starts_with(b"%PDF-1.7") && file.ends_with(b"%%EOF"));
    assert_eq!(file, pdf(&paper), "the same paper is the same bytes");
    let expected = [
        "Executive summary",
        "Attempt 1 of run r-1 ended (badly) with POLICY_BLOCK \\ after 3 steps.",
        "risk",
        "HIGH",
        "risk_level",
        "from runspine.activity.v1.RunQueryService/GetRunView",
        "Runspine export ex-1   page 1 of 1",
    ];
    assert_eq!(read(&file), [expected]);
}

#[test]
fn what_the_font_lacks_is_written_out_and_said() {
    let lines = read(&pdf(&paper(vec![row("note", "done \u{1F600} 日 Zoë", "")]))).concat();
    assert!(lines.contains(&"done \\u{1f600} \\u{65e5} Zo\u{eb}".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("stands as \\u{its number}")), "{lines:?}");
    let plain = read(&pdf(&paper(vec![row("note", "done", "")]))).concat();
    assert!(!plain.iter().any(|line| line.contains("its number")));
}

#[test]
fn long_papers_have_pages_and_long_values_lines() {
    let words: String = (0..400).map(|n| format!("word{n} ")).collect();
    let cut = "x".repeat(200);
    let rows = (0..200).map(|n| row(&format!("name_{n}"), "value", "a.v1.S/Get")).collect::<Vec<_>>();
    let long = [row("words", &words, ""), row("cut", &cut, ""), row(&"n".repeat(60), "beside", "")];
    let pages = read(&pdf(&paper(rows.into_iter().chain(long).collect())));
    assert!(pages.len() > 5, "{}", pages.len());
    let count = pages.len();
    for (n, page) in pages.iter().enumerate() {
        assert_eq!(page.last().unwrap(), &format!("Runspine export ex-1   page {} of {count}", n + 1));
    }
    let all = pages.concat();
    for n in 0..200 {
        assert!(all.contains(&format!("name_{n}")), "{n}");
    }
    let said: Vec<&str> = all
        .iter()
        .flat_map(|line| line.split(' '))
        .filter(|w| w.starts_with("word") && *w != "words")
        .collect();
    assert_eq!(said, (0..400).map(|n| format!("word{n}")).collect::<Vec<_>>());
    assert_eq!(all.iter().filter(|line| line.starts_with("xxx")).map(String::len).sum::<usize>(), 200);
    assert!(all.contains(&"n".repeat(60)) && all.iter().all(|line| line.len() <= 117));
}
