//! Splitting one file: each row is in one part, and the rows of a group stay together.

use std::collections::{HashMap, HashSet};

use optmsm_data::{DataConfig, Dataset, FieldConfig, Schema, Split, SplitConfig};

/// 500 rows of 60 users; the numeric field `row` says which row one is.
fn file(folder: &tempfile::TempDir) -> (std::path::PathBuf, DataConfig) {
    let path = folder.path().join("all.csv");
    let mut text = "label,scenario,user,row\n".to_string();
    for i in 0..500 {
        text += &format!("{},{},u{},{i}\n", i % 2, ["a", "b"][i / 7 % 2], i * i % 61);
    }
    std::fs::write(&path, text).unwrap();
    let mut row = FieldConfig::new("row");
    row.kind = optmsm_data::Kind::Numeric;
    row.transform = Some(optmsm_data::Transform::None);
    let fields = vec![FieldConfig::new("user"), row];
    let config = DataConfig { fields, group: Some("user".into()), ..DataConfig::default() };
    (path, config)
}

/// Row numbers and groups of a part.
fn part(path: &std::path::Path, config: &DataConfig, part: Split) -> (Vec<u64>, Vec<u64>) {
    let schema = Schema::fit(config, path).unwrap();
    let set = Dataset::load_part(path, &schema, config.split.as_ref().unwrap(), part).unwrap();
    let optmsm_core::batch::Column::Numeric(rows) = &set.batch.columns[1] else { panic!("a number") };
    (rows.iter().map(|&r| r as u64).collect(), set.extra.groups.clone())
}

const PARTS: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

#[test]
fn every_row_is_in_one_part_and_groups_stay_together() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut config) = file(&folder);
    for by in ["row", "user"] {
        let split = SplitConfig { valid: 0.2, test: 0.3, seed: 7, by: by.into() };
        config.split = Some(split);
        let parts = PARTS.map(|p| part(&path, &config, p));
        let mut rows: Vec<u64> = parts.iter().flat_map(|p| p.0.clone()).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..500).collect::<Vec<_>>(), "by {by}");
        let mut owner: HashMap<u64, HashSet<usize>> = HashMap::new();
        for (i, p) in parts.iter().enumerate() {
            p.1.iter().for_each(|&group| _ = owner.entry(group).or_default().insert(i));
        }
        let torn = owner.values().filter(|parts| parts.len() > 1).count();
        assert_eq!(torn == 0, by == "user", "by {by}: {torn} groups are in several parts");
    }
}

#[test]
fn the_schema_is_fitted_on_the_training_part_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut config) = file(&folder);
    config.split = Some(SplitConfig { by: "user".into(), test: 0.3, ..SplitConfig::default() });
    let schema = Schema::fit(&config, &path).unwrap();
    let users: HashSet<u64> = part(&path, &config, Split::Train).1.into_iter().collect();
    let optmsm_data::Encoding::Categorical { vocabulary } = &schema.fields[0].encoding else { panic!() };
    assert_eq!(vocabulary.size() - 1, users.len()); // one id is out-of-vocabulary
    assert_eq!(schema.rows, part(&path, &config, Split::Train).0.len() as u64);
    // Another seed, another split.
    let before = part(&path, &config, Split::Test).0;
    config.split.as_mut().unwrap().seed = 2;
    assert_ne!(part(&path, &config, Split::Test).0, before);
}

#[test]
fn an_empty_part_and_a_missing_column_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut config) = file(&folder);
    let shown = path.display().to_string();
    let schema = Schema::fit(&config, &path).unwrap();
    let split = SplitConfig { test: 1e-9, ..SplitConfig::default() };
    let error = Dataset::load_part(&path, &schema, &split, Split::Test).unwrap_err().to_string();
    let fix = "raise its share, give more rows, or change data.split.seed";
    assert_eq!(error, format!("{shown}: no row falls into the test part of data.split; {fix}"));
    config.split = Some(SplitConfig { valid: 0.999_999_999, test: 0.0, ..SplitConfig::default() });
    let error = Schema::fit(&config, &path).unwrap_err().to_string();
    assert_eq!(error, format!("{shown}: no row falls into the train part of data.split; {fix}"));
    config.split = Some(SplitConfig { by: "usr".into(), ..SplitConfig::default() });
    let error = Schema::fit(&config, &path).unwrap_err().to_string();
    let wanted = "line 1: no column 'usr', which data.split.by names; did you mean 'user'?";
    assert!(error.starts_with(&format!("{shown} {wanted}")), "{error}");
}
