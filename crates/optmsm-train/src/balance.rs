//! How much the rows of each scenario weigh in the training loss (`data.scenario_weights`), and as how many rows weighted ones count.

use std::fmt;

use optmsm_core::batch::Batch;
use optmsm_data::{DataConfig, ScenarioWeights, Schema};

use crate::error::Result;
use crate::rows::Rows;

/// Sums over the rows of one scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Rows.
    pub rows: f64,
    /// Σ w.
    pub weight: f64,
    /// Σ w².
    pub squares: f64,
}

impl Sums {
    /// So many rows of weight 1.
    fn of(rows: u64) -> Self {
        let rows = rows as f64;
        Self { rows, weight: rows, squares: rows }
    }

    /// The same rows with their weights times a factor.
    fn times(self, factor: f64) -> Self {
        Self { rows: self.rows, weight: self.weight * factor, squares: self.squares * factor * factor }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            weight: self.weight + other.weight,
            squares: self.squares + other.squares,
        }
    }

    /// Rows of one weight that a mean is as certain of: (Σ w)² / Σ w² (Kish, Survey Sampling, 1965).
    pub fn effective_rows(&self) -> f64 {
        if self.squares > 0.0 { self.weight * self.weight / self.squares } else { 0.0 }
    }
}

/// Weights of the training rows by scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// Factors of the weights of each scenario's rows.
    pub factors: Vec<f32>,
    /// Sums of each scenario's rows, factors included.
    pub sums: Vec<Sums>,
}

impl Balance {
    /// The weights of `rows`, all training rows; none where all of them are to weigh what `data.weight` says.
    ///
    /// # Errors
    /// A scenario is named that there is not; the disk fails.
    pub(crate) fn of(config: &DataConfig, schema: &Schema, rows: &Rows) -> Result<Option<Self>> {
        if config.scenario_weights.is_none() {
            return Ok(None);
        }
        let mut sums: Vec<Sums> = schema.scenarios.iter().map(|s| Sums::of(s.rows)).collect();
        if schema.weight.is_some() {
            sums.fill(Sums::default());
            rows.each(|batch| {
                add(&mut sums, batch);
                Ok(true)
            })?;
        }
        Self::new(config, schema, sums).map(Some)
    }

    /// The weights of a part of the training rows.
    ///
    /// # Errors
    /// A scenario is named that there is not.
    pub(crate) fn of_part(config: &DataConfig, schema: &Schema, batch: &Batch) -> Result<Self> {
        let mut sums = vec![Sums::default(); schema.scenarios.len()];
        add(&mut sums, batch);
        Self::new(config, schema, sums)
    }

    fn new(config: &DataConfig, schema: &Schema, mut sums: Vec<Sums>) -> Result<Self> {
        let factors: Vec<f64> = match &config.scenario_weights {
            None => vec![1.0; sums.len()],
            Some(ScenarioWeights::Each(named)) => {
                let named = schema.by_scenario("scenario_weights", named)?;
                named.into_iter().map(|weight| weight.unwrap_or(1.0)).collect()
            }
            Some(ScenarioWeights::Equal(_)) => {
                let there = sums.iter().filter(|s| s.weight > 0.0);
                let share = there.clone().map(|s| s.weight).sum::<f64>() / there.count() as f64;
                sums.iter().map(|s| if s.weight > 0.0 { share / s.weight } else { 1.0 }).collect()
            }
        };
        sums.iter_mut().zip(&factors).for_each(|(sums, &factor)| *sums = sums.times(factor));
        Ok(Self { factors: factors.into_iter().map(|factor| factor as f32).collect(), sums })
    }
}

/// Adds the rows of a batch to the sums of their scenarios.
fn add(sums: &mut [Sums], batch: &Batch) {
    for (row, &scenario) in batch.scenarios.iter().enumerate() {
        let weight = batch.weights.get(row).map_or(1.0, |&weight| f64::from(weight));
        let one = Sums { rows: 1.0, weight, squares: weight * weight };
        sums[scenario as usize] = sums[scenario as usize].plus(&one);
    }
}

/// Multiplies the weight of each row by the factor of its scenario; no factors are all 1.
pub(crate) fn weigh(batch: &mut Batch, factors: &[f32]) {
    if factors.is_empty() {
        return;
    }
    batch.weights.resize(batch.rows(), 1.0);
    batch.weights.iter_mut().zip(&batch.scenarios).for_each(|(w, &s)| *w *= factors[s as usize]);
}

