//! The one suite that every catalog passes.

use catalog::{
    Catalog, CatalogError, ColumnDefinition, ColumnKind, DatabaseDefinition, MemoryCatalog, Object,
    ObjectKind, Options, OverlayCatalog, PrimaryKey, SqliteCatalog, TableDefinition, ViewDefinition,
    WatermarkDefinition,
};

fn table() -> Object {
    let physical = |name: &str, data_type: &str| ColumnDefinition {
        name: name.into(),
        kind: ColumnKind::Physical { data_type: data_type.into() },
        comment: Some(format!("about {name}")),
    };
    Object::Table(TableDefinition {
        columns: vec![
            physical("key-`s", "BIGINT NOT NULL"),
            ColumnDefinition {
                name: "p".into(),
                kind: ColumnKind::Metadata {
                    data_type: "INT".into(),
                    key: Some("partition".into()),
                    is_virtual: true,
                },
                comment: None,
            },
            ColumnDefinition {
                name: "pt".into(),
                kind: ColumnKind::Computed { expression: "PROCTIME()".into() },
                comment: None,
            },
            physical("ts", "TIMESTAMP(3)"),
        ],
        watermark: Some(WatermarkDefinition {
            column: "ts".into(),
            expression: "ts - INTERVAL '5' SECOND".into(),
        }),
        primary_key: Some(PrimaryKey::unnamed(vec!["key-`s".into()])),
        comment: Some("é;'".into()),
        partitioned_by: vec!["ts".into()],
        options: Options::from([("connector".into(), "kafka".into())]),
    })
}

fn view() -> Object {
    Object::View(ViewDefinition {
        query: "SELECT 1".into(),
        columns: vec![("a".into(), None)],
        comment: None,
        catalog: "c".into(),
        database: "d".into(),
    })
}

fn conforms(catalog: &dyn Catalog) {
    assert_eq!(catalog.databases().unwrap(), ["default_database"]);
    catalog.create_database("d2", DatabaseDefinition::default()).unwrap();
    assert!(matches!(
        catalog.create_database("d2", DatabaseDefinition::default()),
        Err(CatalogError::AlreadyExists { kind: ObjectKind::Database, .. })
    ));
    assert_eq!(catalog.databases().unwrap(), ["d2", "default_database"]);

    assert_eq!(catalog.object("d2", "t").unwrap(), None);
    catalog.create_object("d2", "t", table()).unwrap();
    catalog.create_object("d2", "T", view()).unwrap();
    assert_eq!(catalog.object("d2", "t").unwrap(), Some(table()));
    assert_eq!(
        catalog.create_object("d2", "T", table()),
        Err(CatalogError::AlreadyExists { kind: ObjectKind::View, name: "c.d2.T".into() })
    );
    assert_eq!(
        catalog.objects("d2").unwrap(),
        [("T".to_string(), ObjectKind::View), ("t".to_string(), ObjectKind::Table)]
    );
    catalog.replace_object("d2", "t", view()).unwrap();
    assert_eq!(catalog.object("d2", "t").unwrap(), Some(view()));

    for missing in [
        catalog.replace_object("d2", "none", view()),
        catalog.drop_object("d2", "none"),
        catalog.create_object("none", "t", view()),
        catalog.drop_database("none", false),
        catalog.objects("none").map(drop),
        catalog.database("none").map(drop),
    ] {
        assert!(matches!(missing, Err(CatalogError::NotFound { .. })), "{missing:?}");
    }
    assert!(matches!(catalog.drop_database("d2", false), Err(CatalogError::NotEmpty { .. })));
    catalog.drop_object("d2", "T").unwrap();
    catalog.drop_database("d2", true).unwrap();
    assert_eq!(catalog.object("d2", "t").unwrap(), None);
}

#[test]
fn memory_conforms() {
    conforms(&MemoryCatalog::new("c"));
}

#[test]
fn a_layer_over_another_conforms() {
    conforms(&OverlayCatalog::new(std::sync::Arc::new(MemoryCatalog::new("c"))));
}

#[test]
fn sqlite_conforms_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/catalog.db");
    conforms(&SqliteCatalog::open("c", &path).unwrap());

    SqliteCatalog::open("c", &path).unwrap().create_object("default_database", "t", table()).unwrap();
    let again = SqliteCatalog::open("c", &path).unwrap();
    assert_eq!(again.object("default_database", "t").unwrap(), Some(table()));
}

#[test]
fn two_processes_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let (a, b) = (SqliteCatalog::open("c", &path).unwrap(), SqliteCatalog::open("c", &path).unwrap());
    std::thread::scope(|scope| {
        for (catalog, prefix) in [(&a, "a"), (&b, "b")] {
            scope.spawn(move || {
                for i in 0..20 {
                    catalog.create_object("default_database", &format!("{prefix}{i}"), view()).unwrap();
                }
            });
        }
    });
    assert_eq!(a.objects("default_database").unwrap().len(), 40);
}

#[test]
fn a_damaged_or_newer_file_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(&path, "this is no database, whatever its name says ".repeat(50)).unwrap();
    let error = SqliteCatalog::open("c", &path).unwrap_err().to_string();
    assert!(error.contains("catalog.db"), "{error}");
}
