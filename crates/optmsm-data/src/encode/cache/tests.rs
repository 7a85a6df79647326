use std::fs;

use super::*;
use crate::config::{DataConfig, FieldConfig, Kind};
use optmsm_core::batch::Column;

use crate::encode::Dataset;

/// Rows of every kind of field, with weights, groups and probabilities.
fn source(folder: &Path, rows: usize) -> (PathBuf, Schema) {
    let path = folder.join("rows.csv");
    let mut text = "label,scenario,w,g,p,user,tags,price\n".to_string();
    for i in 0..rows {
        let tags = ["a:1|b:2", "", "c:0.5", "b:1|c:1|a:3"][i % 4];
        text += &format!(
            "{},{},{}.5,g{},0.25,u{},{tags},{}\n",
            i % 2,
            ["x", "y"][i % 3 % 2],
            i % 5,
            i % 7,
            i % 11,
            i % 13
        );
    }
    fs::write(&path, text).unwrap();
    let field = |name: &str, kind| FieldConfig { kind, ..FieldConfig::new(name) };
    let tags = FieldConfig { weight_separator: Some(":".into()), ..field("tags", Kind::Multi) };
    let config = DataConfig {
        weight: Some("w".into()),
        group: Some("g".into()),
        probability: Some("p".into()),
        fields: vec![FieldConfig::new("user"), tags, field("price", Kind::Numeric)],
        ..DataConfig::default()
    };
    let schema = Schema::fit(&config, &path).unwrap();
    (path, schema)
}

fn prepare(path: &Path, schema: &Schema, folder: &Path) -> (Cache, Prepared) {
    Cache::prepare(&path.into(), schema, None, folder, |_| {}).unwrap()
}

/// All blocks, one after the other.
fn all(cache: &Cache) -> Dataset {
    let mut set = Dataset { batch: cache.batch(), extra: Extra::default() };
    let mut bytes = Vec::new();
    (0..cache.blocks()).for_each(|b| cache.read(b, &mut set.batch, &mut set.extra, &mut bytes).unwrap());
    set
}

#[test]
fn rows_come_back_as_they_were_read() {
    for rows in [1, 3, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 5] {
        let folder = tempfile::tempdir().unwrap();
        let (path, schema) = source(folder.path(), rows);
        let (cache, prepared) = prepare(&path, &schema, &folder.path().join("cache"));
        assert_eq!(
            (prepared, cache.rows(), cache.blocks()),
            (Prepared::Made, rows, rows.div_ceil(BLOCK_ROWS))
        );
        assert_eq!(all(&cache), Dataset::load(&path, &schema).unwrap());
        // Blocks in another order are the rows of these blocks.
        let (mut batch, mut extra) = (cache.batch(), Extra::default());
        for block in (0..cache.blocks()).rev() {
            cache.read(block, &mut batch, &mut extra, &mut Vec::new()).unwrap();
        }
        batch.validate(&schema.input_spec()).unwrap();
        assert_eq!(batch.rows(), rows);
    }
}

#[test]
fn a_cache_is_found_again_until_its_source_or_schema_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 100);
    let caches = folder.path().join("cache");
    assert_eq!(prepare(&path, &schema, &caches).1, Prepared::Made);
    assert_eq!(prepare(&path, &schema, &caches).1, Prepared::Found);
    // Left by a process that was killed when the cache was whole.
    let lock = caches.join(".rows-0123456789abcdef.lock");
    fs::write(&lock, "process 1").unwrap();
    assert_eq!(prepare(&path, &schema, &caches).1, Prepared::Found);
    assert!(!lock.exists());
    let mut other = schema.clone();
    other.fields.pop();
    let (cache, prepared) = prepare(&path, &other, &caches);
    assert_eq!((prepared, cache.batch().columns.len()), (Prepared::Made, 2));
    // Of the same size, but another text.
    let text = fs::read_to_string(&path).unwrap().replacen("u3", "u4", 1);
    fs::write(&path, text).unwrap();
    let (cache, prepared) = prepare(&path, &schema, &caches);
    assert_eq!((prepared, all(&cache)), (Prepared::Made, Dataset::load(&path, &schema).unwrap()));
}