/// One line on all rows.
impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.sums.iter().fold(Sums::default(), Sums::plus);
        let (rows, effective) = (all.rows, all.effective_rows());
        write!(
            f,
            "data.scenario_weights: {rows} training rows count as {effective:.0} of one weight; optmsm check says it by scenario"
        )
    }
}

#[cfg(test)]
mod tests {
    use optmsm_data::{Dataset, FieldConfig, StreamConfig, StreamMode};

    use super::*;

    /// Rows of three scenarios with weights: x 4 rows of 1, y 2 rows of 0.5 and 1.5, z 2 rows of 0.
    const ROWS: &str =
        "label,scenario,w,a\n0,x,1,1\n1,x,1,2\n0,x,1,1\n1,x,1,2\n0,y,0.5,1\n1,y,1.5,2\n0,z,0,1\n1,z,0,2\n";

    /// The configuration of some lines, its schema, and the rows in memory and on disk.
    fn rows(lines: &str) -> (DataConfig, Schema, [Rows; 2], tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, ROWS).unwrap();
        let mut config: DataConfig = toml::from_str(lines).unwrap();
        config.fields = vec![FieldConfig::new("a")];
        config.validate().unwrap();
        let schema = Schema::fit(&config, &path).unwrap();
        let load = |mode| {
            let stream = StreamConfig { mode, ..StreamConfig::default() };
            Rows::load(&(&path).into(), &schema, None, &stream, folder.path()).unwrap()
        };
        let both = [load(StreamMode::Never), load(StreamMode::Always)];
        assert!(matches!(&both, [Rows::Memory(Dataset { .. }), Rows::Disk(_)]));
        (config, schema, both, folder)
    }

    fn balance(lines: &str) -> Option<Balance> {
        let (config, schema, both, _folder) = rows(lines);
        let [memory, disk] = both.map(|rows| Balance::of(&config, &schema, &rows).unwrap());
        assert_eq!(memory, disk);
        memory
    }

    fn effective(balance: &Balance) -> Vec<f64> {
        balance.sums.iter().map(Sums::effective_rows).collect()
    }

    #[test]
    fn equal_scenarios_weigh_the_same_and_the_sum_stays() {
        assert_eq!(balance(""), None);
        // 8 rows: a third of 8 each, by 4, 2 and 2 rows.
        let found = balance("scenario_weights = \"equal\"").unwrap();
        assert_eq!(found.factors, [2.0f32 / 3.0, 4.0 / 3.0, 4.0 / 3.0]);
        assert!(found.sums.iter().all(|s| (s.weight - 8.0 / 3.0).abs() < 1e-12));
        assert!(effective(&found).iter().zip([4.0, 2.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-12));
        // Σ w = 8 and Σ w² = 4·4/9 + 4·16/9 = 80/9: 7.2 of 8 rows.
        assert!(found.to_string().contains("8 training rows count as 7 of one weight"), "{found}");
        // By the weights of the rows: 4, 2 and 0, so that two scenarios weigh 3 each. In y, (2)² / (0.25 + 2.25) = 1.6 rows.
        let found = balance("weight = \"w\"\nscenario_weights = \"equal\"").unwrap();
        assert_eq!(found.factors, [0.75, 1.5, 1.0]);
        assert!(effective(&found).iter().zip([4.0, 1.6, 0.0]).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn named_weights_are_factors() {
        let found = balance("scenario_weights = { z = 3, x = 0.5 }").unwrap();
        assert_eq!(found.factors, [0.5, 1.0, 3.0]);
        assert_eq!(found.sums.iter().map(|s| s.weight).collect::<Vec<_>>(), [2.0, 2.0, 6.0]);
    }

    #[test]
    fn a_row_weighs_its_own_weight_times_its_scenarios() {
        let batch = |weights: &[f32]| Batch {
            weights: weights.to_vec(),
            scenarios: vec![1, 0, 1],
            ..Batch::default()
        };
        let weighed = |weights: &[f32], factors: &[f32]| {
            let mut batch = batch(weights);
            weigh(&mut batch, factors);
            batch.weights
        };
        assert!(weighed(&[], &[]).is_empty());
        assert_eq!(weighed(&[1.0, 2.0, 3.0], &[]), [1.0, 2.0, 3.0]);
        assert_eq!(weighed(&[], &[0.5, 4.0]), [4.0, 0.5, 4.0]);
        assert_eq!(weighed(&[1.0, 2.0, 3.0], &[0.5, 4.0]), [4.0, 1.0, 12.0]);
    }
}
