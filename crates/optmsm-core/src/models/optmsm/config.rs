//! Settings of OptMSM, which stand in `[model]` itself.

use serde::{Deserialize, Serialize};

use crate::config::{InputSpec, ModelConfig, Role, check};
use crate::error::{Error, Result};

/// How the experts' outputs become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Softmax gate over all experts, from the specific encoding.
    Gate,
    /// Expert `s` belongs to scenario `s`; needs K = S.
    Select,
    /// The mean of all experts, an ablation.
    Mean,
}

/// Function behind the last layer of the experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// ReLU, then dropout: orthogonal vectors have disjoint supports.
    #[default]
    Relu,
    /// Nothing.
    Linear,
    /// Layer normalization of each expert's output.
    Normalized,
}

/// Specific-information encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecificConfig {
    /// Widths of the layers; the last is p.
    pub hidden: Vec<usize>,
}

impl Default for SpecificConfig {
    fn default() -> Self {
        Self { hidden: vec![16] }
    }
}

impl ModelConfig {
    /// Widths of OptMSM's tower from its input `m + p` to the logit.
    pub fn tower_widths(&self) -> Vec<usize> {
        let last = |v: &[usize]| v.last().copied().unwrap_or(0);
        let first = last(&self.experts.hidden) + last(&self.specific.hidden);
        std::iter::once(first).chain(self.tower.hidden.iter().copied()).chain([1]).collect()
    }
}

/// Checks the settings against each other and against the inputs.
pub(crate) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    check::width("model.hyper.scenario_dim", config.hyper.scenario_dim)?;
    check::width("model.hyper.trunk", config.hyper.trunk)?;
    check::some_widths("model.specific.hidden", &config.specific.hidden)?;
    check::widths("model.tower.hidden", &config.tower.hidden)?;
    check::dropout("model.tower.dropout", config.tower.dropout)?;
    check::at_least_zero("model.orthogonality", config.orthogonality)?;
    let other = match config.combine {
        Combine::Gate | Combine::Mean => "",
        Combine::Select => "model.combine = \"gate\" and ",
    };
    check::experts("model.experts", &config.experts, input.scenarios, other)?;
    select(config, input)?;
    normalized(config)?;
    let widest = config.tower_widths().windows(2).map(|w| w[0].min(w[1])).max().unwrap_or(1);
    if config.hyper.rank > widest {
        return Err(Error::config(
            "model.hyper.rank",
            format!("{} is larger than every tower layer can use ({widest})", config.hyper.rank),
            format!("set it to {widest} or less, or 0 to generate whole matrices"),
        ));
    }
    validate_roles(input.fields.iter().map(|f| f.role))
}

/// Checks that the experts have something to read.
pub(crate) fn validate_roles(mut roles: impl Iterator<Item = Role>) -> Result<()> {
    if roles.any(|role| role == Role::Shared) {
        return Ok(());
    }
    let fix = "give at least one field role = \"shared\": the experts read them";
    Err(Error::config("data.fields", "no field has the role shared", fix))
}

/// Checks that `combine = "select"` has an expert for each scenario.
fn select(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let (k, s) = (config.experts.count(input.scenarios), input.scenarios);
    if config.combine == Combine::Select && k != s {
        return Err(Error::config(
            "model.experts.count",
            format!("combine = \"select\" gives each scenario its own expert, but K = {k} and S = {s}"),
            format!("set experts.count = {s} (or 0), or combine = \"gate\""),
        ));
    }
    Ok(())
}

/// Checks that there is something to normalize.
fn normalized(config: &ModelConfig) -> Result<()> {
    if config.expert_output == Activation::Normalized && config.experts.hidden.last() == Some(&1) {
        let problem = "ends in a width of 1, and a normalized output of one element is always 0";
        let fix = "make the last width at least 2, or set model.expert_output = \"linear\"";
        return Err(Error::config("model.experts.hidden", problem, fix));
    }
    Ok(())
}

/// A new configuration's settings: those that were best in the mean over data sets (docs/benchmarks/ideas.md). Few rows are
/// learnt by heart without dropout.
pub(crate) fn starter(scenarios: usize, most: usize, few_rows: bool) -> String {
    let most_experts = check::MAX_EXPERTS;
    let count = match scenarios > most {
        false => "# count: one expert for each scenario when not given".into(),
        true => {
            format!(
                "count = 16            # for {scenarios} scenarios; {most_experts} at most, also where each has its own"
            )
        }
    };
    let [experts, tower] = if few_rows { ["dropout = 0.2\n", "dropout = 0.1\n"] } else { [""; 2] };
    format!(
        "expert_output = \"linear\"\northogonality = 0.0   # weight of a penalty that keeps the experts apart\n\n\
         [model.experts]\n{count}\nhidden = [64, 32]\n{experts}\n\
         [model.specific]\nhidden = [16]\n\n[model.tower]\nhidden = [32]\n{tower}"
    )
}
