//! The demo's script: chapters, their command lines, and the expected output.

use std::env;

use super::terminal::{Captured, TIMEOUT};

/// Before anything runs.
pub(crate) const OPENING: &str = "\
The sandbox is up: a network of its own on this machine, made without root. In it stand services as
in a cluster (web, api, echo, a headless db, ...), a cluster's DNS, and kinject's real agent. Nothing
outside of the sandbox can reach them, this shell neither. In a terminal of your own you would type:";

/// What can be done with one's own cluster.
pub(crate) const ENDING: &str = "\
There kinject makes the agent by itself, a small unprivileged pod that is gone when the program ends.
--agent and --agent-key are not needed, nor is an image: each session carries its agent along. The first
line packs that agent beside kinject:";

/// The lines for one's own cluster, with the folder of the programs as one types it.
pub(crate) fn own_cluster(folder: &str) -> [String; 4] {
    [
        format!("cargo xtask agent --output {folder}/agents"),
        "kinject run -- curl http://web/".to_owned(),
        "kinject run --namespace staging -- python3 app.py".to_owned(),
        "kinject shell".to_owned(),
    ]
}

/// The closing text.
pub(crate) const MORE: &str = "
The agent runs in an image that the cluster has already, and -v tells which. docs/install.md has the way for
clusters that admit only images which somebody has approved, and how one file holds all of kinject.
docs/quick-start.md goes on from here, docs/README.md leads to every flag, message and right that is needed. To try more
in this sandbox, with your own shell inside of it: cargo xtask demo --shell";

/// Before a shell.
pub(crate) const SHELL: &str = "\
The sandbox is up. Below, your own shell runs in a session: every program that you start there stands in the
sandbox's cluster, in the namespace default. `exit` ends it all. There are to connect to (80: HTTP on web,
api and web.other; 7000 echo, 7003 half-close, 7005 greeting, 7007 whoami on echo, db and the database):";

/// Programs that are shown if they are installed.
pub(crate) struct Programs {
    curl: bool,
    python: bool,
}

impl Programs {
    /// Those of this machine.
    pub(crate) fn found() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let has = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).is_file());
        Self {
            curl: has("curl"),
            python: has("python3"),
        }
    }

    /// A command line that asks a web server, and the expected output.
    fn get(&self, host: &str) -> String {
        if self.curl {
            return format!("curl http://{host}/");
        }
        format!(r#"bash -c 'exec 3<>/dev/tcp/{host}/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; cat <&3'"#)
    }
}

/// The expected output.
pub(crate) enum Expected {
    /// This exit status, and each of these words somewhere.
    Words(i32, &'static [&'static str]),
    /// Anything but these words.
    Not(&'static str),
}

impl Expected {
    /// The difference from the output, if there is one.
    pub(crate) fn difference(&self, captured: &Captured) -> Option<String> {
        if captured.hung {
            return Some(format!("it did not end within {} s", TIMEOUT.as_secs()));
        }
        match *self {
            Self::Not(words) => captured
                .text
                .contains(words)
                .then(|| format!("expected no `{words}`")),
            Self::Words(status, _) if captured.status != Some(status) => {
                Some(format!("expected the exit status {status}"))
            }
            Self::Words(_, words) => {
                let missing = words.iter().find(|words| !captured.text.contains(**words))?;
                Some(format!("expected to read `{missing}`"))
            }
        }
    }
}

/// A command line in the story.
pub(crate) struct Step {
    /// The explanation above it; may be empty.
    pub(crate) why: &'static str,
    /// The line.
    pub(crate) line: String,
    /// The expected output.
    pub(crate) expected: Expected,
    /// Whether it only sets a shell variable, which the terminal has set already.
    pub(crate) is_setting: bool,
}

/// A few steps with a name.
pub(crate) struct Chapter {
    /// The name.
    pub(crate) title: &'static str,
    /// The steps.
    pub(crate) steps: Vec<Step>,
}

