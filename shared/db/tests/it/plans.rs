//! How PostgreSQL goes about statements.

use runspine_db::{AssertSqlSafe, Dialect, Tuples, args};
use runspine_testkit::{TestStore, on_both_engines};

use crate::schema::open;

on_both_engines! {
    async fn the_writer_finds_rows_by_their_keys_while_a_table_is_young(store: TestStore) {
        let db = open(&store).await;
        if db.dialect() == Dialect::Sqlite {
            return;
        }
        let plan: Vec<(String,)> = db.write("explain", |tx| Box::pin(async move {
            let mut names = Tuples::new(1);
            (0..500_i64).for_each(|n| names.push(args![format!("note {n}")]));
            let (list, args) = names.parts(tx.dialect()).next().unwrap();
            let sql = format!("EXPLAIN SELECT n.id FROM {list} AS w CROSS JOIN notes n WHERE n.name = w.column1");
            Ok(tx.fetch_all(AssertSqlSafe(sql), args).await?)
        })).await.unwrap();
        let plan: String = plan.into_iter().map(|(line,)| line + "\n").collect();
        assert!(plan.contains("Index Scan using notes_name_key"), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }

    async fn no_statement_is_compiled_or_shared_among_processes(store: TestStore) {
        let db = open(&store).await;
        if db.dialect() == Dialect::Sqlite {
            return;
        }
        for (setting, value) in [("jit", "off"), ("max_parallel_workers_per_gather", "0"), ("synchronous_commit", "on")] {
            let sql = format!("SELECT current_setting('{setting}')");
            let text = sql.clone();
            let written: (String,) = db.write("show", move |tx| Box::pin(async move {
                Ok(tx.fetch_one(AssertSqlSafe(text), args![]).await?)
            })).await.unwrap();
            let read: (String,) = db.read().fetch_one(AssertSqlSafe(sql), args![]).await.unwrap();
            assert_eq!((written.0.as_str(), read.0.as_str()), (value, value), "{setting}");
        }
    }
}