/// A run keeps absolute paths of what a configuration names by relative ones.
#[test]
fn a_cache_is_found_by_every_path_to_its_source() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    fs::create_dir(&folder).unwrap();
    let (path, schema) = source(&folder, 100);
    let caches = parent.path().join("cache");
    assert_eq!(prepare(&path, &schema, &caches).1, Prepared::Made);
    let name = path.file_name().unwrap();
    for other in [folder.join(".").join(name), folder.join("..").join("data").join(name)] {
        assert_eq!(prepare(&other, &schema, &caches).1, Prepared::Found, "{}", other.display());
    }
    let moved = parent.path().join("moved");
    fs::rename(&folder, &moved).unwrap();
    assert_eq!(prepare(&moved.join(name), &schema, &caches).1, Prepared::Found);
    // A column of all rows.
    let home = parent.path().join("scenario=home");
    fs::rename(&moved, &home).unwrap();
    let files = Source::from(home.join(name)).data_files().unwrap();
    let found = key(&schema, &files, None).unwrap();
    assert!(
        fs::read_dir(&caches).unwrap().all(|e| !e
            .unwrap()
            .path()
            .display()
            .to_string()
            .contains(&found[..16]))
    );
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 300);
    let caches = folder.path().join("cache");
    let (cache, _) = prepare(&path, &schema, &caches);
    let (at, want) = (cache.path().to_path_buf(), all(&cache));
    let good = fs::read(&at).unwrap();
    let mut damages =
        vec![Vec::new(), good[..good.len() / 2].to_vec(), good[..good.len() - 1].to_vec(), vec![0; 100]];
    // Any byte: of blocks, index, checksums, both magic numbers (the first is never read back).
    damages.extend((8..good.len()).step_by(997).chain(good.len() - 20..good.len()).map(|i| {
        let mut bad = good.clone();
        bad[i] ^= 0x40;
        bad
    }));
    for bad in damages {
        fs::write(&at, &bad).unwrap();
        let (cache, prepared) = prepare(&path, &schema, &caches);
        assert!(matches!(&prepared, Prepared::Rebuilt(why) if !why.is_empty()), "{prepared:?}");
        assert_eq!(all(&cache), want);
    }
}

#[test]
fn a_change_behind_an_open_cache_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 50);
    let (cache, _) = prepare(&path, &schema, &folder.path().join("cache"));
    let mut bytes = fs::read(cache.path()).unwrap();
    bytes[100] ^= 1;
    fs::write(cache.path(), bytes).unwrap();
    let error =
        cache.read(0, &mut cache.batch(), &mut Extra::default(), &mut Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("block 0 cannot be read: the checksum") && error.contains("delete the file"),
        "{error}"
    );
}

#[test]
fn a_bad_row_leaves_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 50);
    let text = fs::read_to_string(&path).unwrap() + "2,x,1,g,0.5,u1,,3\n";
    fs::write(&path, text).unwrap();
    let caches = folder.path().join("cache");
    let error = Cache::prepare(&Source::from(&path), &schema, None, &caches, |_| {}).unwrap_err().to_string();
    assert!(error.contains("line 52"), "{error}");
    assert_eq!(fs::read_dir(&caches).unwrap().count(), 0);
}

#[test]
fn one_makes_a_cache_and_others_wait_and_find_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 20_000);
    let caches = folder.path().join("cache");
    let prepared = std::thread::scope(|scope| {
        let each = [(); 4].map(|()| scope.spawn(|| prepare(&path, &schema, &caches).1));
        each.map(|each| each.join().unwrap())
    });
    assert_eq!(prepared.iter().filter(|p| **p == Prepared::Made).count(), 1, "{prepared:?}");
    assert_eq!(prepared.iter().filter(|p| **p == Prepared::Found).count(), 3, "{prepared:?}");
    assert_eq!(fs::read_dir(&caches).unwrap().count(), 1);
}

