//! Settings: flags over environment over file over defaults, each with where it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{Args, BootError, ConfigProblem};

/// Where a value came from; a later one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The service's own default.
    Default,
    /// The configuration file.
    File,
    /// `RUNSPINE_SECTION__KEY`, or `GOVERNANCE_PROFILE`.
    Environment,
    /// A flag.
    Flag,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// Sections that any binary's file may have, whether or not this binary reads them.
const SECTIONS: [&str; 11] = [
    "server",
    "tls",
    "store",
    "mesh",
    "telemetry",
    "profile",
    "activity",
    "incidents",
    "policies",
    "logs",
    "controls",
];
const SPINE: &str = "spine";

#[derive(Debug, Clone)]
struct Given {
    value: Value,
    source: Source,
}

/// What was configured, section by section. Clones share what was read, for `--print-config`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    given: Arc<BTreeMap<String, Given>>,
    /// Found while collecting; told together with what the sections find.
    problems: Arc<Vec<ConfigProblem>>,
    shown: Arc<Mutex<BTreeMap<String, Given>>>,
}

impl Settings {
    /// What the flags, this process's environment and the file named by the flags say.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn from_args(args: &Args) -> Result<Self, BootError> {
        Self::collect(args.config.as_deref(), std::env::vars(), &args.settings())
    }

    /// Collects what was said by file, environment and flags.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn collect(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, BootError> {
        let mut given = BTreeMap::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| BootError::system(format!("can't read {}", path.display()), e))?;
            let table: Table = toml::from_str(&text).map_err(|e| {
                BootError::config(path.display().to_string(), "CONFIG_UNREADABLE", e.message().to_owned())
            })?;
            flatten("", Value::Table(table), &mut |key, value| {
                given.insert(key, Given { value, source: Source::File });
            });
        }
        for (name, text) in environment {
            if let Some(key) = environment_key(&name) {
                given.insert(key, Given { value: parse(&text), source: Source::Environment });
            }
        }
        for (key, text) in flags {
            given.insert(key.clone(), Given { value: parse(text), source: Source::Flag });
        }
        let problems = given.iter().filter_map(|(key, given)| unknown_section(key, given)).collect();
        Ok(Self { given: Arc::new(given), problems: Arc::new(problems), shown: Arc::default() })
    }

    /// What is wrong outside every section, e.g. one that no service has.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    /// A section: the defaults with everything that was said. Unknown keys and wrong types are refused, all at once.
    ///
    /// # Errors
    /// With every problem of the section.
    pub fn section<C: Serialize + DeserializeOwned + Default>(&self, name: &str) -> Result<C, BootError> {
        let defaults = Value::try_from(C::default()).map_err(|e| {
            BootError::config(name, "CONFIG_UNREADABLE", format!("the defaults can't be shown: {e}"))
        })?;
        let (mut whole, mut problems) = (defaults.clone(), Vec::new());
        let prefix = format!("{name}.");
        for (key, given) in self.given.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix))
        {
            let path = &key[prefix.len()..];
            // Each alone on the defaults first, so that one mistake does not hide the next.
            match fits::<C>(&defaults, path, &given.value) {
                Ok(value) => put(&mut whole, path, value),
                Err(message) => problems.push(problem(key, given.source, &message)),
            }
        }
        if !problems.is_empty() {
            return Err(BootError::Config(problems));
        }
        self.show(name, &whole);
        whole.try_into().map_err(|e: toml::de::Error| {
            BootError::config(name, "CONFIG_OUT_OF_RANGE", e.message().to_owned())
        })
    }

    /// Every setting read so far, `key = value  # source`, secrets masked.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = String::new();
        for (key, shown) in self.shown.lock().iter() {
            let masked = is_secret(key) && shown.value.as_str() != Some("");
            let value = if masked { "\"***\"".to_owned() } else { shown.value.to_string() };
            let _ = writeln!(out, "{key} = {value}  # {}", shown.source.name());
        }
        out
    }

    fn show(&self, name: &str, whole: &Value) {
        let mut shown = self.shown.lock();
        flatten(name, whole.clone(), &mut |key, value| {
            let source = self.given.get(&key).map_or(Source::Default, |given| given.source);
            shown.insert(key, Given { value, source });
        });
    }
}

/// `RUNSPINE_SERVER__LISTEN` is `server.listen`; a single underscore is part of a name.
fn environment_key(name: &str) -> Option<String> {
    if name == "GOVERNANCE_PROFILE" {
        return Some("profile.name".to_owned());
    }
    let rest = name.strip_prefix("RUNSPINE_")?;
    // The file itself is named by this one; what has no section is not a setting of the server.
    rest.contains("__").then(|| rest.to_ascii_lowercase().replace("__", "."))
}

