//! Scenarios that a model predicts no better than a constant does.

use optmsm_core::batch::Batch;
use optmsm_core::metrics::{self, LOG_LOSS, Metrics, Rows};
use optmsm_core::predictor::probability;
use optmsm_data::{ScenarioSchema, Schema};

use super::Finding;
use crate::sampling::Shift;
use crate::statistics::delong;

/// Standard errors that an AUC has to be above 0.5.
const ERRORS: f64 = 2.0;

/// Share of label 1 among the training rows of each scenario, brought to all impressions; NaN without rows.
pub(super) fn rates(schema: &Schema, shift: &Shift) -> Vec<f32> {
    let rate = |(s, scenario): (usize, &ScenarioSchema)| {
        let [positives, rows] = [scenario.positives, scenario.rows].map(|n| n as f64);
        probability(shift.at((positives / (rows - positives)).ln(), s as u32))
    };
    schema.scenarios.iter().enumerate().map(rate).collect()
}

/// Findings of scenarios with at least two rows of each label. `rates` are the constants to compare with, by scenario; without
/// them only the AUC is judged.
pub(super) fn find(
    schema: &Schema,
    batch: &Batch,
    weights: &[f32],
    predictions: &[f32],
    rates: Option<&[f32]>,
) -> Vec<Finding> {
    let Batch { labels, scenarios, .. } = batch;
    let count = schema.scenarios.len();
    let evaluate = |predictions: &[f32]| {
        metrics::evaluate(predictions, Rows { labels, weights, scenarios, groups: &[] }, count).scenarios
    };
    let constants = rates.map(|rates| scenarios.iter().map(|&s| rates[s as usize]).collect::<Vec<f32>>());
    let (own, constants) = (evaluate(predictions), constants.map(|p| evaluate(&p)));
    let loss = |of: &[Metrics], s: usize| of[s].get(&LOG_LOSS);
    let mut rows = vec![Vec::new(); count];
    scenarios.iter().enumerate().for_each(|(row, &s)| rows[s as usize].push(row));
    let finding = |(s, scenario): (usize, &ScenarioSchema)| {
        let rows = &rows[s];
        let pick = |of: &[f32]| rows.iter().filter_map(|&row| of.get(row).copied()).collect::<Vec<f32>>();
        let auc = delong(&pick(labels), &pick(weights), &[(1.0, &pick(predictions))])?;
        let losses = loss(&own, s).zip(constants.as_ref().and_then(|of| loss(of, s)));
        let mut what = Vec::new();
        if let Some((own, constant)) = losses.filter(|(own, constant)| own >= constant) {
            what.push(format!("log loss {own:.4} where the rate of the training rows has {constant:.4}"));
        }
        if auc.difference <= 0.5 + ERRORS * auc.error {
            let (auc, error) = (auc.difference, auc.error);
            what.push(format!(
                "AUC {auc:.4} with a standard error of {error:.4}, no more than {ERRORS} of them above 0.5"
            ));
        }
        let what = (!what.is_empty()).then(|| format!("{} ({} rows)", what.join(", "), rows.len()))?;
        let advice = "nothing shows that it does better there than a constant: see whether the scenario has rows enough, and compare with a model \
                      that shares everything (model.kind = \"dnn\")";
        Some(Finding { place: format!("scenario {}", scenario.name), what, advice: advice.into() })
    };
    schema.scenarios.iter().enumerate().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use optmsm_data::DataConfig;

    use super::*;

    /// Scenarios a, of 4 positives in 10 training rows, b, of 1 in 4, and one without training rows.
    fn schema() -> Schema {
        let one = |name: &str, rows, positives| ScenarioSchema { name: name.into(), rows, positives };
        Schema { scenarios: vec![one("a", 10, 4), one("b", 4, 1), one("new", 0, 0)], ..fitted() }
    }

    fn fitted() -> Schema {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "label,scenario,x\n1,a,1\n0,b,2\n").unwrap();
        let config = DataConfig { fields: vec![optmsm_data::FieldConfig::new("x")], ..DataConfig::default() };
        Schema::fit(&config, optmsm_data::Source::from(path)).unwrap()
    }

    /// Rows of scenario a, then as many of b.
    fn batch(labels: &[f32]) -> Batch {
        let scenarios = [0, 1].iter().flat_map(|&s| vec![s; labels.len()]).collect();
        Batch { labels: [labels, labels].concat(), scenarios, ..Batch::default() }
    }

    const LABELS: [f32; 6] = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0];

    #[test]
    fn rates_are_shares_of_label_1_brought_to_all_impressions() {
        let config = DataConfig::default();
        let found = rates(&schema(), &Shift::of(&config, &schema()).unwrap());
        assert!((found[0] - 0.4).abs() < 1e-7 && (found[1] - 0.25).abs() < 1e-7 && found[2].is_nan());
        // Half of the negatives were dropped: 4 of 16 and 1 of 7 impressions.
        let config: DataConfig = toml::from_str("negative_rate = 0.5\nfields = []").unwrap();
        let found = rates(&schema(), &Shift::of(&config, &schema()).unwrap());
        assert!((found[0] - 0.25).abs() < 1e-7 && (found[1] - 1.0 / 7.0).abs() < 1e-7);
    }

    #[test]
    fn a_scenario_is_compared_with_the_rate_of_its_own_training_rows() {
        // In order everywhere, and its AUC without an error, so that only losses are left: −ln 0.8 or −ln 0.85 of each row.
        let near = [0.8, 0.8, 0.8, 0.2, 0.2, 0.2];
        let rates = [0.4, 0.25, f32::NAN];
        let good = find(&schema(), &batch(&LABELS), &[], &[near, near].concat(), Some(&rates));
        assert_eq!(good, []);
        // Right in order and far too low: −(ln 0.02 + ln 0.99) / 2 = 1.9610, where 0.4 has −(ln 0.4 + ln 0.6) / 2 = 0.7136.
        let low = [0.02, 0.02, 0.02, 0.01, 0.01, 0.01];
        let found = find(&schema(), &batch(&LABELS), &[], &[low, near].concat(), Some(&rates));
        let what = "log loss 1.9610 where the rate of the training rows has 0.7136 (6 rows)";
        assert_eq!(
            found.iter().map(|f| (f.place.as_str(), f.what.as_str())).collect::<Vec<_>>(),
            [("scenario a", what)]
        );
        // Of b the rate is 0.25: −(ln 0.25 + ln 0.75) / 2 = 0.8370.
        let found = find(&schema(), &batch(&LABELS), &[], &[near, low].concat(), Some(&rates));
        let what = "log loss 1.9610 where the rate of the training rows has 0.8370 (6 rows)";
        assert_eq!(
            found.iter().map(|f| (f.place.as_str(), f.what.as_str())).collect::<Vec<_>>(),
            [("scenario b", what)]
        );
        assert_eq!(find(&schema(), &batch(&LABELS), &[], &[low, near].concat(), None), []);
    }

    #[test]
    fn weights_count_and_rows_of_one_label_are_not_judged() {
        // −(3 ln 0.02 + ln 0.99) / 4 = 2.9365, and −(3 ln 0.4 + ln 0.6) / 4 = 0.8149.
        let (near, low) = ([0.8, 0.8, 0.8, 0.2, 0.2, 0.2], [0.02, 0.02, 0.02, 0.01, 0.01, 0.01]);
        let weights = [[3.0, 3.0, 3.0, 1.0, 1.0, 1.0]; 2].concat();
        let rates = [0.4, 0.25, f32::NAN];
        let found = find(&schema(), &batch(&LABELS), &weights, &[low, near].concat(), Some(&rates));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "log loss 2.9365 where the rate of the training rows has 0.8149 (6 rows)");
        assert_eq!(find(&schema(), &batch(&[0.0; 6]), &[], &[near, near].concat(), Some(&rates)), []);
    }

    #[test]
    fn an_auc_has_to_be_two_standard_errors_above_chance() {
        // Of 9 pairs 6 are in order: 0.6667. Shares of the other label that rows are on the right side of: 1, 1, 0 and 2/3 each;
        // the error is √((1/3)/3) = 0.3333 of the positives alone.
        let poor = [0.9, 0.8, 0.1, 0.5, 0.4, 0.3];
        let near = [0.8, 0.8, 0.8, 0.2, 0.2, 0.2];
        let found = find(&schema(), &batch(&LABELS), &[], &[near, poor].concat(), None);
        let what = "AUC 0.6667 with a standard error of 0.3333, no more than 2 of them above 0.5 (6 rows)";
        assert_eq!(
            found.iter().map(|f| (f.place.as_str(), f.what.as_str())).collect::<Vec<_>>(),
            [("scenario b", what)]
        );
        // A constant has 0.5 and no error.
        let found = find(&schema(), &batch(&LABELS), &[], &[near, [0.4; 6]].concat(), None);
        assert!(found.len() == 1 && found[0].what.starts_with("AUC 0.5000 with a standard error of 0.0000"));
    }
}
