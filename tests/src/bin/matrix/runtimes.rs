//! The runtimes and clients, and the task of each.

/// The kinds of answers to a connection, or to a query at a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// The peer answers.
    Ok,
    /// No program listens at the port.
    Refused,
    /// There is no route to the address.
    Unreachable,
    /// The address never answers: the program's own time limit ends it.
    Silent,
    /// The name does not exist.
    NoSuchName,
}

impl Case {
    /// All of them, the slow ones first.
    pub(crate) const ALL: [Self; 5] = [
        Self::Silent,
        Self::Ok,
        Self::Refused,
        Self::Unreachable,
        Self::NoSuchName,
    ];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::NoSuchName => "no such name",
        }
    }
}

/// What a program sends and expects, which decides the service that it connects to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaks {
    /// It reads what the server sends first.
    Greeting,
    /// It sends first, and reads the echo.
    Echo,
    /// It sends first, and gets no answer.
    Discard,
    /// It fetches a page.
    Http,
    /// It asks a name server, with packets of its own.
    Dns,
}

/// How long a program waits for a silent peer: libpq's minimum, and a whole number for programs that take only seconds.
const SECONDS: &str = "2";
const NAME: &str = "web.default.svc.cluster.local";

impl Speaks {
    /// The arguments of the program.
    pub(crate) fn arguments(self, case: Case) -> Vec<&'static str> {
        match (self, case) {
            (Self::Dns, Case::Ok) => vec![NAME, SECONDS],
            (Self::Dns, Case::Refused) => vec![NAME, SECONDS, "db-0.db.default.svc.cluster.local", "4444"],
            (Self::Dns, Case::Unreachable) => vec![NAME, SECONDS, "unroutable.external.test", "53"],
            (Self::Dns, Case::Silent) => vec![NAME, SECONDS, "silent.external.test", "53"],
            (Self::Dns, Case::NoSuchName) => vec!["missing.external.test", SECONDS],
            (Self::Greeting, Case::Ok) => vec!["echo.default", "7005", SECONDS],
            (Self::Echo, Case::Ok) => vec!["echo.default", "7000", SECONDS],
            (Self::Discard, Case::Ok) => vec!["echo.default", "7001", SECONDS],
            (Self::Http, Case::Ok) => vec!["web.default", "80", SECONDS],
            (_, Case::Refused) => vec!["refused.default", "80", SECONDS],
            (_, Case::Unreachable) => vec!["unroutable.external.test", "80", SECONDS],
            (_, Case::Silent) => vec!["silent.external.test", "80", SECONDS],
            (_, Case::NoSuchName) => vec!["missing.external.test", "80", SECONDS],
        }
    }
}

