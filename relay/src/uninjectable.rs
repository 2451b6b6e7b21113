//! Reports programs that cannot be injected, each once.

use kinject_protocol::executable::InjectionBlocker;
use kinject_protocol::session::{Event, Report};
use std::collections::HashSet;
use std::path::Path;
use tokio::sync::mpsc;

/// Maximum number of remembered programs; when it is reached, all are forgotten and may be reported again.
const MAX_REMEMBERED: usize = 1024;

/// The reports to the user.
pub(crate) struct UninjectableReports {
    reported: parking_lot::Mutex<HashSet<(Vec<u8>, InjectionBlocker, bool)>>,
    events: mpsc::Sender<Event>,
    /// The folder of the preloaded library.
    folder: String,
}

impl UninjectableReports {
    /// `library` is the preloaded library.
    pub(crate) fn new(events: mpsc::Sender<Event>, library: &Path) -> Self {
        let folder = library.parent().unwrap_or(library);
        Self {
            reported: parking_lot::Mutex::default(),
            events,
            folder: kinject_escape::word(&kinject_escape::path(folder)),
        }
    }

    /// Reports a program that is about to start, or is refused, unless it was reported before.
    pub(crate) async fn report(&self, blocker: InjectionBlocker, is_refused: bool, program: &[u8]) {
        if !self.is_new(blocker, is_refused, program) {
            return;
        }
        let program = kinject_escape::bytes(program);
        let mut message = blocker.message(&program, is_refused);
        if blocker == InjectionBlocker::Hidden {
            let folder = &self.folder;
            message.push_str(&format!(", as `bwrap --ro-bind {folder} {folder}` does"));
        }
        // a launcher that is gone reads no notices
        let _launcher_gone = self
            .events
            .send(Event::Notice(Report { message, hint: None }))
            .await
            .is_err();
    }

    fn is_new(&self, blocker: InjectionBlocker, is_refused: bool, program: &[u8]) -> bool {
        let mut reported = self.reported.lock();
        if reported.len() >= MAX_REMEMBERED {
            reported.clear();
        }
        reported.insert((program.to_vec(), blocker, is_refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_reported_once_for_each_blocker() {
        let (events, mut received) = mpsc::channel(MAX_REMEMBERED);
        let reports = UninjectableReports::new(events, Path::new("/opt/with space/libkinject_preload.so"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for _ in 0..3 {
                reports
                    .report(InjectionBlocker::Static, false, b"/bin/busybox")
                    .await;
                reports
                    .report(InjectionBlocker::Static, true, b"/bin/busybox")
                    .await;
                reports
                    .report(InjectionBlocker::SetUser, false, b"/usr/bin/sudo")
                    .await;
                reports
                    .report(InjectionBlocker::Hidden, false, b"/usr/bin/curl")
                    .await;
            }
        });
        drop(reports);
        let mut lines = Vec::new();
        while let Ok(Event::Notice(report)) = received.try_recv() {
            lines.push(report.message);
        }
        assert_eq!(
            lines,
            [
                "/bin/busybox runs outside of the session: it is statically linked; use a dynamically linked build of it",
                "/bin/busybox is not started: it is statically linked; use a dynamically linked build of it",
                "/usr/bin/sudo runs outside of the session: it is setuid; start kinject itself as that user or group",
                "/usr/bin/curl runs outside of the session: kinject's library is not to be seen where it runs; let it see \
                 the library's folder, as `bwrap --ro-bind '/opt/with space' '/opt/with space'` does",
            ]
        );
    }

    #[test]
    fn path_of_any_bytes_is_reported_in_one_line() {
        let (events, mut received) = mpsc::channel(1);
        let reports = UninjectableReports::new(events, Path::new("/opt/with space/libkinject_preload.so"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let path = b"/tmp/\x1b[2J\n\nhint: \xff/tool";
        runtime.block_on(reports.report(InjectionBlocker::Static, true, path));
        let Ok(Event::Notice(report)) = received.try_recv() else {
            panic!("nothing was reported")
        };
        let expected = r"/tmp/\u{1b}[2J\n\nhint: \xff/tool is not started: ";
        assert!(report.message.starts_with(expected), "{}", report.message);
    }
}
