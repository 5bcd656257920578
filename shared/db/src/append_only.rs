//! Tables that the engine itself keeps from being changed.
//!
//! SQLite has row triggers only, so an UPDATE or DELETE that meets no row passes without effect; PostgreSQL refuses the
//! statement whatever it meets, and TRUNCATE too. What SQLite calls REPLACE is refused as well, because the writer's
//! connection sets `recursive_triggers`.

use sqlx::AssertSqlSafe;

use crate::{DbError, Dialect, Read, args, conn::Conn, error::IMMUTABLE};

/// Installs the triggers that are missing. Idempotent.
pub(crate) async fn install(conn: &mut Conn, tables: &[&str]) -> Result<(), DbError> {
    if tables.is_empty() {
        return Ok(());
    }
    let mut sql = String::new();
    match conn.dialect() {
        Dialect::Sqlite => tables.iter().for_each(|table| sql.push_str(&sqlite(table))),
        Dialect::Postgres => {
            sql.push_str(&function());
            tables.iter().for_each(|table| sql.push_str(&postgres(table)));
        }
    }
    conn.raw(AssertSqlSafe(sql)).await
}

fn sqlite(table: &str) -> String {
    ["UPDATE", "DELETE"]
        .map(|verb| {
            let name = verb.to_ascii_lowercase();
            format!(
                "CREATE TRIGGER IF NOT EXISTS {table}_append_only_{name} BEFORE {verb} ON {table} \
                 BEGIN SELECT RAISE(ABORT, '{IMMUTABLE} {table}'); END;\n"
            )
        })
        .concat()
}

fn function() -> String {
    format!(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION '{IMMUTABLE} %', TG_TABLE_NAME USING ERRCODE = 'RS001'; END $$;\n"
    )
}

fn postgres(table: &str) -> String {
    format!(
        "CREATE OR REPLACE TRIGGER {table}_append_only_update BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} \
         FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\n"
    )
}

/// Lets rows of `table` be deleted until [`install`] is called again, at the latest by the next start. Both engines undo
/// it with the transaction that it is part of.
pub(crate) fn lift(dialect: Dialect, table: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("DROP TRIGGER IF EXISTS {table}_append_only_delete"),
        Dialect::Postgres => format!("DROP TRIGGER IF EXISTS {table}_append_only_update ON {table}"),
    }
}

pub(crate) async fn tables(read: &Read) -> Result<Vec<String>, DbError> {
    let sql = read.dialect().pick(
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' \
         AND name = tbl_name || '_append_only_update' ORDER BY tbl_name",
        "SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
         AND t.tgname = c.relname || '_append_only_update' AND t.tgenabled <> 'D' ORDER BY c.relname",
    );
    Ok(read.fetch_all::<(String,)>(sql, args![]).await?.into_iter().map(|(name,)| name).collect())
}
