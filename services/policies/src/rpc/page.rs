//! Pages: newest first by a key that only grows.

use runspine_errors::{Fault, Violations, mesh};
use runspine_types::{Digest, Hasher, PageSize, PageToken};

use crate::app::read::Page;

/// A page that was asked for.
pub(super) struct Asked {
    size: PageSize,
    query: Digest,
    key: Option<i64>,
}

/// Reads a page's size and token; `list` and `filter` are what a token is bound to.
pub(super) fn asked(list: &str, filter: &[u8], size: i32, token: &str) -> Result<Asked, Fault> {
    filtered(Violations::new(), list, filter, size, token)
}

/// The same for a filter of which `v` has what is wrong with it.
pub(super) fn filtered(
    mut v: Violations,
    list: &str,
    filter: &[u8],
    size: i32,
    token: &str,
) -> Result<Asked, Fault> {
    let fitting = PageSize::of(size);
    v.require(fitting.is_some(), "page_size", "OUT_OF_RANGE", "must not be negative");
    v.into_result(&mesh::FIELD_INVALID)?;
    let size = fitting.unwrap_or_default();
    let query = Hasher::new("runspine.policies.page.v1").sized(list.as_bytes()).sized(filter).finish();
    let wrong = |what: String| {
        Fault::new(&mesh::PAGE_TOKEN_MISMATCH, what.clone()).field("page_token", "PAGE_TOKEN_MISMATCH", what)
    };
    let key = match PageToken::decode(token, query).map_err(|e| wrong(e.to_string()))? {
        None => None,
        Some(key) => match key.first().and_then(|k| k.parse().ok()) {
            Some(key) => Some(key),
            None => return Err(wrong("the page token is malformed".to_owned())),
        },
    };
    Ok(Asked { size, query, key })
}

impl Asked {
    /// What the store is asked for: one row more tells whether another page follows.
    pub(super) fn page(&self) -> Page {
        Page { before: self.key, limit: self.size.probe() }
    }

    /// The key that a page in ascending order continues after.
    pub(super) fn after(&self) -> (i64, i64) {
        (self.key.unwrap_or(0), self.size.probe())
    }

    /// How much of a list in ascending order has to be at hand for the page.
    pub(super) fn reach(&self) -> usize {
        let (after, most) = self.after();
        usize::try_from(after.saturating_add(most)).unwrap_or(usize::MAX)
    }

    /// The page of a list that is at hand, whole and in its order.
    pub(super) fn cut_of<T>(&self, all: impl IntoIterator<Item = T>) -> (Vec<T>, String) {
        let (after, most) = self.after();
        let rows = (1_i64..).zip(all).filter(|(place, _)| *place > after);
        self.cut(rows.take(usize::try_from(most).unwrap_or(usize::MAX)).collect())
    }

    /// The rows of the page, and the token of the next.
    pub(super) fn cut<T>(&self, mut rows: Vec<(i64, T)>) -> (Vec<T>, String) {
        let token = self.size.cut(&mut rows, self.query, |(key, _)| vec![key.to_string()]);
        (rows.into_iter().map(|(_, row)| row).collect(), token)
    }
}
