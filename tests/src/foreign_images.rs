//! Images without any file of kinject's, as workloads have them: a static program, which is busybox.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use kinject_image::{Entry, Image, file};

/// busybox, statically linked, as the cluster's own images have it.
const BUSYBOX: &str = "/bin/busybox";

/// What the server of [`web_server`] says at `/`.
pub const WEB_SAYS: &str = "hello from the workload\n";

/// The port on which it listens.
pub const WEB_PORT: u16 = 8080;

/// An image whose only file is a static program, as which `arguments` choose one of busybox's; it has a name that no
/// other test uses.
pub fn static_program(registry: &str, user: &str, arguments: &[&str]) -> Image {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (test, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let program = fs::read(BUSYBOX).unwrap_or_else(|error| panic!("cannot read {BUSYBOX}: {error}"));
    let entrypoint = ["/busybox"].iter().chain(arguments);
    Image {
        name: format!("{registry}workload-{test}-{count}:1"),
        user: user.to_owned(),
        environment: Vec::new(),
        entrypoint: entrypoint.map(|word| (*word).to_owned()).collect(),
        entries: vec![file("busybox", 0o755, program)],
    }
}

/// An image that serves [`WEB_SAYS`] by HTTP, for the user 1234.
pub fn web_server() -> Image {
    let port = WEB_PORT.to_string();
    let mut image = static_program("", "1234:1234", &["httpd", "-f", "-p", &port, "-h", "/www"]);
    image.entries.push(Entry::Folder {
        path: "www".to_owned(),
        mode: 0o755,
    });
    image
        .entries
        .push(file("www/index.html", 0o644, WEB_SAYS.as_bytes().to_vec()));
    image
}
