//! Multi-row inserts and the types of columns.

use runspine_db::{DbError, Value, ValueKind, args};
use runspine_testkit::{TestStore, on_both_engines};
use runspine_types::{Digest, Micros, hash};

use crate::schema::{names, open};

runspine_db::row! {
    #[derive(Debug, PartialEq)]
    struct NoteRow {
        name: String,
        size: Option<u32>,
        body: Option<Vec<u8>>,
        share: Option<f64>,
    }
}

const COLUMNS: [&str; 4] = ["name", "size", "body", "share"];

on_both_engines! {
    async fn every_kind_and_its_null_survives(store: TestStore) {
        let db = open(&store).await;
        db.write("insert", |tx| Box::pin(async move {
            let rows = vec![
                args!["a", None::<u32>, Some(&b"\x00\xff"[..]), 0.5],
                args!["b", Some(7_u32), None::<Vec<u8>>, None::<f64>],
            ];
            assert_eq!(tx.insert_rows("notes", &COLUMNS, rows, "").await?, 2);
            Ok(())
        })).await.unwrap();
        let sql = "SELECT name, size, body, share FROM notes ORDER BY name";
        let rows: Vec<NoteRow> = db.read().fetch_all(sql, args![]).await.unwrap();
        assert_eq!(rows, [
            NoteRow { name: "a".into(), size: None, body: Some(vec![0, 255]), share: Some(0.5) },
            NoteRow { name: "b".into(), size: Some(7), body: None, share: None },
        ]);
    }

    async fn any_number_of_rows_goes_in_once(store: TestStore) {
        let db = open(&store).await;
        for count in [0_usize, 1, 7, 8, 9, 37, 512, 513, 3_001] {
            let inserted = db.write("insert", move |tx| Box::pin(async move {
                let rows = (0..count).map(|n| args![format!("{count}-{n}"), n, &[1_u8][..], 1.0]).collect();
                let inserted = tx.insert_rows("notes", &COLUMNS, rows, "").await?;
                let again = (0..count).map(|n| args![format!("{count}-{n}"), n, &[1_u8][..], 1.0]).collect();
                let twice = tx.insert_rows("notes", &COLUMNS, again, "ON CONFLICT (name) DO NOTHING").await?;
                assert_eq!(twice, 0);
                Ok(inserted)
            })).await.unwrap();
            assert_eq!(inserted, count as u64);
        }
        assert_eq!(names(&db).await.len(), 4_088);
    }

    async fn inserted_rows_can_be_read_back(store: TestStore) {
        let db = open(&store).await;
        let mut found = db.write("insert", |tx| Box::pin(async move {
            let rows = (0..20).map(|n| args![format!("r{n:02}"), n as i64]).collect();
            Ok(tx.insert_rows_returning::<(i64, String)>("notes", &["name", "size"], rows, "", "id, name").await?)
        })).await.unwrap();
        found.sort();
        found.dedup_by_key(|(id, _)| *id);
        assert_eq!(found.len(), 20);
        assert_eq!(found[0].1, "r00");
    }

    /// The rows before the one that is refused go with it.
    async fn a_refused_row_takes_its_statement_with_it(store: TestStore) {
        let db = open(&store).await;
        let rows = || vec![args!["a", 1], args!["b", 2], args!["a", 3]];
        let alone = db.write("insert", move |tx| Box::pin(async move {
            let refused = tx.insert_rows("notes", &["name", "size"], rows(), "").await;
            assert!(matches!(refused, Err(DbError::Unique { .. })));
            Ok(())
        })).await;
        assert!(alone.is_err(), "a statement that failed spoils its operation");
        assert_eq!(names(&db).await, [""; 0]);
        db.write("insert", move |tx| Box::pin(async move {
            let part = tx.begin_part().await?;
            let refused = tx.insert_rows("notes", &["name", "size"], rows(), "").await;
            assert!(matches!(refused, Err(DbError::Unique { .. })));
            tx.end_part(part, false).await?;
            tx.insert_rows("notes", &["name", "size"], vec![args!["c", 1]], "").await?;
            Ok(())
        })).await.unwrap();
        assert_eq!(names(&db).await, ["c"]);
    }

    async fn what_no_column_can_hold_is_refused(store: TestStore) {
        let db = open(&store).await;
        let refused = db.write("insert", |tx| Box::pin(async move {
            let large = tx.execute(crate::schema::INSERT, args!["big", u64::MAX]).await;
            assert!(matches!(large, Err(DbError::Argument(_))));
            let short = tx.insert_rows("notes", &["name", "size"], vec![args!["one"]], "").await;
            assert!(matches!(short, Err(DbError::Argument(_))));
            Ok(())
        })).await;
        refused.unwrap();
        let row: Result<(i64,), _> = db.read().fetch_one("SELECT name FROM notes", args![]).await;
        assert!(matches!(row, Err(DbError::NoRow)));
    }

    async fn columns_are_read_as_what_they_are(store: TestStore) {
        let db = open(&store).await;
        let digest = hash(b"x");
        db.write("insert", move |tx| Box::pin(async move {
            tx.execute("INSERT INTO notes (name, size, body) VALUES ($1, $2, $3)", args!["d", Micros(-5), digest]).await?;
            Ok(())
        })).await.unwrap();
        let sql = "SELECT name, size, body FROM notes WHERE name = $1";
        let (_, at, body): (String, Micros, Digest) = db.read().fetch_one(sql, args!["d"]).await.unwrap();
        assert_eq!((at, body), (Micros(-5), digest));
        let negative = db.read().fetch_one::<(String, u32)>(sql, args!["d"]).await;
        assert!(matches!(negative, Err(DbError::Column { column, .. }) if column == "size"));
        let text = db.read().fetch_one::<(i64,)>(sql, args!["d"]).await;
        assert!(matches!(text, Err(DbError::Column { column, .. }) if column == "name"));
        let short = db.read().fetch_one::<(i64,)>("SELECT size FROM notes WHERE name = $1", args!["none"]).await;
        assert!(matches!(short, Err(DbError::NoRow)));
        let count: (u64,) = db.read().fetch_one("SELECT COUNT(*) FROM notes", args![]).await.unwrap();
        assert_eq!(count.0, 1);
    }
}

#[test]
fn nulls_have_a_kind() {
    assert_eq!(Value::from(None::<&str>), Value::Null(ValueKind::Text));
    assert_eq!(Value::from(Some(true)), Value::Int(1));
}
