//! Runs as models of the server.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use optmsm_core::error::Error as CoreError;
use optmsm_data::{DataError, Place, RequestKind};
use optmsm_serve::{Candidates, Input, Kind, Loader, Model, Refusal, RefusalKind, Rows, Seen, Stamp};

use crate::error::Error;
use crate::run::Run;
use crate::scorer::{Scorer, ScorerOptions, Scores};
use crate::{calibration, note};

/// Opens runs, with the same options each.
pub(super) struct Runs(pub(super) ScorerOptions);

/// A run that answers.
struct Served {
    scorer: Scorer,
    inputs: Vec<Input>,
    scenarios: Vec<String>,
    properties: Vec<(String, String)>,
}

impl Loader for Runs {
    fn load(&self, path: &Path) -> Result<Arc<dyn Model>, String> {
        let scorer = Scorer::open(path, &self.0).map_err(|e| e.to_string())?;
        Ok(Arc::new(Served::new(scorer)))
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        let facts = |path: &Path| fs::metadata(path).ok().map(|facts| (facts.len(), facts.modified().ok()));
        // Without parameters there is nothing to load.
        let best = facts(&Run::checkpoint_in(path, "best"))?;
        let others = ["config.toml", note::NAME, "schema.json", calibration::NAME];
        let mut hash = DefaultHasher::new();
        (best, others.map(|name| facts(&path.join(name)))).hash(&mut hash);
        Some(Stamp(hash.finish()))
    }
}

impl Served {
    fn new(scorer: Scorer) -> Self {
        let inputs = scorer.columns().iter().map(|column| Input {
            name: column.name.clone(),
            kind: match column.kind {
                RequestKind::Text => Kind::Text,
                RequestKind::Number => Kind::Number,
                RequestKind::List => Kind::List { weighted: false },
                RequestKind::WeightedList => Kind::List { weighted: true },
            },
            // A column that is left out by mistake would pass for missing values.
            optional: false,
        });
        let mut properties = vec![
            ("kind".to_owned(), scorer.run().config.model.kind.name().to_owned()),
            ("device".to_owned(), scorer.device()),
        ];
        if let Some(data) = scorer.calibrated_by() {
            properties.push(("calibration".to_owned(), data.to_owned()));
        }
        if let Some(folded) = scorer.folded() {
            let text = format!("{} layers, {} fields, {} bytes", folded.layers, folded.fields, folded.bytes);
            properties.push(("folded".to_owned(), text));
        }
        let scenarios = scorer.scenarios().map(str::to_owned).collect();
        Self { inputs: inputs.collect(), scenarios, properties, scorer }
    }

    fn answered(&self, scores: crate::error::Result<Scores>, seen: &mut Seen) -> Result<Vec<f32>, Refusal> {
        let scores = scores.map_err(refusal)?;
        for (scenario, probability) in scores.scenarios.iter().zip(&scores.probabilities) {
            seen.predicted(*scenario as usize, *probability);
        }
        for (input, values) in scores.unknown.iter().enumerate() {
            seen.unknown(input, *values);
        }
        Ok(scores.probabilities)
    }
}

impl Model for Served {
    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn scenario(&self) -> Option<usize> {
        Some(0)
    }

    fn scenarios(&self) -> &[String] {
        &self.scenarios
    }

    fn fingerprint(&self) -> &str {
        self.scorer.fingerprint()
    }

    fn properties(&self) -> &[(String, String)] {
        &self.properties
    }

    fn predict(&self, rows: &Rows<'_>, seen: &mut Seen) -> Result<Vec<f32>, Refusal> {
        self.answered(self.scorer.score(rows.len(), |column, row| rows.get(row, column)), seen)
    }

    fn candidates(&self, candidates: &Candidates<'_>, seen: &mut Seen) -> Result<Vec<f32>, Refusal> {
        let scores = match candidates.user(0) {
            Some(_) => {
                let user = |column| candidates.user(column);
                self.scorer.candidates(candidates.len(), user, |column, item| candidates.get(item, column))
            }
            // Each item has a scenario of its own.
            None => self.scorer.score(candidates.len(), |column, item| candidates.get(item, column)),
        };
        self.answered(scores, seen)
    }
}

/// Errors of values are the request's, others the run's.
fn refusal(e: Error) -> Refusal {
    let of_request =
        |row, column, problem, fix| Refusal { kind: RefusalKind::Request, row, column, problem, fix };
    match e {
        Error::Data(DataError::Value { place: Place::Row(row), column, problem, fix, .. }) => {
            of_request(usize::try_from(row).ok().map(|row| row.saturating_sub(1)), Some(column), problem, fix)
        }
        Error::Rows { problem, fix, .. } => of_request(None, None, problem, fix),
        Error::Argument { argument, problem, fix } => {
            of_request(None, None, format!("{argument}: {problem}"), fix)
        }
        Error::Core(e @ CoreError::Batch { .. }) => {
            let text = e.to_string();
            let (problem, fix) = text.rsplit_once("; ").unwrap_or((&text, "send fewer rows"));
            of_request(None, None, problem.to_owned(), fix.to_owned())
        }
        other => Refusal::internal(other.to_string(), "see what the server wrote on standard error"),
    }
}