/// The whole story. `flags` name the agent; `quiet` is what the variable SANDBOX holds.
pub(crate) fn chapters(programs: &Programs, flags: &str, quiet: &str) -> Vec<Chapter> {
    vec![
        first(programs, flags, quiet),
        names(programs),
        programs_of_all_kinds(programs),
        failures(programs),
    ]
}

fn first(programs: &Programs, flags: &str, quiet: &str) -> Chapter {
    let get = programs.get("web");
    let setting = Step {
        is_setting: true,
        ..step(
            "From here on the flags stand in a variable, with -q, which leaves only errors to be said.",
            format!("export SANDBOX=\"{quiet}\""),
            Expected::Words(0, &[]),
        )
    };
    Chapter {
        title: "The same program, outside and inside",
        steps: vec![
            step(
                "By itself a program of this machine knows no service of a cluster:",
                get.clone(),
                Expected::Not("hello from web"),
            ),
            step(
                "Under kinject it does. In a sandbox kinject has to be told where the agent is and what proves\n\
                 it; with a Kubernetes cluster it would be just `kinject run -- curl http://web/`.",
                format!("kinject run {flags} -- {get}"),
                Expected::Words(0, &[" ready in ", "hello from web"]),
            ),
            setting,
        ],
    }
}

fn names(programs: &Programs) -> Chapter {
    let mut steps = vec![
        inside(
            "A short name is a service of the session's own namespace, as in a pod:",
            "getent hosts web",
            Expected::Words(0, &["10.96.10.1", "web.default.svc.cluster.local"]),
        ),
        inside(
            "",
            &programs.get("web.other"),
            Expected::Words(0, &["hello from other web"]),
        ),
        inside(
            "",
            &programs.get("api.default.svc.cluster.local"),
            Expected::Words(0, &["hello from api"]),
        ),
        inside(
            "A headless service has the addresses of all of its pods, and each pod has a name:",
            "getent ahostsv4 db",
            Expected::Words(0, &["10.244.0.21", "10.244.0.22", "10.244.0.23"]),
        ),
        inside(
            "",
            "bash -c 'cat < /dev/tcp/db-1.db/7005'",
            Expected::Words(0, &["welcome"]),
        ),
        inside(
            "A name outside of the cluster that only the cluster can resolve, a database in the cloud for\n\
             example. The connection leaves from the cluster, too:",
            "getent hosts database.external.test",
            Expected::Words(0, &["203.0.113.10"]),
        ),
        inside(
            "",
            "bash -c 'cat < /dev/tcp/database.external.test/7005'",
            Expected::Words(0, &["welcome"]),
        ),
    ];
    steps.push(inside(
        "Services see the agent's pod as their peer. This one says whom it sees:",
        "bash -c 'cat < /dev/tcp/echo/7007'",
        Expected::Words(0, &["10.244.0.5 "]),
    ));
    Chapter {
        title: "Names and addresses are the cluster's",
        steps,
    }
}

fn programs_of_all_kinds(programs: &Programs) -> Chapter {
    let mut steps = Vec::new();
    if programs.python {
        steps.push(inside(
            "Programs are not changed and not configured:",
            r#"python3 -c 'from urllib.request import urlopen; print(urlopen("http://api/").read())'"#,
            Expected::Words(0, &["b'hello from api\\n'"]),
        ));
    }
    steps.push(inside(
        "What a program starts is in the session as well, so a shell snippet works as it stands. This\n\
         one talks to an echo server at two pods:",
        r#"bash -c 'for pod in db-0 db-2; do exec 3<>/dev/tcp/$pod.db/7000; echo "hello $pod" >&3; head -n 1 <&3; done'"#,
        Expected::Words(0, &["hello db-0", "hello db-2"]),
    ));
    steps.push(step(
        "Standard streams are the program's own. This line goes through the cluster and comes back:",
        "echo there and back | kinject run $SANDBOX -- bash -c 'exec 3<>/dev/tcp/echo/7000; cat >&3; head -n 1 <&3'"
            .to_owned(),
        Expected::Words(0, &["there and back"]),
    ));
    steps.push(inside(
        "And so is the exit status:",
        "sh -c 'exit 7'",
        Expected::Words(7, &[]),
    ));
    Chapter {
        title: "Programs of all kinds",
        steps,
    }
}

