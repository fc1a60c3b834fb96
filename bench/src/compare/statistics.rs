//! Means, scatter, and the ratio of two samples with its interval of confidence.

/// Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom. Source: any table of it.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The same for infinitely many, which is below every other: used beyond the table.
const NORMAL: f64 = 1.960;

/// The 95 % point for that many degrees of freedom; between two entries, the more cautious one.
fn student(freedom: f64) -> f64 {
    let whole = freedom.floor().max(1.0) as usize;
    STUDENT.get(whole - 1).copied().unwrap_or(NORMAL)
}

/// One figure over repetitions.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        Self {
            values: values.into_iter().collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn mean(&self) -> f64 {
        mean(&self.values)
    }

    /// Standard deviation over the mean; `None` for fewer than two values.
    pub(crate) fn spread(&self) -> Option<f64> {
        let variance = variance(&self.values)?;
        (self.mean() != 0.0).then(|| variance.sqrt() / self.mean())
    }

    /// Half the width of the mean's 95 % interval; `None` for fewer than two values.
    pub(crate) fn margin(&self) -> Option<f64> {
        let variance = variance(&self.values)?;
        let count = self.values.len() as f64;
        Some(student(count - 1.0) * (variance / count).sqrt())
    }

    /// Logarithms; a value of 0, which has none, counts as the smallest that can be told from it.
    fn logarithms(&self) -> Vec<f64> {
        self.values
            .iter()
            .map(|value| value.max(0.5).ln())
            .collect()
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of a sample, so divided by one less; `None` for fewer than two values.
fn variance(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    Some(squares.sum::<f64>() / (values.len() - 1) as f64)
}

/// How much larger the second sample is than the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// Of the geometric means.
    pub(crate) ratio: f64,
    /// Where the true ratio lies with 95 % confidence; `None` when a sample has fewer than two
    /// values.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Ratio {
    pub(crate) fn of(first: &Sample, second: &Sample) -> Self {
        let (one, two) = (first.logarithms(), second.logarithms());
        let difference = mean(&two) - mean(&one);
        let margin = welch_margin(&one, &two);
        Self {
            ratio: difference.exp(),
            interval: margin
                .map(|margin| ((difference - margin).exp(), (difference + margin).exp())),
        }
    }
}

/// Half the width of the 95 % interval of the difference of two means.
fn welch_margin(one: &[f64], two: &[f64]) -> Option<f64> {
    let part =
        |values: &[f64]| Some((variance(values)? / values.len() as f64, values.len() as f64));
    let ((first, count), (second, other)) = (part(one)?, part(two)?);
    let sum = first + second;
    if sum == 0.0 {
        return Some(0.0);
    }
    let freedom = sum.powi(2) / (first.powi(2) / (count - 1.0) + second.powi(2) / (other - 1.0));
    Some(student(freedom) * sum.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.iter().copied())
    }

    fn assert_near(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() < 1e-3 * expected.abs(),
            "{value} is not {expected}"
        );
    }

    #[test]
    fn a_margin_is_that_of_the_textbook() {
        // Mean 5, standard deviation 2.138 over 8 values; t is 2.365 for 7 degrees of freedom.
        let sample = sample(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_near(sample.mean(), 5.0);
        assert_near(sample.spread().unwrap(), 2.138 / 5.0);
        assert_near(sample.margin().unwrap(), 2.365 * 2.138 / 8_f64.sqrt());
    }

    #[test]
    fn a_clear_difference_is_no_noise() {
        let ratio = Ratio::of(
            &sample(&[100.0, 101.0, 99.0]),
            &sample(&[200.0, 202.0, 198.0]),
        );
        assert_near(ratio.ratio, 2.0);
        let (low, high) = ratio.interval.unwrap();
        assert!(
            1.9 < low && low < 2.0 && 2.0 < high && high < 2.1,
            "{low} {high}"
        );
    }

    #[test]
    fn a_difference_within_the_scatter_holds_one() {
        let ratio = Ratio::of(
            &sample(&[90.0, 110.0, 100.0]),
            &sample(&[95.0, 118.0, 102.0]),
        );
        let (low, high) = ratio.interval.unwrap();
        assert!(low < 1.0 && 1.0 < high, "{low} {high}");
    }

    #[test]
    fn one_repetition_has_no_interval() {
        let ratio = Ratio::of(&sample(&[100.0]), &sample(&[300.0, 310.0]));
        assert_eq!(ratio.interval, None);
        assert_eq!(sample(&[1.0]).margin(), None);
    }

    #[test]
    fn unequal_scatter_takes_the_freedom_of_the_wilder_sample() {
        // All of the scatter is the second sample's, so 2 degrees of freedom are left: t is 4.303.
        let (one, two) = ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]);
        assert_near(welch_margin(&one, &two).unwrap(), 4.303 / 3_f64.sqrt());
    }
}
