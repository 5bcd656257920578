//! Typed access to the columns of a row; never panics.

use bytes::Bytes;
use runspine_types::{Digest, Micros};
use sqlx::{Column as _, Row as _, postgres::PgRow};

use crate::{DbError, copy::Copied};

/// One row of a result, where the engine holds it.
pub struct Row<'r>(pub(crate) Inner<'r>);

pub(crate) enum Inner<'r> {
    Sqlite {
        row: &'r rusqlite::Row<'r>,
        /// Whether the columns are those that the row is read as, in that order.
        in_order: bool,
    },
    Postgres(&'r PgRow),
    Copied(Copied<'r>),
}

/// Names a column: by its name or its place from 0.
pub trait ColumnIndex: Copy {
    /// The place of the column in `row`.
    ///
    /// # Errors
    /// When the row has no such column.
    fn place(self, row: &Row<'_>) -> Result<usize, DbError>;
}

impl ColumnIndex for usize {
    fn place(self, row: &Row<'_>) -> Result<usize, DbError> {
        if self < row.len() { Ok(self) } else { Err(missing(&self.to_string())) }
    }
}

impl ColumnIndex for &str {
    fn place(self, row: &Row<'_>) -> Result<usize, DbError> {
        let found = match &row.0 {
            Inner::Sqlite { row, .. } => row.as_ref().column_index(self).ok(),
            Inner::Postgres(r) => sqlx::ColumnIndex::index(&self, *r).ok(),
            Inner::Copied(_) => None,
        };
        found.ok_or_else(|| missing(self))
    }
}

fn missing(column: &str) -> DbError {
    DbError::Column { column: column.to_owned(), what: "no such column".to_owned() }
}

impl Row<'_> {
    /// The value of a column.
    ///
    /// # Errors
    /// When there is no such column, or it holds another type or an unexpected NULL.
    pub fn get<T: FromColumn>(&self, column: impl ColumnIndex) -> Result<T, DbError> {
        T::from_column(self, column.place(self)?)
    }

    /// The name of the column at `place`.
    fn name(&self, place: usize) -> Option<&str> {
        match &self.0 {
            Inner::Sqlite { row, .. } => row.as_ref().column_name(place).ok(),
            Inner::Postgres(row) => row.columns().get(place).map(|c| c.name()),
            Inner::Copied(_) => None,
        }
    }

    /// How many columns the row has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::Sqlite { row, .. } => row.as_ref().column_count(),
            Inner::Postgres(row) => row.len(),
            Inner::Copied(row) => row.len(),
        }
    }

    /// Whether the row has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An error about the column at `place`.
    #[must_use]
    pub fn wrong(&self, place: usize, what: impl Into<String>) -> DbError {
        let column = self.name(place).map_or_else(|| place.to_string(), str::to_owned);
        DbError::Column { column, what: what.into() }
    }

    /// A fraction, `None` for NULL.
    fn real(&self, place: usize) -> Result<Option<f64>, DbError> {
        match &self.0 {
            Inner::Sqlite { row, .. } => row.get(place).map_err(|error| self.wrong(place, error.to_string())),
            Inner::Postgres(row) => row.try_get(place).map_err(|error| self.wrong(place, error.to_string())),
            Inner::Copied(row) => {
                let real = |bytes: &[u8]| bytes.try_into().map(f64::from_be_bytes);
                row.field(place).map(real).transpose().map_err(|_| self.wrong(place, "is no fraction"))
            }
        }
    }

    /// Text where it lies, `None` for NULL.
    ///
    /// # Errors
    /// When the column holds another type.
    pub fn text(&self, place: usize) -> Result<Option<&str>, DbError> {
        match &self.0 {
            Inner::Sqlite { row, .. } => {
                let cell = row.get_ref(place).map_err(|error| self.wrong(place, error.to_string()))?;
                cell.as_str_or_null().map_err(|error| self.wrong(place, error.to_string()))
            }
            Inner::Postgres(row) => row.try_get(place).map_err(|error| self.wrong(place, error.to_string())),
            Inner::Copied(row) => {
                let text = row.field(place).map(std::str::from_utf8).transpose();
                text.map_err(|error| self.wrong(place, error.to_string()))
            }
        }
    }

    /// Bytes where they lie, `None` for NULL.
    ///
    /// # Errors
    /// When the column holds another type.
    pub fn blob(&self, place: usize) -> Result<Option<&[u8]>, DbError> {
        match &self.0 {
            Inner::Sqlite { row, .. } => {
                let cell = row.get_ref(place).map_err(|error| self.wrong(place, error.to_string()))?;
                cell.as_blob_or_null().map_err(|error| self.wrong(place, error.to_string()))
            }
            Inner::Postgres(row) => row.try_get(place).map_err(|error| self.wrong(place, error.to_string())),
            Inner::Copied(row) => Ok(row.field(place)),
        }
    }

    /// Integers of any width, and booleans, as `i64`.
    fn int(&self, place: usize) -> Result<Option<i64>, DbError> {
        let read = match &self.0 {
            Inner::Sqlite { row, .. } => {
                return row.get(place).map_err(|error| self.wrong(place, error.to_string()));
            }
            Inner::Copied(row) => {
                let int = row.field(place).map(|bytes| whole(bytes).ok_or("is no integer")).transpose();
                return int.map_err(|what| self.wrong(place, what));
            }
            Inner::Postgres(row) => match oid(row, place) {
                Some(INT4) => row.try_get::<Option<i32>, _>(place).map(|v| v.map(i64::from)),
                Some(INT2) => row.try_get::<Option<i16>, _>(place).map(|v| v.map(i64::from)),
                Some(BOOL) => row.try_get::<Option<bool>, _>(place).map(|v| v.map(i64::from)),
                _ => row.try_get::<Option<i64>, _>(place),
            },
        };
        read.map_err(|error| self.wrong(place, error.to_string()))
    }
}

