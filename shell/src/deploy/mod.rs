//! `runnel deploy`: checks a script by the rules, plans it, and gives it to a server.

mod rules;

use crate::args::{Args, Deploy};
use crate::render::error::Source;
use crate::script::Failed;
use crate::{host, jobs, render, script, wiring};
use engine::sql::Piece;
use engine::{Error, Session};
use server::model::{Carried, Definition, Statement};
use server::{child, model, restart};

/// Does it.
pub fn run(args: &Args, words: &Deploy) -> Result<(), Failed> {
    let origin = words.file.display().to_string();
    let text = script::read(&words.file)?;
    let text = script::substitute(&text, &args.define.iter().cloned().collect());
    let shown = |e: Error| {
        render::error::print(&e, Some(Source { origin: &origin, text: &text }));
        Failed::Shown
    };
    let read = rules::check(&text, words.strict).map_err(shown)?;
    let planner = wiring::Planner::new(args)?;
    let (definition, plan) = plan(args, words, &text, &read, planner).map_err(shown)?;
    for notice in &read.notices {
        eprintln!("note: {notice}");
    }
    for carried in &definition.objects {
        eprintln!(
            "note: {}.{} is taken from your catalog as it is now; later changes there do not reach the job.",
            carried.database, carried.name
        );
    }
    if words.check {
        println!("{plan}");
        println!("The script keeps the rules and can be deployed as the job {}.", definition.name);
        return Ok(());
    }
    let client = host::find_or_start(&words.server)?;
    let deploy = model::Deploy {
        definition,
        from_savepoint: words.from_savepoint.clone(),
        update: words.update,
        fresh: words.fresh,
    };
    let deployed = client.deploy(&deploy)?;
    if let Some(path) = &deployed.savepoint {
        println!("The job that ran under this name was stopped with the savepoint {path}.");
    }
    jobs::wait_until_it_runs(&client, &deployed.id)
}

/// Plans the script as the job will: definitions are executed over a layer that touches no catalog.
fn plan(
    args: &Args,
    words: &Deploy,
    text: &str,
    read: &rules::Script,
    planner: wiring::Planner,
) -> engine::Result<(Definition, String)> {
    let wiring::Planner { mut session, catalog, .. } = planner;
    let settings: std::collections::BTreeMap<String, String> =
        args.define.iter().filter(|(k, _)| engine::Config::is_known(k)).cloned().collect();
    for (key, value) in child::DEFAULTS {
        session.config_mut().set(key, value)?;
    }
    for (key, value) in &settings {
        session.config_mut().set(key, value)?;
    }
    for piece in &read.definitions {
        session.execute(piece)?;
    }
    if let Some(parallelism) = words.parallelism {
        session.config_mut().set("parallelism.default", &parallelism.to_string())?;
    }
    let plan = session.plan_together(&read.inserts).map_err(|e| placed(e, &read.inserts))?;
    let effective = session.config().entries().filter(|(k, _)| restart::concerns(k));
    let definition = Definition {
        name: name(words, &session),
        origin: words.file.display().to_string(),
        directory: std::env::current_dir().map_or_else(|_| "/".to_string(), |d| d.display().to_string()),
        script: text.to_string(),
        statements: read.definitions.iter().map(statement).collect(),
        inserts: read.inserts.iter().map(statement).collect(),
        effective: effective.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        settings,
        parallelism: words.parallelism.map(usize::from),
        memory: words.memory.or(args.memory),
        objects: catalog
            .used()
            .into_iter()
            .map(|(database, name, object)| Carried { database, name, object })
            .collect(),
    };
    Ok((definition, plan))
}

/// An error without a place is at the only INSERT.
fn placed(e: Error, inserts: &[Piece]) -> Error {
    match inserts {
        [only] if e.span().is_none() => e.at(only.span),
        _ => e,
    }
}

fn name(words: &Deploy, session: &Session) -> String {
    let from_script = || session.config().get("pipeline.name").map(String::from);
    let from_file = || words.file.file_stem().map(|s| s.to_string_lossy().into_owned());
    words.name.clone().or_else(from_script).or_else(from_file).unwrap_or_default()
}

fn statement(piece: &Piece) -> Statement {
    Statement { text: piece.text.clone(), line: piece.span.start.line, column: piece.span.start.column }
}
