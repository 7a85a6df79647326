//! The configuration of synthetic data, built in or in files.

use std::path::Path;

use optmsm_data::SynthWorld;

use crate::config::Config;
use crate::error::{Error, FileErrorKind, Result};
use crate::origin::Origin;

/// Files, fields and settings; all but the folder.
const SETTINGS: &str = include_str!("world.toml");
/// Passes that are enough for the demo, and for other worlds, which have less than half of its rows.
const PASSES: [&str; 2] = ["epochs = 20\n", "epochs = 60\n"];

/// The configuration of `train.csv`, `valid.csv` and `test.csv` of a folder.
///
/// # Errors
/// None but those of a program that was built wrong.
pub fn config(folder: String) -> Result<Config> {
    let config = Config::parse("synthetic data", SETTINGS, &[])?;
    // Nobody wrote it: what is wrong is in what the user changes.
    Ok(Config { data_dir: Some(folder), origin: Origin::default(), ..config })
}

/// The same as the text of a file, for a world that lies in `folder`.
///
/// # Errors
/// The folder's path is not UTF-8.
pub fn text(world: SynthWorld, folder: &Path) -> Result<String> {
    let shown = folder.display().to_string();
    let absolute = std::path::absolute(folder);
    let absolute = absolute.map_err(|e| Error::io(&shown, "found", e, "check the path given to --dir"))?;
    let Some(path) = absolute.to_str() else {
        let problem = "is not UTF-8, as a configuration must be";
        return Err(Error::file(FileErrorKind::Unfit, shown, problem, "write to another folder"));
    };
    let (name, about) = (world.name(), world.about());
    let settings = match world {
        SynthWorld::Demo => SETTINGS.into(),
        _ => for_few_rows(world),
    };
    Ok(format!(
        "# {about}: `optmsm synth --world {name}`.\n# docs/worlds.md says how clicks come about.\n\ndata_dir = {}\n{settings}",
        toml::Value::from(path)
    ))
}

/// The settings with dropout and more passes; experts for a few groups where scenarios are many.
fn for_few_rows(world: SynthWorld) -> String {
    let count = if world == SynthWorld::Many { "count = 16\n" } else { "" };
    let [demo, others] = PASSES;
    let settings = SETTINGS.replace(demo, others);
    format!("{settings}\n[model.experts]\n{count}dropout = 0.2\n\n[model.tower]\ndropout = 0.1\n")
}

#[cfg(test)]
mod tests {
    use optmsm_data::{DataConfig, synth};

    use super::*;

    #[test]
    fn the_settings_name_the_columns_of_the_data() {
        let file = |part: &str| Some(format!("{part}.csv").into());
        let (train, valid, test) = (file("train"), file("valid"), file("test"));
        let files = DataConfig { train, valid, test, ..synth::data_config() };
        assert_eq!(config("folder".into()).unwrap().data, files);
    }

    #[test]
    fn a_folder_of_any_name_is_found_again() {
        for world in SynthWorld::ALL {
            let folder = Path::new("/data/it's \"all\" \\ mine\u{7f}\n#");
            let config = Config::parse("world.toml", &text(world, folder).unwrap(), &[]).unwrap();
            assert_eq!(config.data_dir.as_deref(), folder.to_str());
            let few = world != SynthWorld::Demo;
            assert_eq!(
                (config.train.epochs, config.model.tower.dropout > 0.0),
                (if few { 60 } else { 20 }, few)
            );
            assert_eq!(config.model.experts.count, if world == SynthWorld::Many { 16 } else { 0 });
        }
    }
}
