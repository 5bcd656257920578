//! One line of a bundle. A line has one form only: what is not written exactly as it would be written is malformed, so
//! that no byte can change without a trace.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use runspine_types::Digest;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The section.
    pub s: String,
    /// Index in the section, from 0; in the last line the number of lines.
    pub n: u64,
    /// Type of the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<String>,
    /// The attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a: Option<u32>,
    /// The addendum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d: Option<u32>,
    /// The exact bytes, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<String>,
    /// The link, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l: Option<String>,
}

impl Line {
    /// The line with its line feed.
    pub fn write(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec(self).unwrap_or_default();
        out.push(b'\n');
        out
    }

    /// Reads a line with its line feed; `None` when it is not exactly what [`Line::write`] would write.
    pub fn read(text: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(text.strip_suffix(b"\n")?).ok()?;
        (line.write() == text).then_some(line)
    }

    /// Puts bytes into the line.
    pub fn with_bytes(mut self, bytes: &[u8]) -> Self {
        self.b = Some(STANDARD.encode(bytes));
        self
    }

    /// The bytes of the item; `None` when there are none or they are not base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.b.as_ref()?).ok()
    }

    /// The link; `None` when there is none or it is not 64 lower-case hex characters.
    pub fn link(&self) -> Option<Digest> {
        let text = self.l.as_ref()?;
        Digest::from_hex(text).filter(|digest| digest.to_hex() == *text)
    }
}