/// Types of PostgreSQL other than `BIGINT` that an expression can have, by their fixed object ids.
const BOOL: u32 = 16;
const INT2: u32 = 21;
const INT4: u32 = 23;

fn oid(row: &PgRow, place: usize) -> Option<u32> {
    row.columns().get(place)?.type_info().oid().map(|oid| oid.0)
}

/// An integer as PostgreSQL sends it.
fn whole(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b] => Some(i16::from_be_bytes([a, b]).into()),
        [flag] => Some(flag.into()),
        _ => None,
    }
}

/// A type that a column can be read as.
pub trait FromColumn: Sized {
    /// The value at `place`, `None` for NULL.
    ///
    /// # Errors
    /// When the column holds another type.
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError>;

    /// The value at `place`.
    ///
    /// # Errors
    /// When the column holds another type or NULL.
    fn from_column(row: &Row<'_>, place: usize) -> Result<Self, DbError> {
        Self::from_nullable(row, place)?.ok_or_else(|| row.wrong(place, "is NULL"))
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        T::from_nullable(row, place).map(Some)
    }
}

impl FromColumn for i64 {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        row.int(place)
    }
}

macro_rules! narrow {
    ($($type:ty),*) => {$(
        impl FromColumn for $type {
            fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
                row.int(place)?
                    .map(|v| <$type>::try_from(v).map_err(|_| row.wrong(place, format!("{v} is out of range"))))
                    .transpose()
            }
        }
    )*};
}
narrow!(i32, u64, u32, u16, u8, usize);

impl FromColumn for f64 {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        row.real(place)
    }
}

impl FromColumn for String {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        Ok(row.text(place)?.map(str::to_owned))
    }
}

impl FromColumn for Vec<u8> {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        Ok(row.blob(place)?.map(<[u8]>::to_vec))
    }
}

impl FromColumn for bool {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        Ok(row.int(place)?.map(|v| v != 0))
    }
}

impl FromColumn for Micros {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        Ok(row.int(place)?.map(Self))
    }
}

impl FromColumn for Bytes {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        Ok(row.blob(place)?.map(Self::copy_from_slice))
    }
}

impl FromColumn for Digest {
    fn from_nullable(row: &Row<'_>, place: usize) -> Result<Option<Self>, DbError> {
        row.blob(place)?
            .map(|v| Self::from_slice(v).ok_or_else(|| row.wrong(place, "is not 32 bytes")))
            .transpose()
    }
}

/// Reads the columns of a row one after the other. A statement mostly lists them in the order in which they are read:
/// where that is known of all its rows no name is compared, and comparing one costs less than looking it up.
pub struct Fields<'r> {
    row: &'r Row<'r>,
    place: usize,
}

impl<'r> Fields<'r> {
    /// From the first column.
    #[must_use]
    pub const fn of(row: &'r Row<'r>) -> Self {
        Self { row, place: 0 }
    }

    /// The value of the column `name`.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn take<T: FromColumn>(&mut self, name: &str) -> Result<T, DbError> {
        let place = self.place;
        self.place += 1;
        let in_order = matches!(self.row.0, Inner::Sqlite { in_order: true, .. });
        if in_order || self.row.name(place) == Some(name) {
            T::from_column(self.row, place)
        } else {
            self.row.get(name)
        }
    }
}

/// A type that a row can be read as. Declare one with [`row!`](crate::row), or ask for a tuple.
pub trait FromRow: Sized + Send + 'static {
    /// The columns that [`Fields`] takes of the row, in their order; empty: it is not read so.
    const TAKEN: &'static [&'static str] = &[];

    /// Reads the row.
    ///
    /// # Errors
    /// When a column is missing or holds another type.
    fn from_row(row: &Row<'_>) -> Result<Self, DbError>;
}

macro_rules! tuples {
    ($($($name:ident $place:tt)+;)*) => {$(
        impl<$($name: FromColumn + Send + 'static),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row<'_>) -> Result<Self, DbError> {
                Ok(($(row.get::<$name>($place as usize)?,)+))
            }
        }
    )*};
}
tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
}

/// Declares a struct whose fields are columns of the same names, and lists them in `COLUMNS`.
///
/// ```
/// runspine_db::row! {
///     /// A rule as stored.
///     #[derive(Debug, Clone)]
///     pub struct RuleRow {
///         /// Its id.
///         pub id: String,
///         /// Its version.
///         pub version: u32,
///     }
/// }
/// assert_eq!(RuleRow::COLUMNS, "id, version");
/// ```
#[macro_export]
macro_rules! row {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident {
            $(#[$first_meta:meta])* $first_vis:vis $first:ident: $first_type:ty
            $(, $(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty)* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $(#[$first_meta])* $first_vis $first: $first_type,
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }
        impl $name {
            /// The columns in the order of the fields, for a select list.
            #[allow(dead_code)]
            $vis const COLUMNS: &'static str =
                concat!(stringify!($first) $(, ", ", stringify!($field))*);
        }
        impl $crate::FromRow for $name {
            const TAKEN: &'static [&'static str] = &[stringify!($first) $(, stringify!($field))*];

            fn from_row(row: &$crate::Row<'_>) -> ::std::result::Result<Self, $crate::DbError> {
                let mut fields = $crate::Fields::of(row);
                Ok(Self {
                    $first: fields.take(stringify!($first))?,
                    $($field: fields.take(stringify!($field))?,)*
                })
            }
        }
    };
}
