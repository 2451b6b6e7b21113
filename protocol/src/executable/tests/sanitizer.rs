//! The sanitizer's runtime that a program needs first.

use super::*;

/// A dynamic program that depends on these libraries.
fn linked_to(libraries: &[&str], interpreter: &str) -> Vec<u8> {
    let mut names = String::from("\0");
    let mut entries = Vec::new();
    for library in libraries {
        entries.push([1, names.len() as u64]);
        names += library;
        names += "\0";
    }
    let segments = [
        interp(interpreter),
        (PT_LOAD, 0, names.clone().into_bytes()),
        (PT_DYNAMIC, 0, vec![0; 16 * (entries.len() + 3)]),
    ];
    let mut file = elf(&segments);
    let position =
        |file: &[u8], index: usize| u64::from_le_bytes(file[64 + 56 * index + 8..][..8].try_into().unwrap());
    let (table, dynamic) = (position(&file, 1), position(&file, 2) as usize);
    entries.extend([[5, table], [10, names.len() as u64]]);
    for (index, word) in entries.concat().into_iter().enumerate() {
        file[dynamic + 8 * index..][..8].copy_from_slice(&word.to_le_bytes());
    }
    file
}

#[test]
fn sanitizer_runtime_is_the_first_needed_library() {
    const LINKER: &str = "/lib64/ld-linux-x86-64.so.2";
    let name_of = |file: &Vec<u8>| {
        let runtime = runtime(file, &file[..file.len().min(HEAD)]);
        runtime.map(|runtime| String::from_utf8(runtime.name().to_vec()).unwrap())
    };
    let long = format!("/{}/libasan.so.8", "x".repeat(100));
    for (libraries, expected) in [
        (&["libasan.so.8", "libc.so.6"][..], Some("libasan.so.8")),
        (&["libtsan.so.2", "libc.so.6"], Some("libtsan.so.2")),
        (
            &["/opt/lib/libclang_rt.asan-x86_64.so"],
            Some("/opt/lib/libclang_rt.asan-x86_64.so"),
        ),
        (&["libm.so.6", "libasan.so.8"], None),
        (&["libubsan.so.1", "libc.so.6"], None),
        (&["libasan", "libc.so.6"], None),
        (&["/opt/my libs/libasan.so.8"], None),
        (&[&long], None),
        (&[], None),
    ] {
        assert_eq!(
            name_of(&linked_to(libraries, LINKER)).as_deref(),
            expected,
            "{libraries:?}"
        );
    }
    assert_eq!(
        name_of(&linked_to(&["libasan.so.8"], "/lib/ld-musl-x86_64.so.1")),
        None
    );
    let many = [vec!["libasan.so.8"], vec!["libc.so.6"; 200]].concat();
    assert_eq!(
        name_of(&linked_to(&many, LINKER)).as_deref(),
        Some("libasan.so.8")
    );
    let whole = linked_to(&["libasan.so.8"], LINKER);
    for length in 0..whole.len() {
        let _no_panic = name_of(&whole[..length].to_vec());
    }
}
