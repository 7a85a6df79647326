//! The standard work as files, for `optmsm train --profile`: FOLDER/train.csv and FOLDER/standard.toml.
//!
//!     cargo run --release -p optmsm-benches --bin standard_data -- FOLDER [--large]
//!     optmsm train --config FOLDER/standard.toml --profile

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Parser;
use optmsm_benches::{rows, standard};
use optmsm_core::batch::Column;
use optmsm_core::config::Role;

#[derive(Parser)]
#[command(about = "Writes the standard work as CSV with its configuration")]
struct Args {
    /// Where the two files go.
    folder: PathBuf,
    /// Tables of up to 200,000 rows.
    #[arg(long)]
    large: bool,
    /// Rows.
    #[arg(long, default_value_t = 409_600)]
    rows: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    fs::create_dir_all(&args.folder)?;
    let (model, input) = standard(args.large);
    let batch = rows(&input, args.rows, 1);
    let path = args.folder.join("train.csv");
    let mut csv = BufWriter::new(File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?);
    write!(csv, "label,scenario")?;
    input.fields.iter().try_for_each(|f| write!(csv, ",{}", f.name))?;
    writeln!(csv)?;
    for row in 0..batch.rows() {
        write!(csv, "{},{}", batch.labels[row], batch.scenarios[row])?;
        for column in &batch.columns {
            if let Column::Categorical(ids) = column {
                write!(csv, ",{}", ids[row])?;
            }
        }
        writeln!(csv)?;
    }
    csv.flush()?;

    let mut toml = String::new();
    writeln!(toml, "data_dir = {:?}\n\n[data]\ntrain = \"train.csv\"\n", args.folder.display().to_string())?;
    for field in &input.fields {
        let role = if field.role == Role::Shared { "shared" } else { "specific" };
        writeln!(toml, "[[data.fields]]\nname = \"{}\"\nrole = \"{role}\"\n", field.name)?;
    }
    writeln!(toml, "[model]\nembedding_dim = {}", model.embedding_dim)?;
    writeln!(toml, "experts = {{ hidden = {:?} }}", model.experts.hidden)?;
    writeln!(toml, "specific = {{ hidden = {:?} }}", model.specific.hidden)?;
    writeln!(toml, "tower = {{ hidden = {:?} }}", model.tower.hidden)?;
    writeln!(toml, "hyper = {{ rank = {}, trunk = {} }}", model.hyper.rank, model.hyper.trunk)?;
    writeln!(toml, "\n[train]\nbatch_size = 4096\nepochs = 2")?;
    fs::write(args.folder.join("standard.toml"), toml)?;
    Ok(())
}
