//! The programs, and what shows that each did its work.

/// How a program is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Invocation {
    /// A script for `sh`, with a shell line that prints the version of what it tests.
    Shell(&'static str),
    /// A script for Python with that package from PyPI; the empty name is Python's own library.
    Python(&'static str),
    /// A script for Node with that package from npm and its version; the empty name is Node's own library.
    Node(&'static str),
    /// A Java class.
    Java,
    /// A Java class with what the `pom.xml` beside it names, from Maven Central.
    Maven,
    /// A Go module, built with cgo.
    Go,
    /// Tests of CPython's own, in the emptyDir or in this machine's `/tmp`.
    CPython(&'static str, Folder),
}

/// Where tests write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// In the emptyDir, compared with the container.
    EmptyDir,
    /// In `/tmp`, compared with the same tests on this machine without kinject.
    Machine,
}

/// A program, or several in one script.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Its file in `tests/stand_in`.
    pub(crate) file: &'static str,
    pub(crate) invocation: Invocation,
    /// What its output contains on success, so that two equal failures do not count as success.
    pub(crate) shows: &'static str,
}

const fn row(name: &'static str, file: &'static str, invocation: Invocation, shows: &'static str) -> Row {
    Row {
        name,
        file,
        invocation,
        shows,
    }
}

use Invocation::{CPython, Go, Java, Maven, Node, Python, Shell};

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    row(
        "ls, find, tar, cp",
        "listing.sh",
        Shell("ls --version"),
        "/srv/data is as its copy",
    ),
    row(
        "tools in an emptyDir",
        "tools.sh",
        Shell("make --version"),
        "patched",
    ),
    row(
        "tail -f, tail -F",
        "tail.sh",
        Shell("tail --version"),
        "\nchanged",
    ),
    row("git", "git.sh", Shell("git --version"), "commit 3"),
    row("nginx", "nginx.sh", Shell("nginx -v 2>&1"), "\nchanged"),
    row(
        "Python files",
        "python_files.py",
        Python(""),
        "sqlite (400, 19800)",
    ),
    row(
        "Python watchdog",
        "python_watch.py",
        Python("watchdog"),
        "\nchanged",
    ),
    row("Node files", "node_files.mjs", Node(""), "\nchanged"),
    row("Java files", "MountedFiles.java", Java, "\nchanged"),
    row(
        "Python kubernetes",
        "python_client.py",
        Python("kubernetes"),
        "system:serviceaccount",
    ),
    row("client-go", "client-go", Go, "system:serviceaccount"),
    row("fabric8", "fabric8/Fabric8.java", Maven, "403 Forbidden"),
    row(
        "@kubernetes/client-node",
        "node_client.mjs",
        Node("@kubernetes/client-node@1.3.0"),
        "system:serviceaccount",
    ),
    row("boto3, IRSA", "python_aws.py", Python("boto3"), "of the role"),
    row(
        "google-auth",
        "python_google.py",
        Python("google-auth"),
        "of Google",
    ),
    row(
        "azure-identity",
        "python_azure.py",
        Python("azure-identity"),
        "of Azure",
    ),
    row(
        "CPython test_os",
        "cpython.py",
        CPython("test_os", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_os, local",
        "cpython.py",
        CPython("test_os", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_posix",
        "cpython.py",
        CPython("test_posix", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_posix, local",
        "cpython.py",
        CPython("test_posix", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_glob",
        "cpython.py",
        CPython("test_glob", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_glob, local",
        "cpython.py",
        CPython("test_glob", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_shutil",
        "cpython.py",
        CPython("test_shutil", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_shutil, local",
        "cpython.py",
        CPython("test_shutil", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_pathlib",
        "cpython.py",
        CPython("test_pathlib", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_pathlib, local",
        "cpython.py",
        CPython("test_pathlib", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_tempfile",
        "cpython.py",
        CPython("test_tempfile", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_tempfile, local",
        "cpython.py",
        CPython("test_tempfile", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_mmap",
        "cpython.py",
        CPython("test_mmap", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_mmap, local",
        "cpython.py",
        CPython("test_mmap", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_fileio",
        "cpython.py",
        CPython("test_fileio", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_fileio, local",
        "cpython.py",
        CPython("test_fileio", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_zipfile",
        "cpython.py",
        CPython("test_zipfile", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_zipfile, local",
        "cpython.py",
        CPython("test_zipfile", Folder::Machine),
        "passed",
    ),
    row(
        "CPython test_tarfile",
        "cpython.py",
        CPython("test_tarfile", Folder::EmptyDir),
        "passed",
    ),
    row(
        "CPython test_tarfile, local",
        "cpython.py",
        CPython("test_tarfile", Folder::Machine),
        "passed",
    ),
];
