//! `nexmark-events N FILES ROOT` writes N Nexmark events below ROOT and prints the folder.

use benches::generator;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [events, files, root] = &arguments[..] else {
        eprintln!("Usage: nexmark-events EVENTS FILES ROOT");
        return ExitCode::FAILURE;
    };
    let (Ok(events), Ok(files)) = (events.parse(), files.parse()) else {
        eprintln!("EVENTS and FILES are whole numbers.");
        return ExitCode::FAILURE;
    };
    match generator::events(Path::new(root), events, files) {
        Ok(folder) => {
            println!("{}", folder.display());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{root}: {e}");
            ExitCode::FAILURE
        }
    }
}
