//! A file of the tree.

/// A text file: where it is, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// From the top of the tree, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// Whether another file declares it as a module under `#[cfg(test)]`.
    pub test_module: bool,
}

impl Source {
    /// A file made up for a test.
    #[must_use]
    pub fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), test_module: false }
    }

    /// Whether the name ends so, e.g. `.rs`.
    #[must_use]
    pub fn ends_with(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }

    /// Whether it is below `folder`.
    #[must_use]
    pub fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether the whole file is there for tests only: it may fail loudly.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let path = &self.path;
        self.test_module
            || path.starts_with("tests/")
            || ["/tests/", "/benches/", "/testkit/"].iter().any(|part| path.contains(part))
            || ["/tests.rs", "_test.rs", "/build.rs"].iter().any(|end| path.ends_with(end))
    }

    /// Lines of code that is not a test, with their numbers from 1: neither comments nor items under `#[cfg(test)]`.
    #[must_use]
    pub fn code(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut skip = Skip::No;
        for (number, line) in self.text.lines().enumerate() {
            skip = skip.after(line);
            if matches!(skip, Skip::No) && !line.trim_start().starts_with("//") {
                lines.push((number + 1, line));
            }
        }
        lines
    }
}

/// Finds the modules that are declared under `#[cfg(test)]`, in whatever files they are.
pub fn mark_test_modules(tree: &mut [Source]) {
    let declared: Vec<String> = tree.iter().filter(|s| s.ends_with(".rs")).flat_map(test_modules).collect();
    for source in tree.iter_mut() {
        let stem = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        source.test_module = declared.iter().any(|d| stem == d || source.is_in(d));
    }
}

/// Paths, without their ending, of the test modules that `source` declares.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let own = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let mut modules = Vec::new();
    let mut lines = source.text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            continue;
        }
        let Some(mut item) = lines.next() else { break };
        let named = item.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix(".rs\"]"));
        if named.is_some() {
            item = lines.next().unwrap_or_default();
        }
        let name = item.split_once("mod ").and_then(|(_, name)| name.strip_suffix(';'));
        match (named, name) {
            (Some(named), Some(_)) => modules.push(format!("{folder}/{named}")),
            (None, Some(name)) => modules.push(format!("{own}/{name}")),
            _ => {}
        }
    }
    modules
}

/// Whether the lines of a test item are being passed over. rustfmt puts an item's end at the indentation of its start.
enum Skip {
    No,
    /// The attribute was read, the item comes.
    Announced,
    /// Inside an item of this indentation.
    Within(usize),
    /// The item's last line.
    Last,
}

impl Skip {
    fn after(self, line: &str) -> Self {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        match self {
            Self::No | Self::Last if trimmed.starts_with("#[cfg(test)]") => Self::Announced,
            Self::No | Self::Last => Self::No,
            Self::Announced if trimmed.starts_with("#[") => Self::Announced,
            Self::Announced if trimmed.ends_with(';') || trimmed.ends_with('}') => Self::Last,
            Self::Announced => Self::Within(indent),
            Self::Within(start) if indent == start && trimmed.starts_with('}') => Self::Last,
            Self::Within(start) => Self::Within(start),
        }
    }
}
