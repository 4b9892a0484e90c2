//! Tables in memory, and connectors that can be planned but not run.

use crate::config::Config;
use crate::connector::*;
use crate::error::{Error, Result};
use crate::plan::{ChangelogMode, NodeKind, StreamPlan};
use crate::planner::*;
use crate::sql::{CreateTable, SqlType, Statement, data_type::describe_type};
use crate::time::MockClock;
use arrow::datatypes::FieldRef;
use catalog::{ColumnDefinition, Object, PrimaryKey, TableDefinition, ViewDefinition, WatermarkDefinition};
use std::collections::BTreeMap;
use std::sync::Arc;

const TABLES: &str = "
    CREATE TABLE t (a INT, b BIGINT, s STRING, d DECIMAL(10, 2), ts TIMESTAMP(3), plain TIMESTAMP(3), pt AS PROCTIME(),
        WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'fake');
    CREATE TABLE sink (s STRING, b BIGINT) WITH ('connector' = 'fake');
    CREATE TABLE meta (part INT METADATA FROM 'partition' VIRTUAL, x BIGINT, x2 AS x * 2, `timestamp` BIGINT METADATA,
        ts AS CAST(CAST(x AS STRING) AS TIMESTAMP(3)), WATERMARK FOR ts AS ts) WITH ('connector' = 'fake', 'j' = 'w');
    CREATE TABLE nested (kind INT, bid ROW<auction BIGINT, price BIGINT, `time` TIMESTAMP(3), extra STRING>,
        person ROW<id BIGINT, name STRING>, ts AS CASE WHEN kind = 0 THEN bid.`time` END,
        WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH ('connector' = 'fake');
    CREATE TABLE rates (k STRING, b BIGINT, ts TIMESTAMP(3), PRIMARY KEY (k) NOT ENFORCED, WATERMARK FOR ts AS ts)
        WITH ('connector' = 'fake');
    CREATE TABLE badmeta (part INT METADATA FROM 'partitoin') WITH ('connector' = 'fake');
";

/// Tables, settings and a fake connector.
pub struct Bench {
    objects: BTreeMap<ObjectName, Object>,
    config: Config,
    connectors: ConnectorRegistry,
}

impl TableLookup for Bench {
    fn find(&self, parts: &[String]) -> Result<Option<(ObjectName, Object)>> {
        let name = ObjectName::resolve(parts, "default_catalog", "default_database");
        Ok(name.and_then(|n| self.objects.get(&n).map(|o| (n.clone(), o.clone()))))
    }

    fn names(&self) -> Vec<ObjectName> {
        self.objects.keys().cloned().collect()
    }
}

impl Bench {
    pub fn new() -> Self {
        let mut connectors = ConnectorRegistry::default();
        connectors.add(Arc::new(Fake));
        let mut bench = Self { objects: BTreeMap::new(), config: Config::default(), connectors };
        for piece in crate::sql::split(TABLES).unwrap() {
            match crate::sql::parse(&piece).unwrap() {
                Statement::CreateTable(create) => {
                    bench.add(&create.name.parts[0].clone(), Object::Table(define(*create)))
                }
                other => panic!("{other:?}"),
            }
        }
        let view = ViewDefinition {
            query: "SELECT a + 1 AS x FROM t WHERE a > 1".into(),
            columns: vec![("n".into(), None)],
            comment: None,
            catalog: "default_catalog".into(),
            database: "default_database".into(),
        };
        bench.add("v", Object::View(view));
        bench
    }

    fn add(&mut self, name: &str, object: Object) {
        self.objects.insert(ObjectName::new("default_catalog", "default_database", name), object);
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.config.set(key, value).unwrap();
    }

    pub fn planned(&self, sql: &str) -> Result<Planned> {
        let context = PlannerContext {
            tables: self,
            connectors: &self.connectors,
            config: &self.config,
            clock: Arc::new(MockClock::at(0)),
        };
        let pieces = crate::sql::split(sql)?;
        match crate::sql::parse(&pieces[0])? {
            Statement::Query(query) => plan_query(&query, &context, Arc::new(FakeSink { updates: true })),
            Statement::Insert(insert) => plan_inserts(&[insert], &context),
            Statement::StatementSet(inserts) => plan_inserts(&inserts, &context),
            other => panic!("{other:?}"),
        }
    }

    pub fn plan(&self, sql: &str) -> String {
        match self.planned(sql) {
            Ok(planned) => {
                check(&planned.stream);
                explain_stream(&planned.stream, true)
            }
            Err(e) => format!("!! {e}\n   hint: {}\n", e.hint().unwrap_or_default()),
        }
    }

    pub fn types(&self, sql: &str) -> String {
        match self.planned(sql) {
            Ok(p) => {
                p.schema.fields().iter().map(|f| format!("{} {}\n", f.name(), describe_type(f))).collect()
            }
            Err(e) => format!("!! {e}\n   hint: {}\n", e.hint().unwrap_or_default()),
        }
    }

    /// Message, place and hint.
    pub fn error(&self, sql: &str) -> String {
        match self.planned(sql) {
            Ok(planned) => format!("no error:\n{}", explain_stream(&planned.stream, false)),
            Err(e) => {
                let place = e.span().map_or_else(
                    || "nowhere".to_string(),
                    |s| format!("{}:{}-{}:{}", s.start.line, s.start.column, s.end.line, s.end.column),
                );
                format!("{:?} at {place}: {e}\n{}", e.kind(), e.hint().unwrap_or("no hint"))
            }
        }
    }

    pub fn source(&self, sql: &str) -> String {
        let planned = self.planned(sql).unwrap();
        let NodeKind::Source(source) = &planned.stream.nodes[0].kind else { panic!("no source") };
        format!("{:#?}", source)
    }

    /// What the reader is asked for.
    pub fn read(&self, sql: &str) -> String {
        let planned = self.planned(sql).unwrap();
        check(&planned.stream);
        let NodeKind::Source(source) = &planned.stream.nodes[0].kind else { panic!("no source") };
        let fields = source.projection.fields().iter();
        fields.map(|f| format!("{} {}\n", f.name(), SqlType::of(f))).collect()
    }

    /// The time to live of each join's and aggregate's inputs that hints set.
    pub fn ttl(&self, sql: &str) -> String {
        let planned = self.planned(sql).unwrap_or_else(|e| panic!("{e}: {sql}"));
        let nodes = planned.stream.nodes.iter().filter_map(|n| match &n.kind {
            NodeKind::RegularJoin(join) => Some(format!("join {:?}", join.ttl_ms)),
            NodeKind::GroupAggregate(aggregate) => Some(format!("aggregate {:?}", aggregate.ttl_ms)),
            _ => None,
        });
        nodes.collect::<Vec<_>>().join(", ")
    }

    pub fn ids(&self, sql: &str) -> Vec<String> {
        self.planned(sql).unwrap().stream.nodes.iter().map(|n| n.operator_id.0.clone()).collect()
    }
}

/// What every plan must be.
fn check(plan: &StreamPlan) {
    for (index, node) in plan.nodes.iter().enumerate() {
        assert_eq!(node.id.0, index);
        for edge in &node.inputs {
            assert!(edge.from.0 < index, "inputs come first");
            let from = &plan.nodes[edge.from.0];
            if edge.partitioning == crate::plan::Partitioning::Forward {
                assert_eq!(from.parallelism, node.parallelism, "{}", node.name);
            }
        }
        if let NodeKind::Calc(calc) = &node.kind {
            let input = &plan.nodes[node.inputs[0].from.0].schema;
            assert_eq!(calc.projection.len(), node.schema.fields().len());
            for (expr, field) in calc.projection.iter().zip(node.schema.fields()) {
                assert_eq!(
                    expr.data_type(input).unwrap(),
                    *field.data_type(),
                    "{} of {}",
                    field.name(),
                    node.name
                );
            }
        }
        if let NodeKind::Union = &node.kind {
            for edge in &node.inputs {
                let input = &plan.nodes[edge.from.0].schema;
                let types =
                    |s: &SchemaRef| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
                assert_eq!(types(input), types(&node.schema));
            }
        }
    }
    let ids: std::collections::BTreeSet<_> = plan.nodes.iter().map(|n| &n.operator_id).collect();
    assert_eq!(ids.len(), plan.nodes.len(), "operator ids are unique");
}

fn define(create: CreateTable) -> TableDefinition {
    TableDefinition {
        columns: create
            .columns
            .into_iter()
            .map(|c| ColumnDefinition { name: c.name, kind: c.kind, comment: c.comment })
            .collect(),
        watermark: create.watermark.map(|(column, expression, _)| WatermarkDefinition { column, expression }),
        primary_key: create.primary_key.map(|(_, columns)| PrimaryKey::unnamed(columns)),
        comment: create.comment,
        partitioned_by: create.partitioned_by,
        options: create.options,
    }
}

struct Fake;

impl Connector for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn options(&self) -> Vec<OptionHelp> {
        Vec::new()
    }

    fn source(&self, table: &TableContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(FakeSource { options: format!("{:?}", table.options) }))
    }

    fn sink(&self, _: &TableContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FakeSink { updates: false }))
    }
}

