//! Medians, spread and ratios of a handful of numbers.

/// What several samples of the same thing say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

impl Summary {
    /// `None` without samples.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted: Vec<_> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let upper = *sorted.get(half)?;
        let median = match sorted.len() % 2 {
            0 => (sorted.get(half - 1)? + upper) / 2.0,
            _ => upper,
        };
        Some(Self { median, least, most, count: sorted.len() })
    }
}

/// The value that `share` (0 to 1) of the sorted values do not exceed.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(last)).copied()
}

/// One median by another; `None` where there is nothing to divide by.
pub(crate) fn ratio(ours: Option<Summary>, theirs: Option<Summary>) -> Option<f64> {
    let (ours, theirs) = (ours?.median, theirs?.median);
    (theirs > 0.0).then(|| ours / theirs)
}

/// A number as a person wants it: three digits that count, more only before the point.
pub(crate) fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let odd = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd, Summary { median: 2.0, least: 1.0, most: 3.0, count: 3 });
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[f64::NAN, 1.0]).unwrap().count, 1);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 1.0), Some(100.0));
        assert_eq!((quantile(&[7.0], 0.0), quantile(&[], 0.5)), (Some(7.0), None));
    }

    #[test]
    fn ratios_need_both_and_a_divisor() {
        let of = |value| Summary::of(&[value]);
        assert_eq!(ratio(of(3.0), of(2.0)), Some(1.5));
        assert_eq!(ratio(of(3.0), of(0.0)), None);
        assert_eq!(ratio(None, of(1.0)), None);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [1234.4, 99.96, 61.04, 9.995, 1.234, 0.9996, 0.1234, 0.0].map(short);
        assert_eq!(texts, ["1234", "100", "61.0", "10.0", "1.23", "1.00", "0.123", "0"]);
    }
}
