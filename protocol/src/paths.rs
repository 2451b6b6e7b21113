//! The path router: which paths a session's programs find below the shadow root.
//!
//! The relay and the preloaded library decide alike, by the value of [`PATHS`](crate::environment::PATHS). Nothing
//! here allocates or panics, and every function depends on its arguments alone:
//!
//! - `l` entries win over all others; then the longest mount path (`m`, `s`, `r`) at or above the path; then `g`.
//! - A glob covers what it matches and everything below. `*` stands for any bytes of one component, `?` for one byte,
//!   `**` for any number of components, none included; a name that begins with a dot is no exception.
//! - `/var/run` is `/run`, in the table and in paths, as file-hierarchy(7) has it.
//!
//! Paths are compared by their bytes, in the form that [`normalise`] gives them. The entries' own paths have to be in
//! that form.

mod filter;
mod glob;
mod normal;

pub use filter::Filter;
pub use normal::normalise;

/// The parsed value of [`PATHS`](crate::environment::PATHS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathTable<'a> {
    root: &'a [u8],
    entries: &'a [u8],
}

/// Which path leads where: one entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What stands there.
    pub kind: EntryKind,
    /// An absolute path or a glob of such, without a slash at its end.
    pub path: &'a [u8],
}

/// What stands at an entry's path, by the letter before the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A path, of which the shadow root has what this kind says.
    Mount(Kind),
    /// A glob of remote paths.
    RemoteGlob,
    /// A glob of local paths.
    LocalGlob,
}

/// What the shadow root has of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of it, read-only.
    Mirrored,
    /// All of it, and programs may write there.
    Scratch,
    /// What the relay was asked for ([`Request::Fetch`](crate::control::Request::Fetch)), read-only.
    Remote,
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// To this machine's file.
    Native,
    /// To this machine's file; if there is none, to a folder of the shadow root, since entries lie below.
    Parent(Place<'a>),
    /// To a file of the shadow root.
    Shadow(Place<'a>),
}

/// A path below the shadow root: the root, the mount and the rest, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// What the shadow root has of it.
    pub kind: Kind,
    /// The path of the entry, as the table spells it; empty for a glob.
    pub mount: &'a [u8],
    /// What follows: empty, or beginning with a slash.
    pub rest: &'a [u8],
}

impl<'a> PathTable<'a> {
    /// The table; none if the shadow root is missing or no absolute path. Entries that are malformed do not count.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
        let (root, entries) = value.split_at_checked(end)?;
        let table = Self {
            root: trimmed(root),
            entries,
        };
        table.root.starts_with(b"/").then_some(table)
    }

    /// The shadow root, without a slash at its end.
    #[inline]
    pub fn root(&self) -> &'a [u8] {
        self.root
    }

    /// The entries, in the table's order.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        self.entries.split(|byte| *byte == b':').filter_map(Entry::parse)
    }

    /// Whether anything has to be asked of the relay before it can be read.
    #[inline]
    pub fn has_remote(&self) -> bool {
        self.entries()
            .any(|entry| matches!(entry.kind, EntryKind::RemoteGlob | EntryKind::Mount(Kind::Remote)))
    }

    /// Where a normalised path leads.
    #[inline]
    pub fn route<'p>(&self, path: &'p [u8]) -> Route<'p>
    where
        'a: 'p,
    {
        let plain = canonical(path);
        let mut best: Option<Place<'p>> = None;
        let (mut remote, mut parent) = (None, None);
        for entry in self.entries() {
            let own = canonical(entry.path);
            match entry.kind {
                EntryKind::LocalGlob if glob::covers(own, plain) => return Route::Native,
                EntryKind::LocalGlob => {}
                EntryKind::Mount(kind) => {
                    if let Some(rest) = below(plain, own) {
                        // the shorter the rest, the longer the mount
                        if best.is_none_or(|best| rest.len() < best.rest.len()) {
                            let mount = entry.path;
                            best = Some(Place { kind, mount, rest });
                        }
                    } else if plain != b"/" && below(own, plain).is_some() && parent.is_none() {
                        parent = parent_of(entry.path, own, plain).map(|mount| Place {
                            kind,
                            mount,
                            rest: b"",
                        });
                    }
                }
                EntryKind::RemoteGlob => {
                    let place = Place {
                        kind: Kind::Remote,
                        mount: b"",
                        rest: path,
                    };
                    if glob::covers(own, plain) {
                        remote = Some(place);
                    } else if parent.is_none() && glob::is_above(plain, own) {
                        parent = Some(place);
                    }
                }
            }
        }
        match (best.or(remote), parent) {
            (Some(place), _) => Route::Shadow(place),
            (None, Some(place)) => Route::Parent(place),
            (None, None) => Route::Native,
        }
    }

    /// Whether a relative path may lead to an entry from a folder that is not below one: a `..` may lead anywhere, and
    /// any other path leads to an entry only if its first component is one of the entry's.
    #[inline]
    pub fn may_lead_to_entry(&self, relative: &[u8]) -> bool {
        let mut components = normal::components(relative);
        let Some(first) = components.find(|component| *component != b".") else {
            return false;
        };
        first == b".."
            || components.any(|component| component == b"..")
            || self.entries().any(|entry| match entry.kind {
                EntryKind::Mount(_) => normal::components(entry.path).any(|component| component == first),
                EntryKind::RemoteGlob => glob::may_have_component(entry.path, first),
                EntryKind::LocalGlob => false,
            })
    }

    /// A path without the shadow root before it: the path that programs know; none if it is not below the root.
    #[inline]
    pub fn without_root<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match below(path, self.root)? {
            [] => Some(b"/"),
            rest => Some(rest),
        }
    }
}

impl<'a> Entry<'a> {
    #[inline]
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (letter, path) = text.split_first()?;
        let kind = match letter {
            b'm' => EntryKind::Mount(Kind::Mirrored),
            b's' => EntryKind::Mount(Kind::Scratch),
            b'r' => EntryKind::Mount(Kind::Remote),
            b'g' => EntryKind::RemoteGlob,
            b'l' => EntryKind::LocalGlob,
            _ => return None,
        };
        let path = trimmed(path);
        path.starts_with(b"/").then_some(Self { kind, path })
    }
}

impl<'a> Place<'a> {
    /// The path in the container, in two parts.
    #[inline]
    pub fn parts(&self) -> [&'a [u8]; 2] {
        [self.mount, self.rest]
    }
}

/// A path without the slashes at its end.
#[inline]
fn trimmed(path: &[u8]) -> &[u8] {
    let mut left = path;
    while let [rest @ .., b'/'] = left {
        left = rest;
    }
    left
}

/// `/run` for `/var/run`, and any other path as it is.
#[inline]
fn canonical(path: &[u8]) -> &[u8] {
    match path.strip_prefix(b"/var") {
        Some(run) if below(run, b"/run").is_some() => run,
        _ => path,
    }
}

/// What follows `folder` in a path at or below it: nothing, or what begins with a slash.
#[inline]
fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(folder)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// The part of a mount path that is the folder `plain`; `own` is the same mount path in its canonical form.
#[inline]
fn parent_of<'a>(mount: &'a [u8], own: &[u8], plain: &[u8]) -> Option<&'a [u8]> {
    let further = mount.len().checked_sub(own.len())?;
    mount.get(..plain.len().checked_add(further)?)
}

#[cfg(test)]
mod tests;
