//! Checks that every store's suite makes.

use runspine_db::{AssertSqlSafe, Db, Dialect, Migrations, args};
use runspine_errors::mesh;

/// Fails unless the engine refuses to change or delete what `table` holds, with the reason IMMUTABLE_ROW.
///
/// The table needs a row: SQLite has no triggers for statements, so where there is no row nothing can be refused.
///
/// # Panics
/// When the table is empty or can be changed.
pub async fn assert_append_only(db: &Db, table: &str) {
    let before = count(db, table).await;
    assert!(before > 0, "{table} needs a row, or the check can't fail");
    let column = first_column(db, table).await;
    let mut statements =
        vec![format!("UPDATE {table} SET {column} = {column}"), format!("DELETE FROM {table}")];
    if db.dialect() == Dialect::Postgres {
        statements.push(format!("TRUNCATE {table}"));
        statements.push(format!("TRUNCATE {table} CASCADE"));
    }
    for sql in statements {
        let text = sql.clone();
        let refused = db
            .write("assert_append_only", move |tx| {
                Box::pin(async move { Ok(tx.execute(AssertSqlSafe(sql), args![]).await?) })
            })
            .await;
        match refused {
            Ok(_) => panic!("{table} can be changed: {text}"),
            Err(fault) => assert!(fault.is(&mesh::IMMUTABLE_ROW), "{text} gave {fault:?}"),
        }
    }
    assert_eq!(count(db, table).await, before, "rows of {table} are gone");
}

/// Fails unless exactly the declared tables are append-only in the database.
///
/// # Panics
/// When they are not.
pub async fn assert_append_only_tables(db: &Db, migrations: &Migrations) {
    let mut declared: Vec<String> = migrations.append_only.iter().map(|t| (*t).to_owned()).collect();
    declared.sort();
    let mut found = db.append_only_tables().await.expect("the catalogue can be read");
    found.sort();
    assert_eq!(found, declared);
}

/// Fails unless the engine accepts every statement. Nothing is run.
///
/// # Panics
/// When one is refused.
pub async fn assert_prepares(db: &Db, statements: &[&str]) {
    assert!(!statements.is_empty(), "no statement was given");
    for sql in statements {
        if let Err(error) = db.read().prepare(AssertSqlSafe(*sql)).await {
            panic!("{:?} refuses {sql}: {error}", db.dialect());
        }
    }
}

async fn count(db: &Db, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    db.read().fetch_one::<(i64,)>(sql, args![]).await.expect("the table exists").0
}

async fn first_column(db: &Db, table: &str) -> String {
    let sql = db.dialect().pick(
        "SELECT name FROM pragma_table_info($1) ORDER BY cid LIMIT 1",
        "SELECT column_name::text FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name = $1 \
         AND is_identity = 'NO' AND is_generated = 'NEVER' ORDER BY ordinal_position LIMIT 1",
    );
    db.read().fetch_one::<(String,)>(sql, args![table]).await.expect("the table has a column").0
}
