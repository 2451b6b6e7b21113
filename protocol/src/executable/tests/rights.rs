//! Rights that a file gives, and those that a process has given up.

use super::*;

#[test]
fn file_rights_are_a_blocker_only_where_they_elevate() {
    let plain = Rights {
        mode: 0o100_755,
        owner: 0,
        group: 0,
        user: 1000,
        own_group: 1000,
        has_capabilities: false,
    };
    for (rights, expected) in [
        (plain, None),
        (
            Rights {
                mode: 0o104_755,
                ..plain
            },
            Some(InjectionBlocker::SetUser),
        ),
        (
            Rights {
                mode: 0o104_755,
                user: 0,
                own_group: 0,
                ..plain
            },
            None,
        ),
        (
            Rights {
                mode: 0o102_755,
                ..plain
            },
            Some(InjectionBlocker::SetGroup),
        ),
        (
            Rights {
                mode: 0o102_745,
                ..plain
            },
            None,
        ),
        (
            Rights {
                mode: 0o102_755,
                own_group: 0,
                ..plain
            },
            None,
        ),
        (
            Rights {
                has_capabilities: true,
                ..plain
            },
            Some(InjectionBlocker::Capabilities),
        ),
        (
            Rights {
                has_capabilities: true,
                user: 0,
                ..plain
            },
            None,
        ),
    ] {
        assert_eq!(rights.blocker(), expected, "{rights:?}");
    }
    assert!(holds_capabilities(
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    ));
    assert!(holds_capabilities(
        b"\0\0\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"
    ));
    assert!(!holds_capabilities(
        b"\0\0\0\x02\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\0\0"
    ));
    assert!(!holds_capabilities(b""));
}

#[test]
fn mdwe_without_inheritance_does_not_apply_to_children() {
    for (answer, holds, for_children) in [
        (-1, false, false),
        (0, false, false),
        (1, true, true),
        (3, true, false),
    ] {
        let sealing = Mdwe::from_answer(answer);
        assert_eq!(
            (sealing.holds(), sealing.holds_for_children()),
            (holds, for_children)
        );
    }
}
