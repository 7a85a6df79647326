//! The search space of each kind, in the language of a `[tune]` table.

use optmsm_core::models::Kind;
use toml::Table;

use crate::error::{Error, Result};

/// Searched for every kind: the learning rate, the decay of embedding tables, and how large their rows start.
const COMMON: &str = r#"
"train.optimizer.lr" = { log = [1e-3, 1e-2] }
"train.embedding_optimizer.weight_decay" = { log = [1e-3, 5e-2] }
"model.init_std" = { choices = [0.01, 0.1] }
"#;

/// Two settings of the kind's own. The first choice of each is its default.
fn own(kind: Kind) -> &'static str {
    match kind {
        Kind::OptMsm => {
            r#"
"model.experts.hidden" = { choices = [[64, 32], [32, 16], [128, 64]] }
"model.experts.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Dnn => {
            r#"
"model.dnn.hidden" = { choices = [[192, 64], [96, 32], [384, 128]] }
"model.dnn.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::SharedBottom => {
            r#"
"model.shared_bottom.bottom.hidden" = { choices = [[160, 64], [80, 32], [320, 128]] }
"model.shared_bottom.bottom.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Mmoe => {
            r#"
"model.mmoe.experts.count" = { choices = [0, 2, 4, 8] }
"model.mmoe.experts.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Epnet => {
            r#"
"model.epnet.gate.hidden" = { choices = [[96], [48], [192]] }
"model.epnet.tower.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Star => {
            r#"
"model.star.hidden" = { choices = [[48, 24], [24, 12], [96, 48]] }
"model.star.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Separate => {
            r#"
"model.separate.hidden" = { choices = [[64, 32], [32, 16], [128, 64]] }
"model.separate.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Dcnv2 => {
            r#"
"model.dcnv2.cross" = { choices = [2, 1, 3] }
"model.dcnv2.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Ppnet => {
            r#"
"model.ppnet.tower.hidden" = { choices = [[64, 32], [32, 16], [128, 64]] }
"model.ppnet.tower.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Pepnet => {
            r#"
"model.pepnet.tower.hidden" = { choices = [[64, 32], [32, 16], [128, 64]] }
"model.pepnet.tower.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Sarnet => {
            r#"
"model.sarnet.shared" = { choices = [3, 1, 6] }
"model.sarnet.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Hmoe => {
            r#"
"model.hmoe.experts.count" = { choices = [0, 2, 4, 8] }
"model.hmoe.experts.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Ple => {
            r#"
"model.ple.shared" = { choices = [1, 2, 4] }
"model.ple.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Adasparse => {
            r#"
"model.adasparse.hidden" = { choices = [[96, 64], [48, 32], [192, 128]] }
"model.adasparse.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::M3oe => {
            r#"
"model.m3oe.experts.count" = { choices = [2, 1, 4] }
"model.m3oe.experts.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Hamur => {
            r#"
"model.hamur.hidden" = { choices = [[96, 48], [48, 24], [192, 96]] }
"model.hamur.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::M2m => {
            r#"
"model.m2m.experts.count" = { choices = [0, 2, 4, 8] }
"model.m2m.experts.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        Kind::Apg => {
            r#"
"model.apg.rank" = { choices = [16, 8, 32] }
"model.apg.dropout" = { choices = [0.0, 0.1, 0.3] }
"#
        }
        // A new kind, whose own the test below asks for.
        _ => "",
    }
}

/// The `[tune]` table of a kind without the keys that are `fixed`.
///
/// # Errors
/// None of the tables above is wrong: a test reads them all.
pub(super) fn of(kind: Kind, fixed: &[&str]) -> Result<Table> {
    let text = [COMMON, own(kind)].concat();
    let mut table: Table = toml::from_str(&text).map_err(|e| Error::bug("search space", e))?;
    let is_fixed = |key: &str, by: &str| {
        key.strip_prefix(by).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    table.retain(|key, _| !fixed.iter().any(|by| is_fixed(key, by)));
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tune::Space;

    /// Every end and choice can be, and there are as many own settings for each kind.
    #[test]
    fn every_kind_has_a_space_of_five_settings() {
        for &kind in Kind::ALL {
            let mut config: Config = toml::from_str("[[data.fields]]\nname = \"a\"").unwrap();
            config.model.kind = kind;
            config.tune = Some(of(kind, &[]).unwrap());
            let space = Space::new(&config).unwrap();
            let own = format!("model.{}.", kind.name());
            let keys: Vec<&str> = space.keys().collect();
            assert_eq!(keys.len(), 5, "{keys:?}");
            let is_own = |key: &&&str| match kind {
                Kind::OptMsm => ["model.experts.hidden", "model.experts.dropout"].contains(*key),
                _ => key.starts_with(&own),
            };
            assert_eq!(keys.iter().filter(is_own).count(), 2, "{keys:?}");
        }
    }

    /// A setting that a contestant fixes is not searched, nor is what is inside it.
    #[test]
    fn what_is_fixed_is_not_searched() {
        let keys = |fixed: &[&str]| of(Kind::OptMsm, fixed).unwrap().keys().cloned().collect::<Vec<_>>();
        let all = keys(&[]);
        assert!(all.contains(&"model.init_std".into()) && all.contains(&"model.experts.dropout".into()));
        assert_eq!(keys(&["model.init_std"]).len(), 4);
        assert_eq!(keys(&["model.experts"]).len(), 3);
        assert_eq!(keys(&["model.exp"]).len(), 5);
    }
}
