use super::*;

const TABLE: &[u8] = b"/s:m/etc/config:s/cache:r/data:m/var/run/secrets/token";

/// Where a path leads from a folder: the kind of answer, and the path that libc gets.
fn located(folder: &str, is_inside: bool, path: &str) -> String {
    let mut buffer = PathBuffer::new();
    let located = locate_from(TABLE, folder.as_bytes(), is_inside, path.as_bytes(), &mut buffer).unwrap();
    let other = buffer.path().escape_ascii().to_string();
    match located {
        Located::Native => "native".to_owned(),
        Located::Elsewhere => format!("elsewhere {other}"),
        Located::Parent(above) => {
            let elsewhere = if above.is_elsewhere { " elsewhere" } else { "" };
            let paths = PathTable::parse(TABLE).unwrap();
            let mount = above.lengths.mount(TABLE);
            buffer.put_below(paths.root(), mount, above.lengths.rest).unwrap();
            let below = buffer.path().escape_ascii().to_string();
            format!("parent {:?} {other} {below}{elsewhere}", above.kind)
        }
        Located::Shadow(found) => {
            let own = if found.is_own { " as it is" } else { "" };
            let mount = if found.is_mount { " mount" } else { "" };
            format!("{:?} {other}{mount}{own}", found.kind)
        }
    }
}

#[test]
fn absolute_path_leads_to_the_shadow_root_or_stays() {
    for (path, expected) in [
        ("/etc/config/key", "Mirrored /s/etc/config/key"),
        ("/etc//config/./key/", "Mirrored /s/etc/config/key"),
        ("/etc/config", "Mirrored /s/etc/config mount"),
        ("/usr/../etc/config/key", "Mirrored /s/etc/config/key"),
        ("/etc/passwd", "native"),
        ("/usr/../etc/passwd", "native"),
        ("/run/secrets/token/a", "Mirrored /s/var/run/secrets/token/a"),
        (
            "/var/run/secrets",
            "parent Mirrored /var/run/secrets /s/var/run/secrets",
        ),
        ("/run/secrets", "parent Mirrored /run/secrets /s/var/run/secrets"),
        // the kernel would look for /etc/config on this machine
        ("/etc/config/../passwd", "elsewhere /etc/passwd"),
        ("/etc/config/../config/key", "Mirrored /s/etc/config/key"),
    ] {
        assert_eq!(located("/", false, path), expected, "{path}");
    }
}

#[test]
fn path_below_the_shadow_root_is_the_containers() {
    for (path, expected) in [
        ("/s/etc/config/key", "Mirrored /s/etc/config/key as it is"),
        ("/s/etc", "native"),
        ("/s/usr", "native"),
        ("/s", "native"),
        ("/s/etc/../data/a", "Remote /s/data/a as it is"),
    ] {
        assert_eq!(located("/", false, path), expected, "{path}");
    }
}

#[test]
fn relative_path_is_the_folders() {
    for (folder, path, expected) in [
        ("/etc", "config/key", "Mirrored /s/etc/config/key"),
        ("/etc/x", "../config/key", "Mirrored /s/etc/config/key"),
        ("/", "etc/config", "Mirrored /s/etc/config mount"),
        ("/home", "config", "native"),
        ("/home", "..", "native"),
    ] {
        assert_eq!(located(folder, false, path), expected, "{folder} {path}");
    }
}

#[test]
fn relative_path_in_the_shadow_root_is_kept_unless_it_leaves() {
    for (folder, path, expected) in [
        ("/etc/config", "key", "Mirrored /s/etc/config/key as it is"),
        ("/etc/config", ".", "Mirrored /s/etc/config mount as it is"),
        ("/etc/config", "../passwd", "elsewhere /etc/passwd"),
        ("/etc/config", "..", "parent Mirrored /etc /s/etc elsewhere"),
        ("/etc/config/sub", "../key", "Mirrored /s/etc/config/key"),
        ("/cache", "a", "Scratch /s/cache/a as it is"),
        (
            "/var/run/secrets/token",
            "a",
            "Mirrored /s/var/run/secrets/token/a as it is",
        ),
        ("/run/secrets/token", "a", "Mirrored /s/var/run/secrets/token/a"),
    ] {
        assert_eq!(located(folder, true, path), expected, "{folder} {path}");
    }
}

#[test]
fn path_that_does_not_fit_is_left_to_the_kernel() {
    let long = format!("/etc/config/{}", "a/".repeat(3000));
    assert_eq!(located("/", false, &long), "native");
}

#[test]
fn ending_of_a_path_tells_whether_it_names_a_folder() {
    for (path, ending) in [
        ("/a", Ending::Name),
        ("/a/", Ending::Slash),
        ("/", Ending::Slash),
        (".", Ending::Dots),
        ("..", Ending::Dots),
        ("/a/.", Ending::Dots),
        ("a/..", Ending::Dots),
        ("/a/..data", Ending::Name),
        ("a.", Ending::Name),
        ("", Ending::Name),
    ] {
        assert_eq!(Ending::of(path.as_bytes()), ending, "{path}");
    }
}
