//! Reads never wait for the writer, never write, and can see one state over several statements.

use runspine_db::{AssertSqlSafe, DbError, Tuples, args};
use runspine_testkit::{TestStore, assert_prepares, on_both_engines};

use crate::schema::{INSERT, names, open};

runspine_db::row! {
    #[derive(Debug, PartialEq)]
    struct Note {
        name: String,
        size: i64,
    }
}

on_both_engines! {
    async fn a_row_is_read_by_name_however_its_columns_are_listed(store: TestStore) {
        let db = open(&store).await;
        let write = db.write("add", |tx| Box::pin(async move {
            Ok(tx.execute(INSERT, args!["first", 7_i64]).await?)
        }));
        write.await.unwrap();
        let wanted = vec![Note { name: "first".to_owned(), size: 7 }];
        for sql in ["SELECT name, size FROM notes", "SELECT size, 1 AS other, name FROM notes"] {
            assert_eq!(db.read().fetch_all::<Note>(sql, args![]).await.unwrap(), wanted, "{sql}");
        }
        let missing = db.read().fetch_all::<Note>("SELECT name FROM notes", args![]).await;
        assert!(matches!(missing, Err(DbError::Column { .. })), "{missing:?}");
    }

    async fn one_statement_reads_several_lists(store: TestStore) {
        let db = open(&store).await;
        let write = db.write("add", |tx| Box::pin(async move {
            let rows = (0..5_i64).map(|n| args![format!("note {n}"), n]).collect();
            Ok(tx.insert_rows("notes", &["name", "size"], rows, "").await?)
        }));
        write.await.unwrap();
        let (mut by_name, mut by_size) = (Tuples::new(1), Tuples::new(1));
        ["note 0", "note 4", "no note"].into_iter().for_each(|name| by_name.push(args![name]));
        by_size.push(args![2_i64]);
        let (texts, args) = Tuples::together(vec![by_name, by_size]).unwrap_or_else(|_| panic!("too long"));
        let sql = format!(
            "SELECT name FROM notes WHERE name IN (SELECT column1 FROM {} AS w) \
             UNION ALL SELECT name FROM notes WHERE size IN (SELECT column1 FROM {} AS w) ORDER BY name",
            texts[0], texts[1]
        );
        let found: Vec<(String,)> = db.read().fetch_all(AssertSqlSafe(sql), args).await.unwrap();
        assert_eq!(found.into_iter().map(|f| f.0).collect::<Vec<_>>(), ["note 0", "note 2", "note 4"]);
        let mut long = Tuples::new(2);
        (0..20_000_i64).for_each(|n| long.push(args![n, n]));
        assert!(Tuples::together(vec![long]).is_err());
    }

    async fn a_snapshot_sees_one_state(store: TestStore) {
        let db = open(&store).await;
        let add = |name: &'static str| db.write("add", move |tx| Box::pin(async move {
            Ok(tx.execute(INSERT, args![name, 1_i64]).await?)
        }));
        add("first").await.unwrap();
        let mut snapshot = db.read().snapshot().await.unwrap();
        let count = "SELECT COUNT(*) FROM notes";
        assert_eq!(snapshot.fetch_one::<(i64,)>(count, args![]).await.unwrap().0, 1);
        add("second").await.unwrap();
        assert_eq!(snapshot.fetch_one::<(i64,)>(count, args![]).await.unwrap().0, 1);
        assert_eq!(db.read().fetch_one::<(i64,)>(count, args![]).await.unwrap().0, 2);
        drop(snapshot);
        assert_eq!(names(&db).await.len(), 2);
    }

    async fn the_reading_side_can_not_write(store: TestStore) {
        let db = open(&store).await;
        let written = db.read().fetch_all::<(i64,)>("DELETE FROM notes RETURNING size", args![]).await;
        assert!(matches!(written, Err(DbError::Engine(_))), "{written:?}");
    }

    async fn statements_can_be_checked(store: TestStore) {
        let db = open(&store).await;
        assert_prepares(&db, &[INSERT, "SELECT name FROM notes WHERE size = $1 AND name > $2"]).await;
        assert!(db.read().prepare("SELECT nothing FROM notes").await.is_err());
    }

    async fn a_failed_read_is_no_empty_list(store: TestStore) {
        let db = open(&store).await;
        assert!(db.read().fetch_all::<(i64,)>("SELECT missing FROM notes", args![]).await.is_err());
    }
}
