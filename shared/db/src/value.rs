//! The closed set of argument types, so that one call site serves both engines.

use bytes::Bytes;
use runspine_types::{Digest, Micros};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use sqlx::{Arguments as _, postgres::PgArguments};

use crate::{Column, DbError};

/// The type of a value: PostgreSQL wants to know it for NULL too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `BIGINT`.
    Int,
    /// `DOUBLE PRECISION`.
    Real,
    /// `TEXT`.
    Text,
    /// `BLOB` or `BYTEA`.
    Bytes,
}

/// One argument of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL of a kind.
    Null(ValueKind),
    /// An integer, a flag (0 or 1) or a time in microseconds.
    Int(i64),
    /// A fraction.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// All values of one column, for [`Tuples`](crate::Tuples) and multi-row inserts on PostgreSQL; SQLite has no arrays.
    Column(Column),
    /// A value that no column can hold: the statement is refused with this explanation.
    Refused(&'static str),
}

/// The arguments of one statement, or one row of many.
pub type Args = Vec<Value>;

/// Makes [`Args`] out of anything that converts into [`Value`].
///
/// ```
/// use runspine_db::{Value, args};
/// assert_eq!(args![1_i64, "a", true], vec![Value::Int(1), Value::Text("a".into()), Value::Int(1)]);
/// ```
#[macro_export]
macro_rules! args {
    () => { ::std::vec::Vec::<$crate::Value>::new() };
    ($($value:expr),+ $(,)?) => { ::std::vec![$($crate::Value::from($value)),+] };
}

/// What kind a Rust type is stored as.
pub trait Stored: Into<Value> {
    /// The kind of its NULL.
    const KIND: ValueKind;
}

macro_rules! stored {
    ($($type:ty: $kind:ident, |$v:ident| $value:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($v: $type) -> Self { $value }
        }
        impl Stored for $type {
            const KIND: ValueKind = ValueKind::$kind;
        })*
    };
}

const TOO_LARGE: &str = "an unsigned integer is larger than the store can hold";

stored! {
    i64: Int, |v| Self::Int(v);
    i32: Int, |v| Self::Int(i64::from(v));
    u32: Int, |v| Self::Int(i64::from(v));
    u16: Int, |v| Self::Int(i64::from(v));
    u8: Int, |v| Self::Int(i64::from(v));
    u64: Int, |v| i64::try_from(v).map_or(Self::Refused(TOO_LARGE), Self::Int);
    usize: Int, |v| i64::try_from(v).map_or(Self::Refused(TOO_LARGE), Self::Int);
    bool: Int, |v| Self::Int(i64::from(v));
    Micros: Int, |v| Self::Int(v.0);
    f64: Real, |v| Self::Real(v);
    &str: Text, |v| Self::Text(v.to_owned());
    &String: Text, |v| Self::Text(v.clone());
    String: Text, |v| Self::Text(v);
    &[u8]: Bytes, |v| Self::Bytes(Bytes::copy_from_slice(v));
    Vec<u8>: Bytes, |v| Self::Bytes(Bytes::from(v));
    &Vec<u8>: Bytes, |v| Self::Bytes(Bytes::copy_from_slice(v));
    Bytes: Bytes, |v| Self::Bytes(v);
    &Bytes: Bytes, |v| Self::Bytes(v.clone());
    Digest: Bytes, |v| Self::Bytes(Bytes::copy_from_slice(v.as_bytes()));
    &Digest: Bytes, |v| Self::Bytes(Bytes::copy_from_slice(v.as_bytes()));
}

impl<T: Stored> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::KIND), Into::into)
    }
}

impl Value {
    /// Its kind; a refused value has none that matters.
    pub(crate) const fn kind(&self) -> ValueKind {
        match self {
            Self::Null(kind) => *kind,
            Self::Int(_) | Self::Refused(_) => ValueKind::Int,
            Self::Real(_) => ValueKind::Real,
            Self::Text(_) => ValueKind::Text,
            Self::Bytes(_) => ValueKind::Bytes,
            Self::Column(column) => column.kind(),
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null(_) => ValueRef::Null,
            Self::Int(v) => ValueRef::Integer(*v),
            Self::Real(v) => ValueRef::Real(*v),
            Self::Text(v) => ValueRef::Text(v.as_bytes()),
            Self::Bytes(v) => ValueRef::Blob(v),
            Self::Column(_) => {
                return Err(rusqlite::Error::ToSqlConversionFailure("SQLite has no arrays".into()));
            }
            Self::Refused(why) => return Err(rusqlite::Error::ToSqlConversionFailure((*why).into())),
        }))
    }
}

pub(crate) fn postgres(values: impl IntoIterator<Item = Value>) -> Result<PgArguments, DbError> {
    let mut args = PgArguments::default();
    for value in values {
        match value {
            Value::Null(ValueKind::Int) => args.add(None::<i64>),
            Value::Null(ValueKind::Real) => args.add(None::<f64>),
            Value::Null(ValueKind::Text) => args.add(None::<String>),
            Value::Null(ValueKind::Bytes) => args.add(None::<Vec<u8>>),
            Value::Int(v) => args.add(v),
            Value::Real(v) => args.add(v),
            Value::Text(v) => args.add(v),
            Value::Bytes(v) => args.add(v.as_ref()),
            Value::Column(column) => {
                column.bind(&mut args)?;
                continue;
            }
            Value::Refused(why) => return Err(DbError::Argument(why)),
        }
        .map_err(|_| DbError::Argument("an argument can't be encoded"))?;
    }
    Ok(args)
}
