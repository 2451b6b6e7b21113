//! What is written comes back from the programs that read it.

use super::super::Variables;
use super::Format;
use kinject_test_support::skip::not_run;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Values that quoting gets wrong first.
const VALUES: [&[u8]; 27] = [
    b"",
    b"plain",
    b"two words",
    b" around ",
    b"\ttab\t",
    b"first\nsecond",
    b"\nbegins and ends\n",
    b"it's",
    b"it's\nin two lines",
    b"say \"hello\"",
    b"it's \"both\"",
    b"'",
    b"\"",
    b"back\\slash",
    b"\\\\server\\share",
    b"ends in \\",
    b"\\n is no line break",
    b"$HOME and ${HOME} and $(id) and `id`",
    b"$5",
    b"it's $5",
    b"# no comment",
    b"a # b",
    b"a=b=c",
    "Gr\u{fc}\u{df}e \u{1f980}".as_bytes(),
    b"{\"a\": [1, \"b c\"], \"d\": \"${e}\"}",
    b"-----BEGIN KEY-----\nMIIB+/==\n-----END KEY-----\n",
    b"carriage\rreturn\r\n",
];

/// The values as variables V_00, V_01 and so on.
fn variables() -> Variables {
    let name = |(index, value): (usize, &&[u8])| {
        (
            OsString::from(format!("V_{index:02}")),
            OsStr::from_bytes(value).to_owned(),
        )
    };
    VALUES.iter().enumerate().map(name).collect()
}

/// The file that a format makes of the variables.
fn written(format: Format, variables: &Variables) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("variables");
    let rendered = format.render(variables);
    assert_eq!(rendered.incompleteness(), None);
    std::fs::write(&file, rendered.text).unwrap();
    (folder, file)
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

/// Those of our variables that a reader has found.
fn ours(found: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    found
        .into_iter()
        .filter(|(name, _)| name.as_bytes().starts_with(b"V_"))
        .collect()
}

fn from_json(text: &[u8]) -> Variables {
    let object: BTreeMap<String, String> = serde_json::from_slice(text).unwrap();
    ours(
        object
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
    )
}

fn is_there(program: &str) -> bool {
    Command::new(program)
        .args(["-c", "exit"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn export_lines_are_read_back_by_every_shell() {
    let mut variables = variables();
    variables.insert("V_RAW".into(), OsString::from_vec(b"\xff\xfe".into()));
    let (_folder, file) = written(Format::Export, &variables);
    for shell in ["sh", "bash", "dash", "zsh"] {
        if !is_there(shell) {
            not_run("export lines", shell);
            continue;
        }
        let found = output(
            Command::new(shell)
                .args(["-c", ". \"$1\" && exec env -0", shell])
                .arg(&file),
        );
        let found = found.split(|byte| *byte == 0).filter_map(|entry| {
            let position = entry.iter().position(|byte| *byte == b'=')?;
            let text = |bytes| OsStr::from_bytes(bytes).to_owned();
            Some((text(&entry[..position]), text(&entry[position + 1..])))
        });
        assert_eq!(ours(found), variables, "{shell}");
    }
}

#[test]
fn json_is_read_back_by_python() {
    let variables = variables();
    let (_folder, file) = written(Format::Json, &variables);
    let script = "import json, sys; print(json.dumps(json.load(open(sys.argv[1], encoding='utf-8'))))";
    let found = output(Command::new("python3").args(["-c", script]).arg(&file));
    assert_eq!(from_json(&found), variables);
}

/// Python with python-dotenv: the machine's own, or one in an environment beside this test.
fn python_with_dotenv() -> Option<PathBuf> {
    let has_it = |python: &Path| {
        Command::new(python)
            .args(["-c", "import dotenv"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let own = PathBuf::from("python3");
    if has_it(&own) {
        return Some(own);
    }
    let folder = std::env::current_exe().unwrap().with_file_name("python-dotenv");
    let python = folder.join("bin/python");
    let make = Command::new(own).args(["-m", "venv"]).arg(&folder).output();
    let install = make.and_then(|_| {
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "python-dotenv"])
            .output()
    });
    if !has_it(&python) {
        not_run("python-dotenv", &format!("cannot be installed: {install:?}"));
        return None;
    }
    Some(python)
}

#[test]
fn dotenv_file_is_read_back_by_python_dotenv() {
    let variables = variables();
    let (_folder, file) = written(Format::Dotenv, &variables);
    let Some(python) = python_with_dotenv() else {
        return;
    };
    let read = |interpolate: &str| {
        let script = format!(
            "import dotenv, json, sys; print(json.dumps(dotenv.dotenv_values(sys.argv[1], interpolate={interpolate})))"
        );
        from_json(&output(Command::new(&python).args(["-c", &script]).arg(&file)))
    };
    assert_eq!(read("False"), variables);
    // expansion cannot be turned off in the file, which the message about ambiguous values says
    let ambiguous = Format::Dotenv.render(&variables).ambiguous;
    let mut expanded = read("True");
    expanded.retain(|name, _| !ambiguous.contains(name));
    let mut unambiguous = variables;
    unambiguous.retain(|name, _| !ambiguous.contains(name));
    assert!(unambiguous.len() > 15, "{ambiguous:?}");
    assert_eq!(expanded, unambiguous);
}

#[test]
fn dotenv_file_is_read_back_by_node_but_for_ambiguous_values() {
    let mut variables = variables();
    let ambiguous = Format::Dotenv.render(&variables).ambiguous;
    variables.retain(|name, _| !ambiguous.contains(name));
    let (_folder, file) = written(Format::Dotenv, &variables);
    let version = Command::new("node").arg("--version").output();
    let version = version.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    // from then on node reads values of several lines
    let is_new = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (20, 12) && (major, minor) != (21, 6),
        _ => false,
    };
    if !is_new {
        return not_run("node --env-file", &version);
    }
    let mut option = OsString::from("--env-file=");
    option.push(&file);
    let script = "process.stdout.write(JSON.stringify(process.env))";
    let found = output(Command::new("node").arg(option).args(["-e", script]));
    assert_eq!(from_json(&found), variables);
}