fn failures(programs: &Programs) -> Chapter {
    let silent = if programs.curl {
        inside(
            "A host that never answers: the program waits for as long as it wants to, here two seconds:",
            "curl --max-time 2 http://silent.external.test/",
            Expected::Words(28, &["timed out"]),
        )
    } else {
        inside(
            "A host that never answers: the program waits for as long as it is let, here two seconds:",
            "timeout 2 bash -c 'cat < /dev/tcp/silent.external.test/80'",
            Expected::Words(124, &[]),
        )
    };
    Chapter {
        title: "Failures are the true ones",
        steps: vec![
            inside(
                "A port where nothing listens:",
                "bash -c 'cat < /dev/tcp/refused/80'",
                Expected::Words(1, &["Connection refused"]),
            ),
            inside(
                "An address to which the cluster has no route:",
                "bash -c 'cat < /dev/tcp/unroutable.external.test/80'",
                Expected::Words(1, &["No route to host"]),
            ),
            silent,
            inside(
                "A name that exists nowhere, neither in the cluster nor here (getent says so by its status):",
                "getent hosts missing.external.test",
                Expected::Words(2, &[]),
            ),
            inside(
                "A program that does not exist, said as shells say it:",
                "./no-such-program",
                Expected::Words(127, &["no-such-program"]),
            ),
        ],
    }
}

fn step(why: &'static str, line: String, expected: Expected) -> Step {
    Step {
        why,
        line,
        expected,
        is_setting: false,
    }
}

/// A command line in the sandbox.
fn inside(why: &'static str, command: &str, expected: Expected) -> Step {
    step(why, format!("kinject run $SANDBOX -- {command}"), expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(text: &str, status: i32) -> Captured {
        Captured {
            text: text.to_owned(),
            status: Some(status),
            hung: false,
        }
    }

    #[test]
    fn differing_output_is_named() {
        let expected = Expected::Words(0, &["hello", "web"]);
        assert_eq!(expected.difference(&captured("hello from web\n", 0)), None);
        assert_eq!(
            expected.difference(&captured("hello\n", 0)).unwrap(),
            "expected to read `web`"
        );
        assert_eq!(
            expected.difference(&captured("hello from web\n", 7)).unwrap(),
            "expected the exit status 0"
        );
        assert!(Expected::Not("hello").difference(&captured("hello", 0)).is_some());
    }

    #[test]
    fn demo_needs_neither_curl_nor_python() {
        let bare = Programs {
            curl: false,
            python: false,
        };
        for chapter in chapters(&bare, "--agent unix:/a --agent-key /k", "-q") {
            for step in chapter.steps {
                assert!(
                    !step.line.contains("curl") && !step.line.contains("python"),
                    "{}",
                    step.line
                );
            }
        }
    }

    #[test]
    fn lines_for_an_own_cluster_pack_the_agent_beside_kinject_and_make_no_image() {
        let lines = own_cluster("/clone/target/release");
        assert_eq!(
            lines[0],
            "cargo xtask agent --output /clone/target/release/agents"
        );
        assert!(
            lines[1..].iter().all(|line| line.starts_with("kinject ")),
            "{lines:?}"
        );
        for text in lines.iter().map(String::as_str).chain([ENDING, MORE]) {
            for word in ["xtask image", "kind load", "push", "--agent-image"] {
                assert!(!text.contains(word), "{word}: {text}");
            }
        }
    }
}
