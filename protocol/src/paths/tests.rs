use super::*;

const TABLE: &[u8] = b"/run/s/root:m/etc/config:s/etc/config/cache:r/data:g/etc/ssl/certs/**:l/data/local/**\
:m/var/run/secrets/token:g/app/*.yaml:m/run/plain";

fn table() -> PathTable<'static> {
    PathTable::parse(TABLE).unwrap()
}

/// The route as text: the kind, and the path below the shadow root.
fn routed(path: &str) -> String {
    let shown = |place: Place<'_>| format!("{:?} {}", place.kind, place.parts().concat().escape_ascii());
    match table().route(path.as_bytes()) {
        Route::Native => "native".to_owned(),
        Route::Parent(place) => format!("parent {}", shown(place)),
        Route::Shadow(place) => shown(place),
    }
}

#[test]
fn longest_mount_at_or_above_a_path_wins() {
    for (path, expected) in [
        ("/etc/config", "Mirrored /etc/config"),
        ("/etc/config/..data/key", "Mirrored /etc/config/..data/key"),
        ("/etc/config/cache", "Scratch /etc/config/cache"),
        ("/etc/config/cache/a", "Scratch /etc/config/cache/a"),
        ("/etc/config/cached", "Mirrored /etc/config/cached"),
        ("/etc/configured", "native"),
        ("/etc/passwd", "native"),
        ("/data/a", "Remote /data/a"),
        ("/", "native"),
    ] {
        assert_eq!(routed(path), expected, "{path}");
    }
}

#[test]
fn local_glob_wins_over_a_mount_and_a_mount_over_a_remote_glob() {
    assert_eq!(routed("/data/local/a"), "native");
    let table = PathTable::parse(b"/root:g/etc/**:m/etc/config:l/etc/config/own").unwrap();
    let kind = |path: &[u8]| match table.route(path) {
        Route::Shadow(place) => Some(place.kind),
        Route::Native | Route::Parent(_) => None,
    };
    assert_eq!(kind(b"/etc/config/a"), Some(Kind::Mirrored));
    assert_eq!(kind(b"/etc/a"), Some(Kind::Remote));
    assert_eq!(kind(b"/etc/config/own/a"), None);
}

#[test]
fn run_and_var_run_are_one_folder_and_the_shadow_has_the_tables_spelling() {
    for path in ["/run/secrets/token/a", "/var/run/secrets/token/a"] {
        assert_eq!(routed(path), "Mirrored /var/run/secrets/token/a", "{path}");
    }
    for path in ["/run/plain/a", "/var/run/plain/a"] {
        assert_eq!(routed(path), "Mirrored /run/plain/a", "{path}");
    }
    assert_eq!(routed("/var/running/plain"), "native");
}

#[test]
fn folder_above_an_entry_is_its_parent() {
    for (path, expected) in [
        ("/etc", "parent Mirrored /etc"),
        ("/run/secrets", "parent Mirrored /var/run/secrets"),
        ("/var/run", "parent Mirrored /var/run"),
        ("/app", "parent Remote /app"),
        ("/etc/ssl", "parent Remote /etc/ssl"),
        ("/app/a.json", "native"),
    ] {
        assert_eq!(routed(path), expected, "{path}");
    }
}

#[test]
fn relative_path_may_lead_to_an_entry_by_its_first_component_or_two_dots() {
    for (path, expected) in [
        ("config/key", true),
        ("./config", true),
        ("etc", true),
        ("run", true),
        ("a.yaml", true),
        ("key", false),
        ("src/config", false),
        ("a.txt", false),
        (".", false),
        ("", false),
        ("src/../x", true),
        ("..", true),
        ("src/..data", false),
        // a local glob leads nowhere else
        ("local", false),
    ] {
        assert_eq!(table().may_lead_to_entry(path.as_bytes()), expected, "{path}");
    }
}

