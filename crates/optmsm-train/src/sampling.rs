//! Rows and answers of runs whose negatives were sampled (`data.negative_rate`), brought back to all impressions.
//!
//! Of the rows of label 0 a share r was kept, so that the odds p / (1 − p) that a model learns of them are 1 / r times the true ones: the logit
//! is moved by ln r. In metrics, a row of label 0 of sampled files stands for 1 / r rows.

use std::borrow::Cow;

use optmsm_core::batch::Batch;
use optmsm_data::{DataConfig, NegativeRate, Schema};

use crate::error::Result;

/// The share of rows of label 0 that were kept, by scenario.
///
/// # Errors
/// A scenario is named that there is not.
pub fn rates(config: &DataConfig, schema: &Schema) -> Result<Vec<f64>> {
    let mut rates = match &config.negative_rate {
        None => vec![1.0; schema.scenarios.len()],
        Some(NegativeRate::All(rate)) => vec![*rate; schema.scenarios.len()],
        Some(NegativeRate::Each(named)) => {
            let named = schema.by_scenario("negative_rate", named)?;
            named.into_iter().map(|rate| rate.unwrap_or(1.0)).collect()
        }
    };
    if let Some(fallback) = schema.fallback_scenario() {
        // It is trained by rows of all scenarios.
        let negatives = schema.scenarios.iter().map(|s| (s.rows - s.positives) as f64);
        let (kept, all) =
            negatives.zip(&rates).fold((0.0, 0.0), |(kept, all), (n, r)| (kept + n, all + n / r));
        rates[fallback as usize] = if all > 0.0 { kept / all } else { 1.0 };
    }
    Ok(rates)
}

/// Shift of the logits of each scenario: ln r.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift(Vec<f64>);

impl Shift {
    /// That of a configuration.
    ///
    /// # Errors
    /// A scenario is named that there is not.
    pub fn of(config: &DataConfig, schema: &Schema) -> Result<Self> {
        Ok(Self(rates(config, schema)?.into_iter().map(f64::ln).collect()))
    }

    /// Added to the logits of each scenario.
    pub fn by_scenario(&self) -> &[f64] {
        &self.0
    }

    /// The logit of all impressions, of one that a model gives.
    pub fn at(&self, logit: f64, scenario: u32) -> f64 {
        logit + self.0[scenario as usize]
    }
}

/// Says what metrics are weighted by: a column, as it is to be shown, and sampling of negatives.
pub(crate) fn weighed_by(column: Option<String>, negatives: bool) -> Option<String> {
    let sampling = negatives.then(|| "1 / data.negative_rate in rows of label 0".to_string());
    let by: Vec<String> = column.into_iter().chain(sampling).collect();
    (!by.is_empty()).then(|| by.join(" and by "))
}

/// How rows are weighed in metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighing {
    /// Column of weights, where they count.
    pub column: Option<String>,
    /// Weight of a row of label 0 by scenario, where negatives were sampled.
    pub negatives: Option<Vec<f32>>,
}

impl Weighing {
    /// As the configuration says, of rows whose negatives were all kept (`whole`) or sampled as the training rows' were.
    ///
    /// # Errors
    /// A scenario is named that there is not.
    pub fn of(config: &DataConfig, schema: &Schema, whole: bool) -> Result<Self> {
        let weights = || -> Result<Vec<f32>> {
            Ok(rates(config, schema)?.into_iter().map(|rate| (1.0 / rate) as f32).collect())
        };
        let sampled = config.negative_rate.is_some() && !whole;
        let negatives = sampled.then(weights).transpose()?;
        Ok(Self { column: config.metrics_weight().map(str::to_string), negatives })
    }

    /// Whether every row counts once.
    pub fn is_plain(&self) -> bool {
        self.column.is_none() && self.negatives.is_none()
    }