fn unknown_section(key: &str, given: &Given) -> Option<ConfigProblem> {
    let section = key.split('.').next().unwrap_or_default();
    let known = SECTIONS.contains(&section) || section == SPINE;
    (!known || !key.contains('.')).then(|| problem(key, given.source, "no such section"))
}

fn problem(key: &str, source: Source, message: &str) -> ConfigProblem {
    let code = if message.contains("unknown") || message.contains("no such") {
        "CONFIG_UNKNOWN"
    } else {
        "CONFIG_OUT_OF_RANGE"
    };
    ConfigProblem::new(key, code, format!("{} (from {})", message.trim(), source.name()))
}

/// The value as the section takes it; a text that looks like a number is tried as text too.
fn fits<C: DeserializeOwned>(defaults: &Value, path: &str, value: &Value) -> Result<Value, String> {
    let mut first = None;
    for candidate in [value.clone(), Value::String(value.to_string())] {
        let mut trial = defaults.clone();
        put(&mut trial, path, candidate.clone());
        match trial.try_into::<C>() {
            Ok(_) => return Ok(candidate),
            Err(e) => first = first.or(Some(e.message().to_owned())),
        }
    }
    Err(first.unwrap_or_default())
}

fn put(target: &mut Value, path: &str, value: Value) {
    let (head, rest) = path.split_once('.').map_or((path, None), |(h, r)| (h, Some(r)));
    let Value::Table(table) = target else { return };
    match rest {
        None => {
            table.insert(head.to_owned(), value);
        }
        Some(rest) => put(table.entry(head).or_insert_with(|| Value::Table(Table::new())), rest, value),
    }
}

fn flatten(prefix: &str, value: Value, each: &mut dyn FnMut(String, Value)) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                flatten(&path, value, each);
            }
        }
        value => each(prefix.to_owned(), value),
    }
}

/// A number, flag or array when it reads as one, else the text itself.
fn parse(text: &str) -> Value {
    let table: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    table.ok().and_then(|mut t| t.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn is_secret(key: &str) -> bool {
    let secret: BTreeSet<&str> = BTreeSet::from(["key", "secret", "password", "token", "url"]);
    key.rsplit('.')
        .next()
        .is_some_and(|last| last.split('_').any(|word| secret.contains(word)) && !last.ends_with("_file"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Demo {
        name: String,
        size: u32,
        key: String,
        deep: Deep,
    }

    #[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Deep {
        on: bool,
    }

    impl Default for Demo {
        fn default() -> Self {
            Self { name: "x".into(), size: 1, key: String::new(), deep: Deep::default() }
        }
    }

    fn settings(env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, BootError> {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        Settings::collect(None, owned(env).into_iter(), &owned(flags))
    }

    #[test]
    fn flags_win_over_environment_over_defaults() -> Result<(), BootError> {
        let env =
            [("RUNSPINE_LOGS__SIZE", "2"), ("RUNSPINE_LOGS__DEEP__ON", "true"), ("RUNSPINE_LOGS__NAME", "7")];
        let found: Demo = settings(&env, &[("logs.size", "3")])?.section("logs")?;
        assert_eq!(found, Demo { name: "7".into(), size: 3, key: String::new(), deep: Deep { on: true } });
        Ok(())
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let all =
            [("logs.size", "many"), ("logs.siez", "1"), ("logs.deep.of", "true"), ("logs.name", "fine")];
        let found = settings(&[], &all).and_then(|s| s.section::<Demo>("logs"));
        let Err(BootError::Config(problems)) = found else { panic!("accepted") };
        let mut seen: Vec<_> = problems.iter().map(|p| (p.key.as_str(), p.code)).collect();
        seen.sort_unstable();
        let expected = [
            ("logs.deep.of", "CONFIG_UNKNOWN"),
            ("logs.siez", "CONFIG_UNKNOWN"),
            ("logs.size", "CONFIG_OUT_OF_RANGE"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn unknown_sections_are_refused() {
        for found in [settings(&[], &[("lgos.size", "1")]), settings(&[("RUNSPINE_LGOS__SIZE", "1")], &[])] {
            let found = found.and_then(|settings| crate::Deps::from_settings(settings).map(|_| ()));
            let Err(BootError::Config(problems)) = found else { panic!("accepted") };
            assert_eq!((problems[0].key.as_str(), problems[0].code), ("lgos.size", "CONFIG_UNKNOWN"));
        }
    }

    #[test]
    fn printing_names_sources_and_masks_secrets() -> Result<(), BootError> {
        let settings = settings(&[("RUNSPINE_LOGS__SIZE", "2")], &[("logs.key", "hush")])?;
        let _: Demo = settings.section("logs")?;
        let text = settings.print();
        assert!(
            text.contains("logs.size = 2  # environment") && text.contains("logs.name = \"x\"  # default")
        );
        assert!(text.contains("logs.key = \"***\"  # flag") && !text.contains("hush"), "{text}");
        Ok(())
    }
}
