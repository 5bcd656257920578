//! Recorded agent runs: JSON Lines in the OpenAI chat format.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::Deserialize;

use crate::failure::Failure;

/// One recorded run.
#[derive(Debug, Clone, Deserialize)]
pub struct Recording {
    /// Its name.
    pub id: String,
    /// Who ran.
    pub agent: String,
    /// On which model.
    pub model: String,
    /// 1 when the task was done right, 0 when not.
    #[serde(default = "right")]
    pub reward: f64,
    /// The agent stops reporting after this many messages.
    #[serde(default)]
    pub crash_after_message: Option<usize>,
    /// The conversation.
    pub messages: Vec<Message>,
}

fn right() -> f64 {
    1.0
}

/// One message of a conversation.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Its text.
    #[serde(default)]
    pub content: Option<String>,
    /// Tools that the assistant calls.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
}

/// One call of a tool.
#[derive(Debug, Clone, Deserialize)]
pub struct ToolCall {
    /// Its id.
    pub id: String,
    /// The function.
    pub function: Function,
}

/// A function with its arguments as JSON text.
#[derive(Debug, Clone, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

impl Message {
    /// Characters that a model reads or writes for this message.
    pub fn size(&self) -> usize {
        let text = self.content.as_ref().map_or(0, |c| c.chars().count());
        let calls = self.tool_calls.iter().flatten();
        text + calls
            .map(|c| c.function.name.chars().count() + c.function.arguments.chars().count())
            .sum::<usize>()
    }

    /// What the message says, as bytes to be digested.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.content.clone().unwrap_or_default().into_bytes();
        for call in self.tool_calls.iter().flatten() {
            bytes.extend_from_slice(call.function.name.as_bytes());
            bytes.extend_from_slice(call.function.arguments.as_bytes());
        }
        bytes
    }
}

/// Tokens of a text by its length: 4 characters a token, rounded up.
pub fn tokens(characters: usize) -> i64 {
    i64::try_from(characters.div_ceil(4)).unwrap_or(i64::MAX)
}

/// A line that holds no run.
#[derive(Debug)]
pub struct BadLine {
    /// The file and the line's number, from 1.
    pub place: String,
    /// What is wrong.
    pub cause: String,
}

/// The runs of a file, and the lines that hold none.
pub fn read(path: &Path) -> Result<(Vec<Recording>, Vec<BadLine>), Failure> {
    let file = File::open(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let (mut runs, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let place = format!("{}:{}", path.display(), index + 1);
        match line {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => match parse(&line) {
                Ok(run) => runs.push(run),
                Err(cause) => bad.push(BadLine { place, cause }),
            },
            Err(e) => bad.push(BadLine { place, cause: e.to_string() }),
        }
    }
    Ok((runs, bad))
}

fn parse(line: &str) -> Result<Recording, String> {
    let run: Recording = serde_json::from_str(line).map_err(|e| e.to_string())?;
    if run.messages.is_empty() {
        return Err("the run has no messages".to_owned());
    }
    for call in run.messages.iter().flat_map(|m| m.tool_calls.iter().flatten()) {
        if let Err(e) = serde_json::from_str::<serde_json::Value>(&call.function.arguments) {
            return Err(format!("arguments of {} are no JSON: {e}", call.function.name));
        }
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_or_no_run_says_why() {
        let whole = r#"{"id":"a","agent":"x","model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        assert!(parse(whole).is_ok());
        for cut in 1..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(parse(r#"{"id":"a","agent":"x","model":"m","messages":[]}"#).is_err());
        let call = r#"{"id":"a","agent":"x","model":"m","messages":[{"role":"assistant",
            "tool_calls":[{"id":"c","function":{"name":"t","arguments":"{"}}]}]}"#;
        assert!(parse(call).unwrap_err().contains("arguments of t"));
    }

    #[test]
    fn four_characters_are_a_token() {
        assert_eq!([tokens(0), tokens(1), tokens(4), tokens(5)], [0, 1, 1, 2]);
    }
}
