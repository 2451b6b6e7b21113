//! A pseudo terminal whose output tests read and into which they type.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cluster::wait_for;
use crate::running::ignore_no_signal;

/// How long the terminal may take to show the expected text.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Ctrl-C, as the terminal sends it.
pub const CTRL_C: &str = "\x03";
/// Ctrl-D.
pub const CTRL_D: &str = "\x04";
/// Ctrl-Z.
pub const CTRL_Z: &str = "\x1a";
/// Ctrl-\.
pub const CTRL_BACKSLASH: &str = "\x1c";

/// A terminal in which a program runs.
#[derive(Debug)]
pub struct Terminal {
    window: Option<Window>,
    screen: Arc<Screen>,
    /// The length of the output that has been matched.
    seen: usize,
    child: Child,
}

/// The master end of the terminal.
#[derive(Debug)]
struct Window {
    keyboard: Arc<File>,
    reader: JoinHandle<()>,
    /// Closing this ends the reader.
    reading: OwnedFd,
}

#[derive(Debug, Default)]
struct Screen {
    shown: Mutex<Vec<u8>>,
    changed: Condvar,
}

impl Terminal {
    /// Starts a program as the leader of a session whose terminal this is, of 200 columns and 24 lines. It ignores no
    /// signal, like a shell of a terminal emulator.
    pub fn start(command: Command) -> Self {
        Self::start_in(command, 200)
    }

    /// The same in a window of so many columns.
    pub fn start_in(mut command: Command, columns: u16) -> Self {
        let (master, slave) = pair(columns);
        let stream = || slave.try_clone().expect("there are descriptors left");
        command
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .env("TERM", "dumb");
        let controlling: OwnedFd = stream();
        let take = move || {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(controlling.as_fd())?;
            Ok(())
        };
        // SAFETY: between fork and exec this makes two system calls and touches no memory but its own stack
        unsafe { command.pre_exec(take) };
        ignore_no_signal(&mut command);
        let child = command.spawn().expect("the terminal's program starts");
        // the command holds the terminal's slave end
        drop((command, slave));
        let screen = Arc::new(Screen::default());
        let (stop, reading) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let keyboard = Arc::new(master);
        let (window, shown) = (Arc::clone(&keyboard), Arc::clone(&screen));
        let reader = thread::spawn(move || show(&window, &stop, &shown));
        let window = Window {
            keyboard,
            reader,
            reading,
        };
        Self {
            window: Some(window),
            screen,
            seen: 0,
            child,
        }
    }

    /// The program that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types this.
    pub fn type_in(&mut self, keys: &str) {
        let window = self.window.as_ref().expect("the window is open");
        let typed = (&*window.keyboard).write_all(keys.as_bytes());
        typed.expect("the terminal takes keys");
    }

    /// Types a line and the return key.
    pub fn enter(&mut self, line: &str) {
        self.type_in(&format!("{line}\r"));
    }

    /// Waits until this is shown, after everything that was waited for before, and returns what came up to it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let mut shown = self.screen.shown.lock().expect("the reader never panics");
        loop {
            let fresh = &shown[self.seen..];
            if let Some(found) = position(fresh, text.as_bytes()) {
                let end = found + text.len();
                let before = String::from_utf8_lossy(&fresh[..end]).into_owned();
                self.seen += end;
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let all = String::from_utf8_lossy(&shown).into_owned();
                drop(shown);
                panic!("the terminal does not show {text:?}; it shows:\n{all}");
            }
            let waited = self.screen.changed.wait_timeout(shown, left);
            shown = waited.expect("the reader never panics").0;
        }
    }

    /// Everything that was shown.
    pub fn shown(&self) -> String {
        let shown = self.screen.shown.lock().expect("the reader never panics");
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        match wait_for("the end of the terminal's program", TIMEOUT, || {
            Ok(child.try_wait()?)
        }) {
            Ok(status) => status,
            Err(error) => panic!("{error:#}; the terminal shows:\n{}", self.shown()),
        }
    }

    /// Hangs the terminal up, as a closed window does, and waits for the end of the program.
    pub fn hang_up(&mut self) -> ExitStatus {
        self.close();
        self.ended()
    }

    fn close(&mut self) {
        if let Some(window) = self.window.take() {
            drop(window.reading);
            window.reader.join().expect("the reader never panics");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        // it may have ended
        let _gone = self.child.kill().is_err();
        let _reaped = self.child.wait().is_ok();
    }
}

fn pair(columns: u16) -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("the terminal is ours");
    unlockpt(&master).expect("the terminal is ours");
    let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty()).expect("the terminal's other end");
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&slave, size).expect("the terminal has a size");
    (File::from(master), slave)
}

fn show(window: &File, stop: &OwnedFd, screen: &Screen) {
    let mut buffer = [0; 4096];
    loop {
        let mut wanted = [
            PollFd::new(window, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut wanted, None) {
            Ok(_) if !wanted[1].revents().is_empty() => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("cannot watch the terminal: {error}"),
        }
        let mut window = window;
        // EIO: no process has the slave end open any more
        let Ok(count @ 1..) = window.read(&mut buffer) else {
            return;
        };
        let mut shown = screen.shown.lock().expect("nobody panics while it is locked");
        shown.extend_from_slice(&buffer[..count]);
        screen.changed.notify_all();
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