#[test]
fn what_a_killed_program_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 50);
    let caches = folder.path().join("cache");
    let at = prepare(&path, &schema, &caches).0.path().to_path_buf();
    fs::remove_file(&at).unwrap();
    let stem = at.file_stem().unwrap().to_str().unwrap();
    let locks = [format!(".{stem}.lock"), ".other-0123456789abcdef.lock".into()];
    for name in [format!("{stem}.77.tmp"), ".optmsm-0123456789ab.tmp".into()].iter().chain(&locks) {
        fs::write(caches.join(name), "process 7 on elsewhere").unwrap();
    }
    assert_eq!(prepare(&path, &schema, &caches).1, Prepared::Made);
    assert_eq!(fs::read_dir(&caches).unwrap().count(), 1);
}

#[test]
fn a_part_of_a_file_has_a_cache_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 500);
    let caches = folder.path().join("cache");
    let split = SplitConfig { valid: 0.2, test: 0.3, ..SplitConfig::default() };
    for part in [Split::Train, Split::Valid, Split::Test] {
        let (cache, prepared) =
            Cache::prepare(&Source::from(&path), &schema, Some((&split, part)), &caches, |_| {}).unwrap();
        assert_eq!(
            (prepared, all(&cache)),
            (Prepared::Made, Dataset::load_part(&path, &schema, &split, part).unwrap())
        );
        let (_, prepared) =
            Cache::prepare(&Source::from(&path), &schema, Some((&split, part)), &caches, |_| {}).unwrap();
        assert_eq!(prepared, Prepared::Found);
    }
    let nobody = SplitConfig { valid: 0.0, test: 1e-12, ..split };
    let error = Cache::prepare(&Source::from(&path), &schema, Some((&nobody, Split::Test)), &caches, |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("no row falls into the test part"), "{error}");
    assert_eq!(fs::read_dir(&caches).unwrap().count(), 3);
}

/// Puts a cache of these blocks, signed as a good one, in the place of `cache`; `index` may change what is said of them.
fn forge(cache: &Cache, blocks: &[(Batch, Extra)], index: impl FnOnce(&mut Index)) {
    let (mut bytes, mut entries) = (MAGIC.to_vec(), Vec::new());
    for (batch, extra) in blocks {
        let mut block = Vec::new();
        block::write(&mut block, batch, extra);
        let (offset, size, crc) = (bytes.len() as u64, block.len() as u64, crc32fast::hash(&block));
        entries.push(Entry { offset, bytes: size, rows: batch.rows() as u32, crc });
        bytes.extend(block);
    }
    let rows = entries.iter().map(|b| u64::from(b.rows)).sum();
    let mut forged = Index { key: cache.index.key.clone(), rows, blocks: entries };
    index(&mut forged);
    let json = serde_json::to_vec(&forged).unwrap();
    bytes.extend(&json);
    bytes.extend((json.len() as u64).to_le_bytes());
    bytes.extend(crc32fast::hash(&json).to_le_bytes());
    bytes.extend(MAGIC);
    fs::write(cache.path(), bytes).unwrap();
}

