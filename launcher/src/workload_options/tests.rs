use super::*;
use crate::cli::Cli;
use clap::Parser;

fn options(line: &str) -> WorkloadOptions {
    let words = ["kinject", "run"].into_iter().chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words.chain(["true"])).unwrap();
    match cli.command {
        crate::cli::Command::Session(crate::cli::SessionCommand::Run { session, .. }) => session.workload,
        other => panic!("{other:?}"),
    }
}

fn error(line: &str) -> String {
    let options = options(line);
    let machine = Variables::new();
    let failure = options
        .request()
        .map(|_| ())
        .and_then(|()| options.rules(Hostname::Pod, &machine).map(|_| ()))
        .expect_err(line);
    format!("{}; hint: {}", failure.error, failure.hint.unwrap())
}

#[test]
fn both_forms_name_workload_and_container() {
    for (line, workload, container) in [
        ("-t web", "deployment/web", None),
        ("--target sts/db -c app", "statefulset/db", Some("app")),
        ("--deployment web", "deployment/web", None),
        ("--deployment web:app", "deployment/web", Some("app")),
        ("--deployment web -c app", "deployment/web", Some("app")),
        ("-t one -t pod/two", "pod/two", None),
    ] {
        let request = options(line).request().unwrap().unwrap();
        assert_eq!(request.workload.to_string(), workload, "{line}");
        assert_eq!(request.container.as_deref(), container, "{line}");
        assert!(request.files && !request.exec_environment, "{line}");
    }
    assert_eq!(options("").request().unwrap(), None);
    assert_eq!(options("-e A=b --unset C").request().unwrap(), None);
    let request = options("-t web --files none --exec-env --remote-path /app/*.yaml --local-path /app/x");
    let request = request.request().unwrap().unwrap();
    assert!(!request.files && request.exec_environment);
    assert_eq!(request.remote_paths, ["/app/*.yaml"]);
    assert_eq!(request.local_paths, ["/app/x"]);
}

#[test]
fn option_without_the_workload_that_it_needs_is_named() {
    for option in [
        "--container app",
        "--env none",
        "--env-include A",
        "--env-exclude A",
        "--env-file f",
        "--env-json f",
        "--exec-env",
        "--files none",
        "--remote-path /app",
        "--local-path /app",
        "--remote-exec",
        "--hostname local",
    ] {
        let name = option.split(' ').next().unwrap();
        assert_eq!(
            error(option),
            format!("{name} needs a workload; hint: name it with --target, as in `--target deploy/web`")
        );
    }
}

#[test]
fn wrong_workload_container_glob_or_variable_is_named_with_what_to_write() {
    for (line, words) in [
        (
            "-t service/web",
            "--target service/web: \"service\" is no type of workload; hint: use one of deployment, statefulset, ",
        ),
        (
            "-t web:app",
            "--target web:app: \"web:app\" is no name of an object; hint: name a workload as TYPE/NAME, such as ",
        ),
        (
            "--deployment sts/db",
            "--deployment sts/db: no name of a deployment; hint: write NAME or ",
        ),
        (
            "--deployment web:",
            "--deployment web:: no name of a deployment; hint: write NAME or ",
        ),
        (
            "--deployment web:app -c app",
            "--deployment web:app names a container already; hint: leave --container out",
        ),
        (
            "-t web --container=",
            "--container has no name; hint: name a container ",
        ),
        (
            "-t web --remote-path app/*.yaml",
            "--remote-path app/*.yaml: not an absolute path; hint: begin it with a slash",
        ),
        (
            "-t web --local-path /a:b",
            "--local-path /a:b: a colon cannot stand in a path of a session; hint: write `?` ",
        ),
        (
            "-t web --remote-path /app/../etc",
            "--remote-path /app/../etc: `.` and `..` are no part ",
        ),
        (
            "-t web --remote-path /",
            "--remote-path /: all paths match; hint: name the folders",
        ),
        (
            "-t web --remote-path /**/*",
            "--remote-path /**/*: all paths match; hint: name the folders",
        ),
        (
            "-t web --env-include LD_LIBRARY_PATH",
            "--env-include LD_LIBRARY_PATH: the workload's LD_* ",
        ),
        (
            "-t web --env-exclude A=b",
            "--env-exclude A=b: no name of a variable; hint: name a variable",
        ),
        ("-e =b", "-e : no name of a variable; hint: write `-e NAME=VALUE`"),
        (
            "-e KINJECT_PATHS=x",
            "-e KINJECT_PATHS: variables KINJECT_* are kinject's own; hint: leave it out",
        ),
        ("--unset A=b", "--unset A=b: no name of a variable; hint: "),
        (
            "--unset KINJECT_SOCKET",
            "--unset KINJECT_SOCKET: variables KINJECT_* are kinject's own; ",
        ),
        (
            "-e MISSING",
            "-e MISSING: MISSING is not set on this machine; hint: write `-e MISSING=VALUE`, or `--unset MISSING` ",
        ),
    ] {
        assert!(error(line).starts_with(words), "{line}: {}", error(line));
    }
}

#[test]
fn later_assignment_wins_and_order_of_different_options_does_not_matter() {
    let machine: Variables = [("HERE".into(), "here".into())].into();
    let rules = |line: &str| options(line).rules(Hostname::Local, &machine).unwrap();
    let words = [
        "-e A=1",
        "--unset A",
        "--env-include B*",
        "--env-exclude C",
        "-e A=2=3",
        "-e HERE",
        "--env none",
        "-e EMPTY=",
    ];
    let first = rules(&words.join(" "));
    assert_eq!(first.set.get(OsStr::new("A")).unwrap(), "2=3");
    assert_eq!(first.set.get(OsStr::new("HERE")).unwrap(), "here");
    assert_eq!(first.set.get(OsStr::new("EMPTY")).unwrap(), "");
    assert!(first.keeps_hostname && first.without_workload);
    // the two values of A keep their order
    for others in [
        [1, 2, 3, 0, 4, 5, 6, 7],
        [7, 6, 5, 0, 3, 4, 2, 1],
        [0, 4, 1, 2, 3, 5, 7, 6],
    ] {
        let line = others.map(|index| words[index]).join(" ");
        assert_eq!(rules(&line), first, "{line}");
    }
}

#[test]
fn one_file_for_two_formats_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    let line = format!("-t web --env-file {0} --env-json {0}", file.display());
    assert!(options(&line).check_files().is_err());
    assert!(
        options(&format!("-t web --env-file {}", file.display()))
            .check_files()
            .is_ok()
    );
    let line = format!("-t web --env-json {}", folder.path().display());
    let failure = options(&line).check_files().unwrap_err();
    assert!(failure.error.starts_with("--env-json ") && failure.error.ends_with(" is a folder"));
}
