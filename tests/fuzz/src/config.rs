//! A configuration: what loads can be written and loads again as the same.

use optmsm_train::config::Config;

use crate::memory;

/// Texts that mean something.
pub const WORDS: &[&str] = &[
    "[[data.fields]]\nname = \"x\"\n",
    "kind = \"numeric\"\n",
    "kind = \"multi\"\n",
    "transform = \"log1p\"\n",
    "fill = 1e300\n",
    "[model]\n",
    "[train]\n",
    "hash_buckets = 4294967295\n",
    "ids = 0\n",
    "= nan\n",
    "= inf\n",
    "= -0.0\n",
    "\"\"\"",
    "{ }",
    "delimiter = \"\\t\"\n",
    "split = { valid = 0.1, test = 0.1 }\n",
    "[tune]\n",
    "data.stream.mode = \"always\"\n",
];

/// Good configurations.
pub fn seeds() -> Vec<Vec<u8>> {
    let small = "[data]\ntrain = \"a.csv\"\nvalid = [\"b.csv\", \"c.csv\"]\nweight = \"w\"\n[[data.fields]]\nname = \"user\"\nhash_buckets = 100\n\
        [[data.fields]]\nname = \"price\"\nkind = \"numeric\"\ntransform = \"log1p\"\nfill = 0.5\n[model]\nexperts = { hidden = [8, 4], dropout = 0.1 }\n\
        [train]\nbatch_size = 64\noptimizer = { lr = 0.01 }\nschedule = { warmup_steps = 5 }\nclip_norm = 1.0\n";
    let tables = "data_dir = \"x\"\n[data]\nlabel = \"y\"\nunseen_scenario = \"oov\"\nsplit = { valid = 0.1, test = 0.1, by = \"user\" }\n\
        stream = { mode = \"always\", folder = \"f\", shuffle_rows = 8192 }\n[[data.fields]]\nname = \"a\"\ntable = \"t\"\nrole = \"shared\"\n\
        [[data.fields]]\nname = \"b\"\ntable = \"t\"\nkind = \"multi\"\nseparator = \" \"\nweight_separator = \":\"\npooling = \"sum\"\nmax_length = 5\n\
        [tune]\ntrials = 3\n";
    vec![small.into(), tables.into()]
}

/// Loads a configuration.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    memory::within(64, || {
        let Ok(config) = Config::parse("c.toml", text, &[]) else { return };
        let written = config.to_toml().expect("a configuration that can be written");
        let again = Config::parse("c.toml", &written, &[]).unwrap_or_else(|e| panic!("{e}\n{written}"));
        // As text: NaN, which a search may name, is no other NaN.
        assert_eq!(again.to_toml().expect("the same"), written);
    });
}