    /// Weights of labelled rows; empty for 1.
    pub fn weights<'a>(&self, batch: &'a Batch) -> Cow<'a, [f32]> {
        let own: &[f32] = if self.column.is_some() { &batch.weights } else { &[] };
        let Some(negatives) = &self.negatives else { return Cow::Borrowed(own) };
        let rows = batch.labels.iter().zip(&batch.scenarios).enumerate();
        let weight = |(row, (&label, &scenario)): (usize, (&f32, &u32))| {
            let own = own.get(row).copied().unwrap_or(1.0);
            if label > 0.5 { own } else { own * negatives[scenario as usize] }
        };
        rows.map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use optmsm_core::predictor::probability;
    use optmsm_data::{FieldConfig, Source};

    use super::*;

    /// Scenarios x with 2 positives and 6 negatives, y with 1 and 3.
    fn schema(config: &DataConfig) -> Schema {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let row =
            |i: usize| format!("{},{},a\n", u8::from(i.is_multiple_of(4)), if i < 8 { "x" } else { "y" });
        std::fs::write(&path, "label,scenario,a\n".to_string() + &(0..12).map(row).collect::<String>())
            .unwrap();
        Schema::fit(config, Source::from(path)).unwrap()
    }

    fn config(lines: &str) -> DataConfig {
        let mut config: DataConfig = toml::from_str(lines).unwrap();
        config.fields = vec![FieldConfig::new("a")];
        config
    }

    #[test]
    fn rates_are_given_for_all_or_by_scenario() {
        let of = |lines: &str| {
            let config = config(lines);
            config.validate().unwrap();
            rates(&config, &schema(&config)).map_err(|e| e.to_string())
        };
        assert_eq!(of(""), Ok(vec![1.0, 1.0]));
        assert_eq!(of("negative_rate = 0.1"), Ok(vec![0.1, 0.1]));
        assert_eq!(of("negative_rate = { y = 0.25 }"), Ok(vec![1.0, 0.25]));
        // 6 and 3 negatives are kept of 6 and 12.
        assert_eq!(of("unseen_scenario = \"oov\"\nnegative_rate = { y = 0.25 }"), Ok(vec![1.0, 0.25, 0.5]));
        let problem = of("negative_rate = { z = 0.25 }").unwrap_err();
        assert!(problem.contains("`data.negative_rate.z`: is no scenario of the training rows"), "{problem}");
    }

    /// Of 1000 impressions in one place 200 are clicked; with a quarter of the others kept, a model says 200 / (200 + 200).
    #[test]
    fn the_shift_undoes_the_sampling() {
        let config = config("negative_rate = 0.25");
        let shift = Shift::of(&config, &schema(&config)).unwrap();
        assert_eq!(probability(shift.at(0.0, 1)), 0.2);
        for logit in [-12.0f64, -1.5, 0.3, 4.0, 30.0] {
            let p = 1.0 / (1.0 + (-logit).exp());
            let wanted = 0.25 * p / (1.0 - p + 0.25 * p);
            assert!((f64::from(probability(shift.at(logit, 0))) - wanted).abs() < 1e-7, "{logit}");
        }
        // Where p is 1 in 32 bits, the logit still tells how far it is from there.
        assert_eq!(probability(20.0), 1.0);
        let config = self::config("negative_rate = 1e-6");
        let p = f64::from(probability(Shift::of(&config, &schema(&config)).unwrap().at(20.0, 0)));
        assert!((1.0 - p - 1.0 / (1.0 + 1e-6 * 20f64.exp())).abs() < 1e-7, "{p}");
    }

    #[test]
    fn rows_of_label_0_stand_for_those_that_were_dropped() {
        let batch = Batch {
            labels: vec![0.0, 1.0, 0.0, 1.0],
            weights: vec![2.0, 2.0, 0.0, 3.0],
            scenarios: vec![0, 0, 1, 1],
            ..Batch::default()
        };
        let weights = |lines: &str, whole: bool| {
            let config = config(lines);
            Weighing::of(&config, &schema(&self::config("")), whole).unwrap().weights(&batch).to_vec()
        };
        let rate = "negative_rate = { x = 0.5, y = 0.1 }\n";
        assert!(weights("", false).is_empty());
        assert!(weights(rate, true).is_empty());
        assert_eq!(weights(rate, false), [2.0, 1.0, 10.0, 1.0]);
        let own = "weight = \"w\"\n";
        assert_eq!(weights(own, false), [2.0, 2.0, 0.0, 3.0]);
        assert_eq!(weights(&format!("{rate}{own}"), false), [4.0, 2.0, 0.0, 3.0]);
        assert_eq!(weights(&format!("{rate}{own}weighted_metrics = false"), false), [2.0, 1.0, 10.0, 1.0]);
    }
}
