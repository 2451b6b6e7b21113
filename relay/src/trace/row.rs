//! One line of the trace: complete for a file or a pipe, fitted into the window for a terminal.

/// The widths of all columns but the last, if the window is wide enough.
const WIDTHS: [usize; 5] = [8, 40, 24, 8, 24];

/// The columns whose width depends on the window, and whose texts may be cut.
const FLEXIBLE: [usize; 3] = [1, 2, 4];

/// The width of the other columns in a window: call, egress and time, with a space each.
const FIXED: usize = 9 + 8 + 9;

/// The mark at the end of a text that was cut.
const CUT: char = '…';

/// The columns of a line: call, target, rule, egress, result, time.
pub(super) struct Row(pub(super) [String; 6]);

impl Row {
    /// The line for a window of so many columns; the complete line without a window.
    pub(super) fn line(self, window: Option<usize>) -> String {
        let complete = self.at(&WIDTHS, 0);
        match window {
            Some(columns) if length(&complete) > columns => self.fitted(columns),
            Some(_) | None => complete,
        }
    }

    /// The line with columns that fit the window. A text longer than its column moves the next columns; if that is not
    /// enough, the longest text is cut.
    fn fitted(mut self, columns: usize) -> String {
        let room = columns.saturating_sub(FIXED);
        let (target, result) = (room * 5 / 9, room * 3 / 10);
        let rule = room - target - result;
        let widths = [9, target, rule, 8, result].map(|width| width.saturating_sub(1));
        let line = self.at(&widths, columns);
        if length(&line) <= columns {
            return line;
        }
        let close = [WIDTHS[0], 0, 0, 0, 0];
        let lengths = FLEXIBLE.map(|index| length(&self.0[index]));
        let others = length(&self.at(&close, 0)) - lengths.iter().sum::<usize>();
        let shares = shares(lengths, columns.saturating_sub(others));
        for (index, share) in FLEXIBLE.into_iter().zip(shares) {
            cut(&mut self.0[index], share);
        }
        self.at(&close, columns)
    }

    /// The texts in columns of these widths, the last one aligned to the window's end. A text longer than its column
    /// uses unused room of the next ones.
    fn at(&self, widths: &[usize; 5], columns: usize) -> String {
        let Self(texts) = self;
        let [.., time] = texts;
        let (mut line, mut used, mut stop) = (String::new(), 0, 0);
        for (text, width) in texts.iter().zip(widths) {
            line.push_str(text);
            used += length(text);
            stop += width + 1;
            let padding = stop.saturating_sub(used).max(1);
            line.extend(std::iter::repeat_n(' ', padding));
            used += padding;
        }
        let left = columns.saturating_sub(used + length(time));
        line.extend(std::iter::repeat_n(' ', left));
        line.push_str(time);
        line
    }
}

/// Divides the room among the texts: each gets what it needs, up to an even share of what the shorter ones leave, and
/// at least one column for [`CUT`].
fn shares<const COUNT: usize>(lengths: [usize; COUNT], mut room: usize) -> [usize; COUNT] {
    let mut shares = [0; COUNT];
    let mut by_length: [usize; COUNT] = std::array::from_fn(|index| index);
    // among texts of equal length the first one gets the remainder
    by_length.sort_by_key(|index| (lengths[*index], std::cmp::Reverse(*index)));
    for (done, index) in by_length.into_iter().enumerate() {
        shares[index] = lengths[index].min((room / (COUNT - done)).max(1));
        room = room.saturating_sub(shares[index]);
    }
    shares
}

/// Cuts a text to so many columns, at least one.
fn cut(text: &mut String, columns: usize) {
    let mut rest = text.char_indices().skip(columns - 1);
    if let (Some((end, _)), Some(_)) = (rest.next(), rest.next()) {
        text.truncate(end);
        text.push(CUT);
    }
}

fn length(text: &str) -> usize {
    let length = text.chars().count();
    #[cfg(test)]
    tests::COUNTED.set(tests::COUNTED.get() + length);
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// The number of characters that were counted to measure texts.
        pub(super) static COUNTED: Cell<usize> = const { Cell::new(0) };
    }

    fn row(target: &str, rule: &str, result: &str) -> Row {
        Row(["connect", target, rule, "cluster", result, "0.9 ms"].map(str::to_owned))
    }

    #[test]
    fn line_without_a_window_is_not_cut() {
        assert_eq!(
            row("10.96.10.3:7005", "default", "connected").line(None),
            "connect  10.96.10.3:7005                          default                  cluster  connected                0.9 ms"
        );
        let long = "x".repeat(300);
        assert!(
            row(&long, "default", &long)
                .line(None)
                .ends_with(&format!("{long} 0.9 ms"))
        );
    }

    #[test]
    fn long_texts_take_room_from_the_next_columns_before_they_are_cut() {
        for (target, rule, result, expected) in [
            (
                "10.96.10.3:7005",
                "default",
                "connected",
                "connect  10.96.10.3:7005               default cluster connected          0.9 ms",
            ),
            (
                "web.default.svc.cluster.local",
                "default",
                "10.96.10.1",
                "connect  web.default.svc.cluster.local default cluster 10.96.10.1         0.9 ms",
            ),
            (
                "api.office.example.com:443 (api)",
                "default",
                "connected",
                "connect  api.office.example.com:443 (api) default cluster connected       0.9 ms",
            ),
            (
                "missing.external.test",
                "--local *.external.test",
                "EAI_NONAME",
                "connect  missing.external.test --local *.external.test cluster EAI_NONAME 0.9 ms",
            ),
            (
                "web.default.svc.cluster.local",
                "--remote *.svc.cluster.local",
                "10.96.10.1",
                "connect  web.default.svc.clust… --remote *.svc.cluste… cluster 10.96.10.1 0.9 ms",
            ),
        ] {
            assert_eq!(row(target, rule, result).line(Some(80)), expected);
        }
    }

    #[test]
    fn no_line_is_wider_than_its_window() {
        for window in 20..200 {
            for target in ["a", "10.96.10.3:7005", &"name.".repeat(60)] {
                for rule in ["default", "--local *.external.test", &"r".repeat(100)] {
                    for result in [
                        "connected",
                        "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4",
                        &"é".repeat(99),
                    ] {
                        let line = row(target, rule, result).line(Some(window));
                        let least = "connect  … … cluster … 0.9 ms".chars().count();
                        assert!(length(&line) <= window.max(least), "{window}: {line}");
                        assert!(
                            line.starts_with("connect ") && line.ends_with(" 0.9 ms"),
                            "{line}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn row_layout_counts_each_character_a_bounded_number_of_times() {
        let addresses = vec!["10.96.10.100"; 10_000].join(",");
        let row = row(&addresses, "default", &addresses);
        COUNTED.set(0);
        let line = row.line(Some(80));
        assert!(COUNTED.get() <= 16 * addresses.len(), "{}", COUNTED.get());
        assert_eq!(
            line,
            "connect  10.96.10.100,10.96.10.1… default cluster 10.96.10.100,10.96.10.… 0.9 ms"
        );
    }
}
