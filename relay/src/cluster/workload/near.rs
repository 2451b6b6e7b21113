//! The names that a user may have meant.

/// How many names a message lists.
const MAX_NAMES: usize = 5;

/// Of the names that there are, those nearest to a wrong one by edit distance, at most [`MAX_NAMES`].
pub(in crate::cluster) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let distance = |name: &str| match name.contains(wrong) || wrong.contains(name) {
        // part of the other one, as without a suffix
        true => 1,
        false => strsim::damerau_levenshtein(wrong, name),
    };
    let mut names: Vec<_> = names.into_iter().map(|name| (distance(name), name)).collect();
    names.sort();
    names.into_iter().take(MAX_NAMES).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first_and_five_at_most() {
        let names = ["zebra", "web-canary", "wbe", "api", "db", "queue", "cache"];
        let nearest = nearest("web", names);
        assert_eq!(nearest[..2], ["wbe", "web-canary"]);
        assert_eq!(nearest.len(), MAX_NAMES);
    }
}