fn metadata(readable: bool) -> Vec<(String, FieldRef)> {
    let mut keys = vec![("timestamp", SqlType::TimestampLtz(3).to_field("timestamp", false))];
    if readable {
        keys.push(("partition", SqlType::Int.to_field("partition", false)));
    }
    keys.into_iter().map(|(k, f)| (k.to_string(), Arc::new(f))).collect()
}

#[derive(Debug)]
struct FakeSource {
    #[allow(dead_code, reason = "printed")]
    options: String,
}

impl Source for FakeSource {
    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        metadata(true)
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn enumerator(&self, _: &SourceContext) -> Result<Box<dyn Enumerator>> {
        Err(Error::internal("a fake"))
    }

    fn reader(&self, _: ReaderContext) -> Result<Box<dyn Reader>> {
        Err(Error::internal("a fake"))
    }
}

#[derive(Debug)]
struct FakeSink {
    updates: bool,
}

impl Sink for FakeSink {
    fn accepts(&self) -> ChangelogMode {
        if self.updates { ChangelogMode::RETRACT } else { ChangelogMode::APPEND }
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        metadata(false)
    }

    fn describe(&self) -> String {
        "fake".into()
    }

    fn writer(&self, _: WriterContext) -> Result<Box<dyn Writer>> {
        Err(Error::internal("a fake"))
    }
}
