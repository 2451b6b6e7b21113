//! Names of variables: patterns of them, and those that stay this machine's.

use crate::exit::Failure;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What stays this machine's unless `--env-include` says otherwise: whatever describes the user, the terminal, the
/// desktop and the files of this machine, and the paths and agents of language runtimes, which lie elsewhere in the
/// container. So does what has shells and tools run code: who may edit the workload is not to run code here.
const LOCAL: [&str; 85] = [
    "_",
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM*",
    "COLORTERM",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "TMPDIR",
    "TMP",
    "TEMP",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_*",
    "SSH_AUTH_SOCK",
    "DBUS_SESSION_BUS_ADDRESS",
    "KUBECONFIG",
    "DOCKER_HOST",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "CATALINA_HOME",
    "CATALINA_BASE",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "NODE_OPTIONS",
    "NODE_PATH",
    "GOPATH",
    "GOROOT",
    "GOBIN",
    "GOCACHE",
    "GOMODCACHE",
    "GOTOOLCHAIN",
    "GEM_*",
    "BUNDLE*",
    "RUBYLIB",
    "RUBYOPT",
    "PERL5LIB",
    "PERL5OPT",
    "DOTNET_ROOT*",
    "DOTNET_STARTUP_HOOKS",
    "CARGO_HOME",
    "RUSTUP_*",
    "RUST_LOG",
    "CORECLR_*",
    "PERLLIB",
    "PYTHONUSERBASE",
    "PYTHONBREAKPOINT",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "LUA_PATH*",
    "LUA_CPATH*",
    "BASH_ENV",
    "BASH_FUNC_*",
    "BASHOPTS",
    "SHELLOPTS",
    "PROMPT_COMMAND",
    "PS?",
    "ZDOTDIR",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "LESSOPEN",
    "LESSCLOSE",
    "INPUTRC",
    "GIT_SSH*",
    "GIT_CONFIG*",
    "GIT_EXTERNAL_DIFF",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
    "GCONV_PATH",
    "LOCPATH",
    "GLIBC_TUNABLES",
];

/// Never the workload's: the dynamic linker's, whose libraries are the container's, and kinject's own.
const OWN: [&str; 2] = ["LD_", "KINJECT_"];

/// A glob of names: `*` stands for any bytes, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamePattern(OsString);

impl NamePattern {
    /// Parses the value of an option.
    pub(crate) fn parse(option: &str, text: &OsStr) -> Result<Self, Failure> {
        if text.is_empty() || text.as_bytes().contains(&b'=') {
            return Err(Failure::own(
                format!("{option} {}: no name of a variable", shown(text)),
                "name a variable, or several with `*` and `?`, such as 'DB_*'",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Parses the value of `--env-include`, which cannot name what is never the workload's.
    pub(crate) fn parse_included(option: &str, text: &OsStr) -> Result<Self, Failure> {
        let pattern = Self::parse(option, text)?;
        match own_prefix(text) {
            Some(own) => Err(Failure::own(
                format!(
                    "{option} {}: the workload's {own}* variables never reach a program here",
                    shown(text)
                ),
                "leave it out: LD_* names libraries of the container, and KINJECT_* is kinject's own",
            )),
            None => Ok(pattern),
        }
    }

    /// Whether a name is one of these.
    pub(crate) fn matches(&self, name: &OsStr) -> bool {
        glob(self.0.as_bytes(), name.as_bytes())
    }
}

/// Whether a variable stays this machine's if no option says otherwise.
pub(crate) fn is_local(name: &OsStr) -> bool {
    LOCAL
        .iter()
        .any(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
}

/// Whether a variable is never the workload's.
pub(crate) fn is_own(name: &OsStr) -> bool {
    own_prefix(name).is_some()
}

fn own_prefix(text: &OsStr) -> Option<&'static str> {
    OWN.into_iter()
        .find(|own| text.as_bytes().starts_with(own.as_bytes()))
}

/// Whether an environment can hold the name (environ(7)).
pub(crate) fn is_possible(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().iter().any(|byte| matches!(byte, b'=' | 0))
}

/// A name in a message.
pub(crate) fn shown(name: &OsStr) -> String {
    kinject_escape::bytes(name.as_bytes())
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, name),
        (Some((b'*', rest)), Some((_, later))) => glob(rest, name) || glob(pattern, later),
        (Some((b'?', rest)), Some((_, later))) => glob(rest, later),
        (Some((byte, rest)), Some((first, later))) => byte == first && glob(rest, later),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_glob_stands_for_any_bytes_and_question_mark_for_one() {
        for (pattern, name, matches) in [
            ("DB_*", "DB_HOST", true),
            ("DB_*", "DB_", true),
            ("DB_*", "MY_DB_HOST", false),
            ("*_URL", "A_URL", true),
            ("*_URL", "A_URLS", false),
            ("*A*B*", "xAyBz", true),
            ("*A*B*", "xByAz", false),
            ("A?C", "ABC", true),
            ("A?C", "AC", false),
            ("*", "", true),
            ("a", "A", false),
            ("[A]", "A", false),
        ] {
            let parsed = NamePattern(pattern.into());
            assert_eq!(parsed.matches(OsStr::new(name)), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn variables_of_user_terminal_and_runtimes_are_local_and_configuration_is_not() {
        for name in [
            "PATH",
            "HOME",
            "TERMINFO",
            "LC_ALL",
            "XDG_RUNTIME_DIR",
            "KUBECONFIG",
            "JAVA_HOME",
            "GEM_HOME",
            "BUNDLE_GEMFILE",
            "BUNDLER_VERSION",
            "RUST_LOG",
            "BASH_FUNC_ls%%",
            "PS4",
            "GIT_SSH_COMMAND",
        ] {
            assert!(is_local(OsStr::new(name)), "{name}");
        }
        for name in [
            "DATABASE_URL",
            "KUBERNETES_SERVICE_HOST",
            "HOSTNAME",
            "TZ",
            "HTTP_PROXY",
            "SSL_CERT_FILE",
            "ENV",
            "GIT_COMMIT",
            "NODE_ENV",
            "PYTHONUNBUFFERED",
            "HOMEPAGE",
            "PATHS",
        ] {
            assert!(!is_local(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn linker_and_kinject_variables_cannot_be_included_by_name() {
        let error = |text: &str| {
            NamePattern::parse_included("--env-include", OsStr::new(text))
                .unwrap_err()
                .error
        };
        assert_eq!(
            error("LD_PRELOAD"),
            "--env-include LD_PRELOAD: the workload's LD_* variables never reach a program here"
        );
        assert!(error("KINJECT_*").contains("KINJECT_* variables never"));
        assert!(error("A=B").contains("A=B: no name of a variable"));
        assert!(error("").ends_with(": no name of a variable"));
        assert!(NamePattern::parse_included("--env-include", OsStr::new("*")).is_ok());
        assert!(NamePattern::parse("--env-exclude", OsStr::new("LD_*")).is_ok());
    }
}
