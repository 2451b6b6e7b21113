//! Median and 99th percentile of measurements.

use std::time::Duration;

/// The median and the 99th percentile.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

/// Median and percentile of durations, in microseconds; none for an empty list.
pub(crate) fn microseconds(mut measured: Vec<Duration>) -> Option<Spread> {
    measured.sort_unstable();
    let at = |quantile: f64| {
        let rank = (measured.len() as f64 * quantile) as usize;
        measured
            .get(rank.min(measured.len().checked_sub(1)?))
            .map(|duration| duration.as_secs_f64() * 1e6)
    };
    Some(Spread {
        median: at(0.5)?,
        p99: at(0.99)?,
    })
}

/// The median of numbers; 0 of none.
pub(crate) fn of(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    match numbers.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => numbers[odd / 2],
        even => f64::midpoint(numbers[even / 2 - 1], numbers[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_a_single_outlier() {
        let mut turns = vec![Duration::from_micros(10); 98];
        turns.extend([Duration::from_secs(1); 2]);
        let spread = microseconds(turns).unwrap();
        assert!((spread.median - 10.0).abs() < 1e-6);
        assert!((spread.p99 - 1e6).abs() < 1e-6);
        assert!(microseconds(Vec::new()).is_none());
    }

    #[test]
    fn median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(of(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(of(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(of(Vec::new()), 0.0);
    }
}
