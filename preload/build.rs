//! Compiles the C files, and links the library so that it depends on libc alone.
//!
//! Loading `libgcc_s.so.1` would be most of the cost of a preloaded library for an exec. rustc links every dynamic
//! library with it, so that panics can unwind; ours has none. Two measures keep it, and the standard library's own
//! panic machinery, out:
//!
//! - The personality routine, to which every frame description of the standard library refers, is replaced by one of
//!   ours (`c/unwind.c`). The linker then finds that nothing of the standard library is used.
//! - A linker script named `libgcc_s.so`, in a folder that is searched first, replaces libgcc_s by the static
//!   archives, for linkers that resolve symbols before they remove unused code.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// Arguments that make an exec cheaper. Each mapping costs it 5 µs, and each page that is written 1 µs:
///
/// - Constants are in the segment of the code.
/// - What only the dynamic linker writes is in one segment with what the library writes. Full RELRO, which protects
///   the former, takes another mapping, another page and mprotect(2): 7 to 9 µs for each exec, where the whole
///   library costs 20 (alternating runs of 4,000 execs of true(1), three times). It protects little here, since the
///   addresses of libc's functions have to stay writable (`src/real.rs`). All symbols are bound at load time all the
///   same (`-z now`, rustc's default).
/// - That segment begins at a page, since it fits in one.
const FEWER_MAPPINGS: [&str; 3] = [
    "-Wl,--no-rosegment",
    "-Wl,-z,norelro",
    "-Wl,-z,separate-loadable-segments",
];

const SOURCES: [&str; 2] = ["c/execl.c", "c/unwind.c"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut code = cc::Build::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        code.file(source);
    }
    // frame descriptions let a cancelled thread unwind through these functions too
    code.flag("-std=c99")
        .flag("-fvisibility=hidden")
        .flag("-fexceptions");
    code.warnings_into_errors(true).compile("kinject_preload_c");
    println!("cargo::rustc-cdylib-link-arg=-Wl,--wrap=rust_eh_personality");

    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?);
    if let Some(script) = static_libgcc(code.get_compiler().path())? {
        fs::write(folder.join("libgcc_s.so"), script)?;
        println!("cargo::rustc-cdylib-link-arg=-L{}", folder.display());
    }
    for argument in FEWER_MAPPINGS {
        if linker_takes(argument, &folder)? {
            println!("cargo::rustc-cdylib-link-arg={argument}");
        }
    }
    Ok(())
}

/// Whether the linker accepts an argument, by linking a small library with it.
fn linker_takes(argument: &str, folder: &Path) -> io::Result<bool> {
    let variable = |name| env::var_os(name).ok_or_else(|| io::Error::other(format!("{name} is not set")));
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["-", "--crate-name=probe", "--crate-type=cdylib", "--target"]);
    rustc
        .arg(variable("TARGET")?)
        .arg("-o")
        .arg(folder.join("probe.so"));
    rustc.args(["-C", &format!("link-arg={argument}")]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(rustc.status()?.success())
}

/// A linker script that replaces libgcc_s; none if the compiler comes without GCC's archives.
fn static_libgcc(compiler: &Path) -> io::Result<Option<String>> {
    let mut archives = Vec::new();
    for name in ["libgcc_eh.a", "libgcc.a"] {
        let output = Command::new(compiler)
            .arg(format!("-print-file-name={name}"))
            .output()?;
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        // a name that is not found comes back as it was given
        if !output.status.success() || !path.is_absolute() || !path.exists() {
            return Ok(None);
        }
        archives.push(format!("\"{}\"", path.display()));
    }
    Ok(Some(format!("INPUT({})\n", archives.join(" "))))
}
