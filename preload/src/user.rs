//! Whether a socket or a file belongs to this process's user, so that it can be the session's.

use crate::sys;

/// The user ID that the kernel shows for every user without a mapping in the user namespace (user_namespaces(7)).
const OVERFLOW_USER: u32 = 65534;

/// How much of a map is read. A map has at most 340 lines of three numbers (user_namespaces(7)), and usually a few.
const MAP_SIZE: usize = 1024;

/// Whether `user`, as the kernel shows it to this process, is its effective user.
///
/// If that user has no mapping in the user namespace, the kernel shows all unmapped users by its number, and the
/// answer is no.
pub(crate) fn is_own(user: u32) -> bool {
    user == sys::effective_user() && (user != OVERFLOW_USER || is_mapped(user))
}

/// Whether this user namespace maps that number. A map that cannot be read maps none.
///
/// With the ABI of C, whose functions the compiler takes not to unwind.
extern "C" fn is_mapped(user: u32) -> bool {
    let mut text = [0; MAP_SIZE];
    let Ok(file) = sys::open_at(libc::AT_FDCWD, c"/proc/self/uid_map".as_ptr(), libc::O_RDONLY) else {
        return false;
    };
    let read = sys::read_at(&file, &mut text, 0);
    read.ok()
        .and_then(|length| text.get(..length))
        .is_some_and(|text| maps(text, user))
}

/// Whether one of the lines, `INSIDE OUTSIDE COUNT` each, maps the number inside.
fn maps(text: &[u8], user: u32) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        let mut numbers = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .map_while(number);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(first), Some(_), Some(count)) => {
                (first..first.saturating_add(count)).contains(&u64::from(user))
            }
            _ => false,
        }
    })
}

fn number(word: &[u8]) -> Option<u64> {
    word.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_in_a_line_of_the_map_is_mapped_and_no_other() {
        let whole = b"         0          0 4294967295\n";
        assert!(maps(whole, 0) && maps(whole, OVERFLOW_USER));
        let container = b"0 1000 1\n1 100000 65535\n";
        assert!(maps(container, OVERFLOW_USER));
        for without in [&b"0 1000 1\n"[..], b"", b"0 1000\n", b"x y z\n", b"65535 0 7\n"] {
            assert!(!maps(without, OVERFLOW_USER), "{without:?}");
        }
    }

    #[test]
    fn effective_user_is_own_and_another_is_not() {
        assert!(is_own(sys::effective_user()));
        assert!(!is_own(sys::effective_user().wrapping_add(1)));
    }
}