#[test]
fn path_is_normalised_without_regard_to_links() {
    for (folder, path, expected) in [
        ("/", "/a//b/./c/", "/a/b/c"),
        ("/a", "b", "/a/b"),
        ("/a", "/b", "/b"),
        ("/a/b", "../c", "/a/c"),
        ("/a", "../../..", "/"),
        ("/", "", "/"),
        ("/", "/..data/...", "/..data/..."),
    ] {
        let mut buffer = [0; 16];
        let found = normalise(folder.as_bytes(), path.as_bytes(), &mut buffer, |_| {});
        assert_eq!(found, Some(expected.as_bytes()), "{folder} {path}");
    }
    let mut small = [0; 4];
    assert_eq!(normalise(b"/", b"/abc", &mut small, |_| {}), Some(&b"/abc"[..]));
    assert_eq!(normalise(b"/", b"/abcd", &mut small, |_| {}), None);
    assert_eq!(normalise(b"/", b"/", &mut [], |_| {}), None);
}

#[test]
fn folder_left_by_two_dots_is_told() {
    let mut left = Vec::new();
    let mut buffer = [0; 64];
    let path = normalise(b"/", b"/../etc/config/../passwd/..", &mut buffer, |folder| {
        left.push(folder.to_vec());
    });
    assert_eq!(path, Some(&b"/etc"[..]));
    assert_eq!(left, [b"/etc/config".to_vec(), b"/etc/passwd".to_vec()]);
}

#[test]
fn value_without_an_absolute_root_is_no_table_and_malformed_entries_do_not_count() {
    for value in ["", ":m/a", "root:m/a", "/:m/a"] {
        assert_eq!(PathTable::parse(value.as_bytes()), None, "{value}");
    }
    let table = PathTable::parse(b"/root/:x/a:m:m/:ma:m/b/").unwrap();
    assert_eq!(table.root(), b"/root");
    let entries: Vec<_> = table.entries().map(|entry| entry.path).collect();
    assert_eq!(entries, [b"/b"]);
}

#[test]
fn path_below_the_root_is_told_without_it() {
    for (path, expected) in [
        ("/run/s/root/etc/config", Some("/etc/config")),
        ("/run/s/root", Some("/")),
        ("/run/s/root2", None),
        ("/etc", None),
    ] {
        let found = table().without_root(path.as_bytes());
        assert_eq!(found, expected.map(str::as_bytes), "{path}");
    }
}

#[test]
fn table_knows_whether_it_has_remote_paths() {
    for (value, expected) in [("/r:m/a:s/b:l/c", false), ("/r:m/a:r/b", true), ("/r:g/a", true)] {
        assert_eq!(
            PathTable::parse(value.as_bytes()).unwrap().has_remote(),
            expected,
            "{value}"
        );
    }
}

#[test]
fn filter_lets_pass_what_the_table_is_about_and_little_else() {
    let filter = Filter::of(&table());
    for path in [
        "/etc",
        "/etc/config",
        "/etc/config/",
        "/etc/config/key",
        "/data",
        "/data/x/y",
        "/run/secrets/token/a",
        "/var/run/secrets/token/a",
        "/var/run",
        "/run/secrets",
        "/app/b.yaml",
        "/run/s/root/etc/config",
        "/usr/../etc/config",
        "/usr//lib",
        "/usr/./lib",
        "/home/.config",
    ] {
        assert!(filter.lets_pass(path.as_bytes()), "{path}");
    }
    for path in [
        "config/key",
        "token",
        "..",
        "src/../x",
        "./config",
        "src/..data",
        "data",
    ] {
        assert!(filter.lets_pass(path.as_bytes()), "{path}");
    }
    let others = [
        "/usr",
        "/usr/lib/python3",
        "/etc/passwd",
        "/home/user/src/main.rs",
        "/proc/self",
        "/",
        "/tmp/",
    ];
    let passed = others.iter().filter(|path| filter.lets_pass(path.as_bytes()));
    // two strings may share a hash
    assert!(passed.count() <= 1);
    let any = Filter::of(&PathTable::parse(b"/root:g/**/x").unwrap());
    assert!(any.lets_pass(b"/usr") && any.lets_pass(b"src") && any.lets_pass(b"/"));
    // no glob that matches the components of other entries is among these
    let plain = Filter::of(&PathTable::parse(b"/root:m/etc/config").unwrap());
    assert!(!plain.lets_pass(b"src/main.rs") && plain.lets_pass(b"etc"));
}
