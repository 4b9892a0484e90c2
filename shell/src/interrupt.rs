//! `Interrupt`: Ctrl-C and SIGTERM as a flag that running queries look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Exit code after a second Ctrl-C, the usual 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Whether the user wants the running statement to stop. A second Ctrl-C before that was seen ends the process.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    unseen: Arc<AtomicU32>,
}

impl Interrupt {
    /// Starts to listen.
    pub fn listen(runtime: &tokio::runtime::Handle) -> Self {
        let interrupt = Self::default();
        let ctrl_c = interrupt.clone();
        runtime.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                ctrl_c.asked.store(true, Ordering::SeqCst);
                if ctrl_c.unseen.fetch_add(1, Ordering::SeqCst) >= 1 {
                    std::process::exit(EXIT_INTERRUPTED);
                }
            }
        });
        let terminate = interrupt.clone();
        runtime.spawn(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut signals) = signal(SignalKind::terminate()) else { return };
            while signals.recv().await.is_some() {
                terminate.terminate.store(true, Ordering::SeqCst);
                terminate.asked.store(true, Ordering::SeqCst);
            }
        });
        interrupt
    }

    /// Asks the running statement to stop, as Ctrl-C does.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Whether the running statement shall stop.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether the whole process shall stop, not only the statement.
    pub fn is_termination(&self) -> bool {
        self.terminate.load(Ordering::SeqCst)
    }

    /// A new statement begins: earlier requests are forgotten.
    pub fn reset(&self) {
        self.asked.store(self.is_termination(), Ordering::SeqCst);
        self.unseen.store(0, Ordering::SeqCst);
    }
}
