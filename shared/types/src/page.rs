//! Pages after AIP-158: a size with a default and a maximum, and an opaque token that carries the last key.

use serde::{Deserialize, Serialize};

use crate::Digest;

const DEFAULT: u32 = 50;

/// How many rows a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u32);

impl Default for PageSize {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl PageSize {
    /// Default 50, maximum 500: 0 asks for the default, more than the maximum gets the maximum. `None` when negative.
    #[must_use]
    pub fn of(requested: i32) -> Option<Self> {
        Self::within(requested, DEFAULT, 500)
    }

    /// The same with other numbers.
    #[must_use]
    pub fn within(requested: i32, default: u32, maximum: u32) -> Option<Self> {
        match u32::try_from(requested).ok()? {
            0 => Some(Self(default)),
            n => Some(Self(n.min(maximum))),
        }
    }

    /// Rows on the page.
    #[must_use]
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }

    /// Rows to ask the store for: one more tells whether another page follows.
    #[must_use]
    pub fn probe(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// Cuts off the row that was read to learn whether another page follows, and gives the token behind the last one
    /// that stays; empty when this is the last page. `query` is a digest of filter and order.
    pub fn cut<T>(self, rows: &mut Vec<T>, query: Digest, key: impl FnOnce(&T) -> Vec<String>) -> String {
        let size = usize::try_from(self.0).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        rows.last().map(|last| PageToken::encode(query, key(last))).unwrap_or_default()
    }
}

/// A token that can't be read, or that belongs to another list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageTokenError {
    /// It is not one of ours.
    #[error("the page token is malformed")]
    Malformed,
    /// It was given for another filter or order.
    #[error("the page token was given for another filter or order")]
    Mismatch,
}

/// Where the last page ended: the key of its last row, bound to the filter and order it was read with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageToken {
    #[serde(rename = "q")]
    query: String,
    #[serde(rename = "k")]
    key: Vec<String>,
}

impl PageToken {
    /// Text of a token that continues after `key` in the list that `query` (a digest of filter and order) names.
    #[must_use]
    pub fn encode(query: Digest, key: Vec<String>) -> String {
        let token = Self { query: query.to_hex()[..16].to_owned(), key };
        hex::encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// The key to continue after; `None` for the first page.
    ///
    /// # Errors
    /// When the token is malformed or was given for another list.
    pub fn decode(text: &str, query: Digest) -> Result<Option<Vec<String>>, PageTokenError> {
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = hex::decode(text).map_err(|_| PageTokenError::Malformed)?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| PageTokenError::Malformed)?;
        if token.query != query.to_hex()[..16] {
            return Err(PageTokenError::Mismatch);
        }
        Ok(Some(token.key))
    }
}
