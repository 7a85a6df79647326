//! Parts that several targets share: a source of rows and its schema.

use std::path::PathBuf;
use std::sync::OnceLock;

use optmsm_data::{DataConfig, FieldConfig, Kind, Schema, Transform};

use crate::{Folder, field};

/// Rows of every kind of field.
pub(crate) struct Sample {
    folder: Folder,
    pub(crate) path: PathBuf,
    pub(crate) schema: Schema,
}

impl Sample {
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.0.path().to_owned()
    }
}

/// The one of this process.
pub(crate) fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let mut text = "label,scenario,w,g,p,user,again,tags,price,age,rank\n".to_owned();
        for i in 0..40 {
            let (label, scenario) = (i % 2, ["home", "ads"][i % 3 % 2]);
            let tags = ["a:1|b:2", "", "c:0.5", "b:1|c:1|a:3"][i % 4];
            let (user, again, price) = (i % 11, i % 5, i % 13);
            text += &format!(
                "{label},{scenario},1.5,g{},0.25,u{user},u{again},{tags},{price},{i},{}\n",
                i % 7,
                i * i
            );
        }
        let folder = Folder::new();
        let path = folder.write("rows.csv", text.as_bytes());
        let shared = |name| FieldConfig { table: Some("users".into()), ..field(name, Kind::Categorical) };
        let numeric = |name, transform| FieldConfig { transform, ..field(name, Kind::Numeric) };
        let config = DataConfig {
            weight: Some("w".into()),
            group: Some("g".into()),
            probability: Some("p".into()),
            fields: vec![
                shared("user"),
                shared("again"),
                FieldConfig { weight_separator: Some(":".into()), ..field("tags", Kind::Multi) },
                numeric("price", None),
                FieldConfig { buckets: Some(4), ..field("age", Kind::Numeric) },
                numeric("rank", Some(Transform::Quantile)),
                FieldConfig {
                    column: Some("user".into()),
                    hash_buckets: Some(9),
                    ..field("hashed", Kind::Categorical)
                },
                FieldConfig {
                    column: Some("age".into()),
                    ids: Some(50),
                    ..field("whole", Kind::Categorical)
                },
            ],
            ..DataConfig::default()
        };
        let schema = Schema::fit(&config, &path).expect("a good file");
        Sample { folder, path, schema }
    })
}
