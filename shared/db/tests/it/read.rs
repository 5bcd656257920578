//! Reads never wait for the writer, never write, and can see one state over several statements.

use std::time::Duration;

use runspine_db::{AssertSqlSafe, DbError, Dialect, Row, Tuples, args};
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
        let (texts, args) = Tuples::together(vec![by_name, by_size], db.dialect()).unwrap_or_else(|_| panic!("too long"));
        let sql = format!(
            "SELECT name FROM notes WHERE name IN (SELECT column1 FROM {} AS w) \
             UNION ALL SELECT name FROM notes WHERE size IN (SELECT column1 FROM {} AS w) ORDER BY name",
            texts[0], texts[1]
        );
        let found: Vec<(String,)> = db.read().fetch_all(AssertSqlSafe(sql), args).await.unwrap();
        assert_eq!(found.into_iter().map(|f| f.0).collect::<Vec<_>>(), ["note 0", "note 2", "note 4"]);
    }

    async fn a_list_of_any_length_is_looked_up(store: TestStore) {
        let db = open(&store).await;
        let write = db.write("add", |tx| Box::pin(async move {
            let rows = (0..9_i64).map(|n| args![format!("note {n}"), n]).collect();
            Ok(tx.insert_rows("notes", &["name", "size"], rows, "").await?)
        }));
        write.await.unwrap();
        let list = |length: i64| {
            let mut list = Tuples::new(2);
            let name = |n: i64| (n % 2 == 0).then(|| format!("note {n}"));
            (0..length).for_each(|n| list.push(args![name(n), n]));
            list
        };
        let mut found: Vec<(i64,)> = Vec::new();
        for (table, args) in list(600).parts(db.dialect()) {
            let sql = format!(
                "SELECT DISTINCT n.size FROM {table} AS w CROSS JOIN notes n \
                 WHERE n.name = w.column1 AND n.size = w.column2"
            );
            found.extend(db.read().fetch_all::<(i64,)>(AssertSqlSafe(sql), args).await.unwrap());
        }
        found.sort_unstable();
        assert_eq!(found, [(0,), (2,), (4,), (6,), (8,)], "NULL equals nothing");
        // SQLite binds as many arguments to a statement at most.
        assert_eq!(Tuples::together(vec![list(20_000)], db.dialect()).is_err(), db.dialect() == Dialect::Sqlite);
        let mut wrong = Tuples::new(1);
        wrong.push(args![u64::MAX]);
        for (list, args) in wrong.parts(db.dialect()) {
            let sql = format!("SELECT w.column1 FROM {list} AS w");
            let refused = db.read().fetch_all::<(i64,)>(AssertSqlSafe(sql), args).await;
            assert!(matches!(refused, Err(DbError::Argument(_) | DbError::Engine(_))), "{refused:?}");
        }
    }

    async fn a_fold_reads_rows_where_they_lie(store: TestStore) {
        let db = open(&store).await;
        let write = db.write("add", |tx| Box::pin(async move {
            let body = |n: i64| (n % 3 > 0).then(|| vec![0_u8; n as usize]);
            let rows = (0..1_000_i64).map(|n| args![format!("nöte {n}"), n, body(n), 0.5]).collect();
            Ok(tx.insert_rows("notes", &["name", "size", "body", "share"], rows, "").await?)
        }));
        write.await.unwrap();
        type Seen = Vec<(String, i64, Option<usize>, f64)>;
        let sql = "SELECT name, size, body, share, 1 = 1 FROM notes WHERE size > $1 ORDER BY size LIMIT $2";
        let each = |seen: &mut Seen, row: &Row<'_>| {
            assert!(row.get::<bool>(4)?);
            let name = row.text(0)?.unwrap_or_default().to_owned();
            seen.push((name, row.get(1)?, row.blob(2)?.map(<[u8]>::len), row.get(3)?));
            Ok(())
        };
        let fold = async |after: i64| db.read().fold(sql, &[after, 300], Seen::new(), each).await;
        let seen = fold(-1).await.unwrap();
        assert_eq!(seen.len(), 300);
        assert_eq!(seen[6..8], [("nöte 6".to_owned(), 6, None, 0.5), ("nöte 7".to_owned(), 7, Some(7), 0.5)]);
        assert_eq!(fold(998).await.unwrap().len(), 1);
        assert_eq!(fold(999).await.unwrap(), []);
        // What ends in the middle, or never begins, spoils no connection for those that follow.
        for _ in 0..8 {
            let spoilt = db.read().fold(sql, &[-1, 900], 0, |_, row| Err(row.wrong(0, "is enough"))).await;
            assert!(matches!(spoilt, Err(DbError::Column { .. })), "{spoilt:?}");
            let missing = db.read().fold("SELECT nothing FROM notes", &[], 0, |_, _| Ok(())).await;
            assert!(missing.is_err());
            let left = tokio::time::timeout(Duration::ZERO, fold(-1)).await;
            drop(left);
            assert_eq!(fold(900).await.unwrap().len(), 99);
        }
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
