//! The suites, and how long each may take.

use std::time::Duration;

/// The runner of a suite, which decides how it is started and the format of its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// CPython's own, with a module of its package `test` and the resource that it may use.
    Regrtest(&'static str, &'static str),
    /// pytest, with a module of an installed package and options that it needs.
    Pytest(&'static str, &'static [&'static str]),
    /// pytest, with the folder `tests` of a package's source.
    Source(&'static str),
    /// Go, with a package of its standard library, built with cgo.
    Go(&'static str),
}

/// A suite.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) runner: Runner,
    /// How long one run may take.
    pub(crate) limit: Duration,
    /// Tests that are left out: patterns of the runner, and no more than need be.
    pub(crate) without: &'static [&'static str],
}

const fn suite(name: &'static str, runner: Runner, minutes: u64, without: &'static [&'static str]) -> Suite {
    Suite {
        name,
        runner,
        limit: Duration::from_secs(60 * minutes),
        without,
    }
}

use Runner::{Go, Pytest, Regrtest, Source};

/// All of them. Those that take long come first, so that they do not end alone.
pub(crate) const SUITES: &[Suite] = &[
    suite("cpython test_asyncio", Regrtest("test_asyncio", "none"), 8, &[]),
    suite("gevent socket", Pytest("gevent.tests.test__socket", &[]), 4, &[]),
    // machines differ in whether their hypervisor offers AF_VSOCK, and Python's tests of it hang where it does
    suite(
        "cpython test_socket",
        Regrtest("test_socket", "none"),
        5,
        &["*VSOCK*"],
    ),
    suite(
        "trio",
        Pytest(
            "trio",
            &[
                "--continue-on-collection-errors",
                "-p",
                "trio._tests.pytest_plugin",
            ],
        ),
        6,
        &[],
    ),
    suite("tornado", Pytest("tornado.test", &["-p", "no:logging"]), 6, &[]),
    // it checks the style of the source, which is not installed
    suite("uvloop", Source("uvloop"), 10, &["test_sourcecode"]),
    suite("go net", Go("net"), 5, &[]),
    suite("go net/http", Go("net/http"), 8, &[]),
    suite("cpython test_ssl", Regrtest("test_ssl", "none"), 5, &[]),
    suite(
        "cpython test_subprocess",
        Regrtest("test_subprocess", "none"),
        5,
        &[],
    ),
    suite(
        "cpython test_socketserver",
        Regrtest("test_socketserver", "network"),
        2,
        &[],
    ),
    suite("cpython test_httplib", Regrtest("test_httplib", "none"), 2, &[]),
    suite(
        "cpython test_httpservers",
        Regrtest("test_httpservers", "none"),
        2,
        &[],
    ),
    suite("cpython test_urllib", Regrtest("test_urllib", "none"), 2, &[]),
    suite("cpython test_urllib2", Regrtest("test_urllib2", "none"), 2, &[]),
    suite(
        "cpython test_urllib2_localnet",
        Regrtest("test_urllib2_localnet", "none"),
        2,
        &[],
    ),
    suite("cpython test_xmlrpc", Regrtest("test_xmlrpc", "none"), 2, &[]),
    suite("cpython test_ftplib", Regrtest("test_ftplib", "none"), 2, &[]),
    suite("cpython test_smtplib", Regrtest("test_smtplib", "none"), 2, &[]),
    suite("cpython test_imaplib", Regrtest("test_imaplib", "none"), 2, &[]),
    suite("cpython test_poplib", Regrtest("test_poplib", "none"), 2, &[]),
    suite("cpython test_nntplib", Regrtest("test_nntplib", "none"), 2, &[]),
    suite(
        "cpython test_telnetlib",
        Regrtest("test_telnetlib", "none"),
        2,
        &[],
    ),
    suite("cpython test_asyncore", Regrtest("test_asyncore", "none"), 2, &[]),
    suite("cpython test_asynchat", Regrtest("test_asynchat", "none"), 2, &[]),
    suite(
        "cpython test_selectors",
        Regrtest("test_selectors", "none"),
        2,
        &[],
    ),
    suite("cpython test_epoll", Regrtest("test_epoll", "none"), 2, &[]),
    suite("cpython test_poll", Regrtest("test_poll", "none"), 2, &[]),
    suite("cpython test_wsgiref", Regrtest("test_wsgiref", "none"), 2, &[]),
    suite("cpython test_eintr", Regrtest("test_eintr", "walltime"), 3, &[]),
    suite("cpython test_posix", Regrtest("test_posix", "none"), 2, &[]),
    suite("gevent server", Pytest("gevent.tests.test__server", &[]), 4, &[]),
    suite("gevent ssl", Pytest("gevent.tests.test__ssl", &[]), 4, &[]),
    suite(
        "gevent resolver",
        Pytest("gevent.tests.test__socket_dns", &[]),
        6,
        &[],
    ),
    suite("gevent pywsgi", Pytest("gevent.tests.test__pywsgi", &[]), 5, &[]),
    suite(
        "gevent backdoor",
        Pytest("gevent.tests.test__backdoor", &[]),
        2,
        &[],
    ),
    suite(
        "gevent subprocess",
        Pytest("gevent.tests.test__subprocess", &[]),
        4,
        &[],
    ),
];
