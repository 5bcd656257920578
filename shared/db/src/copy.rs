//! Long reads of PostgreSQL: rows as a binary COPY sends them, read where they lie. What a driver makes of each row of a
//! query costs more than checking a link of a trace.

use std::ops::Range;

use futures::TryStreamExt as _;
use sqlx::{PgPool, pool::PoolConnection, postgres::Postgres};

use crate::{DbError, Row, row::Inner};

/// What a binary copy begins with, before its flags and the length of what extends its header.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Length of the header when nothing extends it.
const HEADER: usize = SIGNATURE.len() + 8;
/// The number of fields that says that there are no more rows.
const END: i16 = -1;

/// One row: its bytes, and where in them its fields lie.
pub(crate) struct Copied<'r> {
    data: &'r [u8],
    fields: &'r [Option<Range<usize>>],
}

impl<'r> Copied<'r> {
    pub(crate) const fn len(&self) -> usize {
        self.fields.len()
    }

    /// The bytes of a field; `None` for NULL, and where there is no field.
    pub(crate) fn field(&self, place: usize) -> Option<&'r [u8]> {
        self.data.get(self.fields.get(place)?.clone()?)
    }
}

/// A connection that copies. What it still sends would be taken for the answer to the next statement, so it is closed
/// when the copy is not read to its end.
struct Copying {
    conn: PoolConnection<Postgres>,
    ended: bool,
}

impl Drop for Copying {
    fn drop(&mut self) {
        if !self.ended {
            self.conn.close_on_drop();
        }
    }
}

/// Folds the rows of `sql` with these `keys` into `state`.
pub(crate) async fn fold<S>(
    pool: &PgPool,
    (sql, keys): (&str, &[i64]),
    state: &mut S,
    each: impl Fn(&mut S, &Row<'_>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut copying = Copying { conn: pool.acquire().await?, ended: false };
    {
        let mut messages = copying.conn.copy_out_raw(&statement(sql, keys)).await?;
        let (mut fields, mut first) = (Vec::new(), true);
        while let Some(message) = messages.try_next().await? {
            let mut data = message.as_ref();
            if std::mem::take(&mut first) {
                data = rows_of(data).ok_or(MALFORMED)?;
            }
            match split(data, &mut fields).ok_or(MALFORMED)? {
                Message::Row => each(state, &Row(Inner::Copied(Copied { data, fields: &fields })))?,
                Message::End => {}
            }
        }
    }
    copying.ended = true;
    Ok(())
}

const MALFORMED: DbError = DbError::Unavailable("a copy is malformed");

/// A copy takes no arguments. Integers can stand in its text.
fn statement(sql: &str, keys: &[i64]) -> String {
    let mut sql = sql.to_owned();
    // From the last, so that $1 is not found in $10.
    for (place, key) in keys.iter().enumerate().rev() {
        sql = sql.replace(&format!("${}", place + 1), &format!("({key})::BIGINT"));
    }
    format!("COPY ({sql}) TO STDOUT (FORMAT binary)")
}

/// What follows the header of a copy.
fn rows_of(data: &[u8]) -> Option<&[u8]> {
    data.strip_prefix(SIGNATURE)?;
    data.get(HEADER..)
}

enum Message {
    Row,
    End,
}

/// Finds the fields of a row, or that there are no more rows; `None`: it is neither.
fn split(data: &[u8], fields: &mut Vec<Option<Range<usize>>>) -> Option<Message> {
    let count = i16::from_be_bytes(*data.first_chunk()?);
    if count == END {
        return Some(Message::End);
    }
    fields.clear();
    let mut at = 2;
    for _ in 0..count {
        let length = i32::from_be_bytes(*data.get(at..)?.first_chunk()?);
        at += 4;
        // A negative length is NULL.
        fields.push(usize::try_from(length).ok().map(|length| at..at + length));
        at = fields.last()?.as_ref().map_or(at, |field| field.end);
    }
    (at == data.len()).then_some(Message::Row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_their_lengths_say() {
        let row = [&[0, 3][..], &[0, 0, 0, 2, 7, 8], &[255; 4], &[0, 0, 0, 0]].concat();
        let mut fields = vec![None];
        assert!(matches!(split(&row, &mut fields), Some(Message::Row)));
        let copied = Copied { data: &row, fields: &fields };
        assert_eq!(
            (0..4).map(|n| copied.field(n)).collect::<Vec<_>>(),
            [Some(&[7, 8][..]), None, Some(&[][..]), None]
        );
        assert!(matches!(split(&[255, 255], &mut fields), Some(Message::End)));
        for cut in 0..row.len() {
            assert!(split(&row[..cut], &mut fields).is_none(), "{cut} bytes are no row");
        }
    }

    #[test]
    fn keys_stand_in_the_text() {
        let keys: Vec<i64> = (0..10).map(|n| n - 5).collect();
        assert_eq!(
            statement("SELECT $1, $10 WHERE $2 > 1", &keys),
            "COPY (SELECT (-5)::BIGINT, (4)::BIGINT WHERE (-4)::BIGINT > 1) TO STDOUT (FORMAT binary)"
        );
    }
}