/// How a program is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Invocation {
    /// A script and its interpreter, with a shell line that prints the version.
    Script(&'static str, &'static str),
    /// A shell script around an installed client.
    Client(&'static str),
    /// Python with that package from PyPI; the empty name is Python's own library.
    Python(&'static str),
    /// A Java class.
    Java,
    /// A Java class with what the `pom.xml` beside it names, from Maven Central, and its first argument.
    Maven(&'static str),
    /// A C# program for .NET, whose run time comes from PyPI.
    DotNet,
    /// A script, the program of a package from npm that runs it, and that program's own arguments.
    Npm(&'static str, &'static [&'static str]),
    /// A C++ program.
    Cpp,
    /// A Go program that is linked with libc, with its first argument and a build tag.
    Go(&'static str, &'static str),
    /// A Rust program that uses a crate.
    Rust,
}

/// A runtime or client.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Its file in `tests/matrix`.
    pub(crate) file: &'static str,
    pub(crate) invocation: Invocation,
    pub(crate) speaks: Speaks,
    /// What its output contains on success, so that two equal failures do not count as success.
    pub(crate) shows: &'static str,
}

const fn runtime(
    name: &'static str,
    file: &'static str,
    invocation: Invocation,
    speaks: Speaks,
    shows: &'static str,
) -> Runtime {
    Runtime {
        name,
        file,
        invocation,
        speaks,
        shows,
    }
}

const PAGE: &str = "hello from web";
const WELCOME: &str = "welcome";
const NODE: Invocation = Invocation::Script("node", "node --version");
const PERL: Invocation = Invocation::Script("perl", "perl -e 'print $^V'");
const RUBY: Invocation = Invocation::Script("ruby", "ruby --version");
const PHP: Invocation = Invocation::Script("php", "php --version");
const ERLANG: Invocation = Invocation::Script(
    "escript",
    "erl -noshell -eval 'io:put_chars([\"OTP-\", erlang:system_info(otp_release), \".0\"]), halt().'",
);
const BUN: Invocation = Invocation::Npm("bun", &["run"]);
const DENO: Invocation = Invocation::Npm("deno", &["run", "--quiet", "--allow-net"]);
const BASH: Invocation = Invocation::Script("bash", "bash --version");

use Invocation::{Client, Cpp, DotNet, Go, Java, Maven, Python, Rust};
use Speaks::{Discard, Dns, Echo, Greeting, Http};

/// All of them, in the order of the table.
pub(crate) const RUNTIMES: &[Runtime] = &[
    runtime("Python socket", "blocking.py", Python(""), Greeting, WELCOME),
    runtime("Python urllib", "urllib_get.py", Python(""), Http, PAGE),
    runtime("Python asyncio", "stream.py", Python(""), Greeting, WELCOME),
    runtime(
        "Python uvloop",
        "uvloop_stream.py",
        Python("uvloop"),
        Greeting,
        WELCOME,
    ),
    runtime(
        "Python gevent",
        "gevent_socket.py",
        Python("gevent"),
        Greeting,
        WELCOME,
    ),
    runtime("Python trio", "trio_stream.py", Python("trio"), Greeting, WELCOME),
    runtime("Python aiohttp", "aiohttp_get.py", Python("aiohttp"), Http, PAGE),
    runtime(
        "Python requests",
        "requests_get.py",
        Python("requests"),
        Http,
        PAGE,
    ),
    runtime("Python tornado", "tornado_get.py", Python("tornado"), Http, PAGE),
    runtime(
        "Python dnspython",
        "dnspython_query.py",
        Python("dnspython"),
        Dns,
        "10.96.10.1",
    ),
    runtime("Node net", "net.mjs", NODE, Greeting, WELCOME),
    runtime("Node fetch", "fetch.mjs", NODE, Http, PAGE),
    runtime("Node dns.resolve", "resolve.mjs", NODE, Dns, "10.96.10.1"),
    runtime("Bun net", "net.mjs", BUN, Greeting, WELCOME),
    runtime("Bun connect", "bun_connect.ts", BUN, Greeting, WELCOME),
    runtime("Bun fetch", "fetch.mjs", BUN, Http, PAGE),
    runtime("Deno connect", "deno_connect.ts", DENO, Greeting, WELCOME),
    runtime("Deno fetch", "deno_fetch.ts", DENO, Http, PAGE),
    runtime("Java Socket", "Blocking.java", Java, Greeting, WELCOME),
    runtime("Java NIO", "Selected.java", Java, Greeting, WELCOME),
    runtime("Java HttpClient", "Fetch.java", Java, Http, PAGE),
    runtime("Java JNDI DNS", "Naming.java", Java, Dns, "10.96.10.1"),
    runtime(
        "Java Netty epoll",
        "netty/Netty.java",
        Maven("java"),
        Greeting,
        WELCOME,
    ),
    runtime(
        "Java Netty epoll, DNS",
        "netty/Netty.java",
        Maven("netty"),
        Greeting,
        WELCOME,
    ),
    runtime(".NET sockets", "Sockets.cs", DotNet, Greeting, WELCOME),
    runtime(".NET HttpClient", "HttpGet.cs", DotNet, Http, PAGE),
    runtime("Erlang gen_tcp", "gen_tcp.escript", ERLANG, Greeting, WELCOME),
    runtime("curl", "curl.sh", Client("curl"), Http, PAGE),
    runtime("wget", "wget.sh", Client("wget"), Http, PAGE),
    runtime(
        "psql",
        "psql.sh",
        Client("psql"),
        Echo,
        "expected authentication request",
    ),
    runtime("redis-cli", "redis.sh", Client("redis-cli"), Echo, "ping"),
    runtime("mysql", "mysql.sh", Client("mysql"), Greeting, "Lost connection"),
    runtime("ssh", "ssh.sh", Client("ssh"), Discard, "during banner exchange"),
    runtime("git", "git.sh", Client("git"), Http, "not found"),
    runtime("dig", "dig.sh", Client("dig"), Dns, "10.96.10.1"),
    runtime("bash", "bash.sh", BASH, Greeting, WELCOME),
    runtime("Perl IO::Socket", "socket.pl", PERL, Greeting, WELCOME),
    runtime("Ruby socket", "socket.rb", RUBY, Greeting, WELCOME),
    runtime("Ruby net/http", "http.rb", RUBY, Http, PAGE),
    runtime("PHP streams", "stream.php", PHP, Greeting, WELCOME),
    runtime("PHP curl", "curl.php", PHP, Http, PAGE),
    runtime("C++ Boost.Asio", "asio.cc", Cpp, Greeting, WELCOME),
    runtime("Rust reqwest", "reqwest", Rust, Http, PAGE),
    runtime("Go net", "go", Go("net", "netgo"), Greeting, WELCOME),
    runtime("Go net/http", "go", Go("http", "netgo"), Http, PAGE),
    runtime(
        "Go net, libc's names",
        "go",
        Go("net", "netcgo"),
        Greeting,
        WELCOME,
    ),
];