/// Reason for which a cache was made anew.
fn rebuilt(path: &Path, schema: &Schema, folder: &Path, want: &Dataset) -> String {
    let (cache, prepared) = prepare(path, schema, folder);
    assert_eq!(all(&cache), *want);
    match prepared {
        Prepared::Rebuilt(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_cannot_be_are_found_behind_good_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), 50);
    let caches = folder.path().join("cache");
    let (cache, _) = prepare(&path, &schema, &caches);
    let want = all(&cache);
    type Change = fn(&mut Batch, &mut Extra);
    fn column(batch: &mut Batch, change: impl FnOnce(&mut Vec<u32>, &mut Vec<u32>, &mut Vec<f32>)) {
        let Column::Multi { offsets, ids, weights } = &mut batch.columns[1] else { panic!("no list") };
        change(offsets, ids, weights);
    }
    let cases: [(Change, &str); 17] = [
        (|b, _| b.labels[3] = 0.5, "block 0: label, row 3: 0.5 is not 0 or 1"),
        (|b, _| b.labels[3] = f32::NAN, "block 0: label, row 3: NaN is not 0 or 1"),
        (|b, _| b.labels.clear(), "block 0: 0 labels where 50 are wanted"),
        (|b, _| b.weights[7] = f32::INFINITY, "block 0: weight, row 7"),
        (|b, _| b.weights[7] = -1.0, "block 0: weight, row 7"),
        (|b, _| b.weights.clear(), "block 0: 0 weights where 50 are wanted"),
        (|b, _| b.scenarios[1] = 2, "block 0: scenario, row 1: 2 is not below the number of scenarios, 2"),
        (|_, e| e.groups.clear(), "block 0: 0 groups where 50 are wanted"),
        (|_, e| e.probabilities[0] = 1.5, "block 0: 1.5 is not a probability"),
        (|_, e| e.probabilities[0] = f32::NAN, "block 0: NaN is not a probability"),
        (|b, _| b.columns[0] = Column::Categorical(vec![12; 50]), "block 0: field 'user', row 0: id 12"),
        (|b, _| b.columns[2] = Column::Numeric(vec![f32::NAN; 50]), "block 0: field 'price', row 0: NaN"),
        (|b, _| column(b, |_, ids, _| ids[0] = u32::MAX), "block 0: field 'tags', row 0: id 4294967295"),
        (|b, _| column(b, |_, _, w| w[2] = f32::NAN), "block 0: field 'tags', row 2: weight 2 is NaN"),
        (|b, _| column(b, |_, _, w| w.clear()), "block 0: field 'tags': 0 weights where"),
        (|b, _| column(b, |o, _, _| o.swap(1, 4)), "block 0: the offsets of lists do not rise from 0"),
        (|b, _| column(b, |o, _, _| o[50] = u32::MAX), "block 0: lists have another length"),
    ];
    for (change, wanted) in cases {
        let (mut batch, mut extra) = (want.batch.clone(), want.extra.clone());
        change(&mut batch, &mut extra);
        forge(&cache, &[(batch, extra)], |_| {});
        let why = rebuilt(&path, &schema, &caches, &want);
        assert!(why.starts_with(wanted), "{why}\n{wanted}");
    }
}

#[test]
fn an_index_that_cannot_be_is_found_behind_a_good_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let (path, schema) = source(folder.path(), BLOCK_ROWS + 1);
    let caches = folder.path().join("cache");
    let (cache, _) = prepare(&path, &schema, &caches);
    let want = all(&cache);
    let mut blocks: Vec<(Batch, Extra)> = Vec::new();
    for number in 0..cache.blocks() {
        let (mut batch, mut extra) = (cache.batch(), Extra::default());
        cache.read(number, &mut batch, &mut extra, &mut Vec::new()).unwrap();
        blocks.push((batch, extra));
    }
    forge(&cache, &blocks, |_| {});
    assert_eq!(
        prepare(&path, &schema, &caches).1,
        Prepared::Found,
        "nothing is wrong with the forgery itself"
    );
    let cases: [fn(&mut Index); 9] = [
        |index| index.rows += 1,
        |index| index.blocks[0].rows -= 1,
        |index| (index.blocks[1].rows, index.rows) = (0, BLOCK_ROWS as u64),
        |index| (index.blocks[0].rows, index.rows) = (u32::MAX, u64::from(u32::MAX) + 1),
        |index| index.blocks[1].offset = 8,
        |index| index.blocks[1].bytes = u64::MAX,
        |index| index.blocks[1].bytes -= 8,
        |index| (index.blocks, index.rows) = (Vec::new(), 0),
        // Many more rows than the file has bytes.
        |index| {
            index.blocks = vec![index.blocks[0]; 10_000];
            index.rows = 10_000 * BLOCK_ROWS as u64;
        },
    ];
    for change in cases {
        forge(&cache, &blocks, change);
        assert_eq!(rebuilt(&path, &schema, &caches, &want), "its index does not fit its blocks");
    }
    // Less rows in a block than its index says, where these are as many as there may be.
    blocks[1].0.labels.clear();
    forge(&cache, &blocks, |_| {});
    let why = rebuilt(&path, &schema, &caches, &want);
    assert_eq!(why, "block 1: 0 labels where 1 are wanted");
}
