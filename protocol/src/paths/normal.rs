//! The form in which paths are compared.

/// The components of a path, without the empty ones between two slashes.
#[inline]
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
}

/// Writes a path without empty components, `.` and `..` into the buffer and returns it: a slash before each component,
/// or one slash. `folder` is absolute, and comes before a path that is relative; `..` takes the component before it
/// away, without regard to symbolic links. `left` is called with each folder that `..` leaves.
///
/// None if the result does not fit into the buffer.
#[inline]
pub fn normalise<'b>(
    folder: &[u8],
    path: &[u8],
    buffer: &'b mut [u8],
    mut left: impl FnMut(&[u8]),
) -> Option<&'b [u8]> {
    let folder = if path.starts_with(b"/") { b"" } else { folder };
    let mut length = 0_usize;
    for component in components(folder).chain(components(path)) {
        match component {
            b"." => {}
            b".." => {
                let written = buffer.get(..length)?;
                if !written.is_empty() {
                    left(written);
                }
                length = written.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
            }
            name => {
                let end = length.checked_add(1)?.checked_add(name.len())?;
                let (slash, field) = buffer.get_mut(length..end)?.split_first_mut()?;
                *slash = b'/';
                field.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
                length = end;
            }
        }
    }
    if length == 0 {
        *buffer.first_mut()? = b'/';
        length = 1;
    }
    buffer.get(..length)
}
