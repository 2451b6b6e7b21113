//! A network namespace that stands for a machine of its own, with a link to the cluster that can be cut.
//!
//! The link leads into the node's network namespace. The machine has a route to the API server's address and to
//! nothing else, as this machine has.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use kinject_tests::cluster::Cluster;
use kinject_tests::running::run;

/// The machine; its namespace and its link go with this value.
pub(crate) struct Machine {
    /// The namespace's name, as `ip netns` has it.
    name: String,
    /// The machine's end of the link.
    device: String,
}

impl Machine {
    pub(crate) fn connected_to(cluster: &Cluster) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (test, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // the name of a device has 15 bytes at most
        let machine = Self {
            name: format!("kinject-test-{test}-{count}"),
            device: format!("kj{test}m{count}"),
        };
        let node = cluster.node().unwrap().to_string();
        let of_node = format!("kj{test}n{count}");
        let network = format!("10.203.{}", (test + count) % 256);
        let server = cluster.api_server().unwrap();
        let (server, _) = server.rsplit_once(':').unwrap();

        ip(&["netns", "add", &machine.name]);
        ip(&[
            "link",
            "add",
            &machine.device,
            "netns",
            &machine.name,
            "type",
            "veth",
            "peer",
            "name",
            &of_node,
            "netns",
            &node,
        ]);
        let in_node = ["--net", "--target", &node, "ip"];
        for arguments in [
            &["addr", "add", &format!("{network}.1/30"), "dev", &of_node][..],
            &["link", "set", &of_node, "up"],
        ] {
            run(Command::new("nsenter").args(in_node).args(arguments)).succeeded();
        }
        machine.ip(&["link", "set", "lo", "up"]);
        machine.ip(&["addr", "add", &format!("{network}.2/30"), "dev", &machine.device]);
        machine.ip(&["link", "set", &machine.device, "up"]);
        machine.ip(&["route", "add", server, "via", &format!("{network}.1")]);
        machine
    }

    /// What starts a program there, which executes it.
    pub(crate) fn enter(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name)]
    }

    /// Cuts the link: nothing passes in either direction, and neither end is told.
    pub(crate) fn cut(&self) {
        self.ip(&["link", "set", &self.device, "down"]);
    }

    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-netns", &self.name], arguments].concat());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let removed = run(Command::new("ip").args(["netns", "delete", &self.name]));
        if removed.code() != 0 {
            eprintln!("a network namespace is left behind: {removed}");
        }
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments)).succeeded();
}
