//! Globs of absolute paths.

use super::normal::components;

/// The component that stands for any number of components.
const ANY: &[u8] = b"**";

/// Whether a glob matches the path, or a folder above it.
#[inline]
pub(super) fn covers(glob: &[u8], path: &[u8]) -> bool {
    let (mut wanted, mut found) = (components(glob), components(path));
    // where to go on if what follows the last `**` does not match here
    let mut retry = None;
    loop {
        match wanted.next() {
            None => return true,
            Some(ANY) => retry = Some((wanted.clone(), found.clone())),
            Some(pattern) => {
                // of fewer components no later part matches either
                let Some(component) = found.next() else {
                    return false;
                };
                if matches(pattern, component) {
                    continue;
                }
                let Some((after, rest)) = &mut retry else {
                    return false;
                };
                rest.next();
                (wanted, found) = (after.clone(), rest.clone());
            }
        }
    }
}

/// Whether paths that a glob matches lie below the path, as far as the components before a `**` say.
#[inline]
pub(super) fn is_above(path: &[u8], glob: &[u8]) -> bool {
    let mut wanted = components(glob);
    // the root folder is on every machine
    if components(path).next().is_none() {
        return false;
    }
    let all_match = components(path).all(|component| match wanted.next() {
        None | Some(ANY) => false,
        Some(pattern) => matches(pattern, component),
    });
    all_match && wanted.next().is_some()
}

/// Whether a path that a glob matches, and no folder above it, may have this component.
#[inline]
pub(super) fn may_have_component(glob: &[u8], component: &[u8]) -> bool {
    let mut wanted = components(glob);
    let mut is_any_before = false;
    wanted.any(|pattern| {
        // at the end it adds only what is below
        let is_any_between = core::mem::replace(&mut is_any_before, pattern == ANY);
        is_any_between || (pattern != ANY && matches(pattern, component))
    })
}

/// Whether a component of a glob matches more than one component.
#[inline]
pub(super) fn is_pattern(component: &[u8]) -> bool {
    component.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether one component matches a pattern with `*` and `?`.
#[inline]
fn matches(pattern: &[u8], component: &[u8]) -> bool {
    let (mut pattern, mut component) = (pattern, component);
    // where to go on if what follows the last `*` does not match here
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, component) {
            ([b'*', after @ ..], rest) => {
                retry = Some((after, rest));
                pattern = after;
            }
            ([], []) => return true,
            ([wanted, after @ ..], [byte, rest @ ..]) if *wanted == b'?' || wanted == byte => {
                (pattern, component) = (after, rest);
            }
            _ => {
                let Some((after, [_, rest @ ..])) = retry else {
                    return false;
                };
                retry = Some((after, rest));
                (pattern, component) = (after, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_and_question_mark_match_within_a_component() {
        for (pattern, component, expected) in [
            ("*", "..data", true),
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yaml.b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("ab", "a", false),
            ("**", "a", true),
        ] {
            let found = matches(pattern.as_bytes(), component.as_bytes());
            assert_eq!(found, expected, "{pattern} {component}");
        }
    }

    #[test]
    fn glob_covers_what_it_matches_and_everything_below() {
        for (glob, path, expected) in [
            ("/etc/ssl", "/etc/ssl", true),
            ("/etc/ssl", "/etc/ssl/certs/a", true),
            ("/etc/ssl", "/etc", false),
            ("/etc/ssl", "/etc/ssl2", false),
            ("/etc/ssl/**", "/etc/ssl", true),
            ("/etc/ssl/**", "/etc/ssl/a/b", true),
            ("/app/*.yaml", "/app/a.yaml", true),
            ("/app/*.yaml", "/app/b/a.yaml", false),
            ("/**/a.yaml", "/a.yaml", true),
            ("/**/a.yaml", "/b/c/a.yaml", true),
            ("/**/a/b", "/a/a/b", true),
            ("/**/a/b", "/a/c/b", false),
            ("/a/**/b/**/c", "/a/b/x/b/y/c", true),
            ("/a/**/b/**/c", "/a/x/c", false),
            ("/", "/a", true),
        ] {
            let found = covers(glob.as_bytes(), path.as_bytes());
            assert_eq!(found, expected, "{glob} {path}");
        }
    }

    #[test]
    fn folder_above_a_glob_is_known_by_the_components_before_two_stars() {
        for (path, glob, expected) in [
            ("/app", "/app/*.yaml", true),
            ("/app/a.yaml", "/app/*.yaml", false),
            ("/app", "/*/a", true),
            ("/app", "/**/a", false),
            ("/b", "/app/a", false),
        ] {
            let found = is_above(path.as_bytes(), glob.as_bytes());
            assert_eq!(found, expected, "{path} {glob}");
        }
    }

    #[test]
    fn component_between_two_stars_and_the_next_may_be_any() {
        for (glob, component, expected) in [
            ("/app/*.yaml", "app", true),
            ("/app/*.yaml", "a.yaml", true),
            ("/app/*.yaml", "b", false),
            ("/app/**", "b", false),
            ("/app/**/c", "b", true),
        ] {
            let found = may_have_component(glob.as_bytes(), component.as_bytes());
            assert_eq!(found, expected, "{glob} {component}");
        }
    }
}
