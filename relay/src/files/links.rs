//! Where symbolic links of the container lead below the shadow root.
//!
//! They lead where they lead in the container, and never to a file of this machine: a program that serves what it finds
//! in a volume must not serve the user's own files because somebody put a link into the volume.

use kinject_protocol::paths::{PathTable, Route, normalise};

/// Longer than any path with a shadow root before it.
const BUFFER_BYTES: usize = 3 * 4096;

/// The target of a link that stands at the absolute path `link`, as it is put below the shadow root. None if it is too
/// long.
///
/// A relative target stays as it is if it cannot leave the shadow root: it begins with at most as many `..` as there are
/// folders around the link, and has none behind a name, which may be a link to anywhere.
pub(super) fn shadow_target(table: &PathTable<'_>, link: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if is_of_every_machine(target) || is_confined(link, target) {
        return Some(target.to_vec());
    }
    let end = link.iter().rposition(|byte| *byte == b'/')?;
    let mut buffer = [0; BUFFER_BYTES];
    let path = normalise(link.get(..end)?, target, &mut buffer, |_| {})?;
    Some([table.root(), &spelled(table, path)].concat())
}

/// A path as the table spells it, by which it stands below the shadow root.
pub(super) fn spelled(table: &PathTable<'_>, path: &[u8]) -> Vec<u8> {
    match table.route(path) {
        Route::Shadow(place) | Route::Parent(place) => place.parts().concat(),
        Route::Native => path.to_vec(),
    }
}

/// Devices and streams that mean the same in every container, as logs of web servers are linked to them.
fn is_of_every_machine(target: &[u8]) -> bool {
    let name = match target.strip_prefix(b"/dev/") {
        Some(name) => name,
        None => return is_number(target.strip_prefix(b"/proc/self/fd/")),
    };
    matches!(
        name,
        b"null" | b"zero" | b"full" | b"random" | b"urandom" | b"tty" | b"stdin" | b"stdout" | b"stderr"
    ) || is_number(name.strip_prefix(b"fd/"))
}

fn is_number(text: Option<&[u8]>) -> bool {
    text.is_some_and(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit))
}

fn is_confined(link: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    // the last component is the link itself
    let mut around = components(link).count().saturating_sub(1);
    let mut has_name = false;
    components(target).all(|component| match component {
        b"." => true,
        b".." => {
            let is_inside = !has_name && around > 0;
            around = around.saturating_sub(1);
            is_inside
        }
        _ => {
            has_name = true;
            true
        }
    })
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(link: &str, target: &str) -> String {
        let table = PathTable::parse(b"/s/root:m/etc/config:r/var/run/data").unwrap();
        let shown = shadow_target(&table, link.as_bytes(), target.as_bytes()).unwrap();
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn link_within_its_folder_keeps_its_target() {
        for (link, kept) in [
            ("/etc/config/..data", "..2026_11_28"),
            ("/etc/config/key", "..data/key"),
            ("/etc/config/a/key", "../../../b"),
            ("/etc/config/a/key", "./../b/./c"),
            ("/log/access", "/dev/stdout"),
            ("/log/access", "/dev/fd/1"),
            ("/log/access", "/proc/self/fd/22"),
        ] {
            assert_eq!(target(link, kept), kept, "{link}");
        }
    }

    #[test]
    fn link_out_of_its_volume_leads_to_the_same_path_below_the_shadow_root() {
        for (link, given, expected) in [
            ("/data/x", "/etc/passwd", "/s/root/etc/passwd"),
            ("/data/x", "/etc/config/key", "/s/root/etc/config/key"),
            ("/data/x", "/run/data/a", "/s/root/var/run/data/a"),
            ("/data/x", "/../../etc/./passwd", "/s/root/etc/passwd"),
            ("/data/x", "../../../etc/passwd", "/s/root/etc/passwd"),
            ("/data/x", "sub/../../../../etc/passwd", "/s/root/etc/passwd"),
            ("/data/x", "sub/../y", "/s/root/data/y"),
            ("/data/x", "/dev/mem", "/s/root/dev/mem"),
            ("/data/x", "/dev/fd/1/../../mem", "/s/root/dev/mem"),
            ("/data/x", "/proc/self/root/etc", "/s/root/proc/self/root/etc"),
            ("/data/x", "/proc/self/fd/", "/s/root/proc/self/fd"),
            ("/data/x", "/", "/s/root/"),
        ] {
            assert_eq!(target(link, given), expected, "{link} {given}");
        }
    }
}
