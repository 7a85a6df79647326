//! From a URL to the files that hold the rows: one, a folder's, or those that a pattern names.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use glob::Pattern;
use object_store::{ListResult, ObjectMeta, ObjectStoreExt};

use super::footers::Footers;
use super::net::{self, Pending};
use super::url::Place;
use super::{Object, fault};
use crate::error::{DataError, FileErrorKind, Result};
use crate::source::data_file::{
    DEEPEST, DataFile, Format, empty_folder, hidden, known_format, no_pattern, partitions, too_deep,
};

/// Adds the files behind a URL, those of a folder or pattern by name.
pub(in crate::source) fn data_files(url: &str, parts: &mut Vec<DataFile>) -> Result<()> {
    let before = parts.len();
    find(url, parts)?;
    let parquet = |part: &&DataFile| part.format == Format::Parquet;
    Footers::chain(parts[before..].iter().filter(parquet).filter_map(|part| part.object.as_ref()));
    Ok(())
}

fn find(url: &str, parts: &mut Vec<DataFile>) -> Result<()> {
    let place = Place::of(url)?;
    let key = place.key.trim_end_matches('/');
    if key.is_empty() || place.key.ends_with('/') {
        return folder(&place, key, place.list(key)?.wait()??, parts);
    }
    let pattern = key.contains(['*', '?', '[']);
    if pattern {
        let segments = key.split('/').map(|s| Pattern::new(s).map_err(|e| no_pattern(url, &e)));
        let segments = segments.collect::<Result<Vec<_>>>()?;
        let before = parts.len();
        matches(&place, "", &segments, 0, parts)?;
        if parts.len() > before {
            return Ok(());
        }
    }
    // A name may hold [ and ]. One with a * would hardly be meant, and not every server takes a signature of it.
    let object = if key.contains('*') { None } else { place.head(key)? };
    // Some stores have an empty object for each folder.
    let inside = match &object {
        Some(meta) if meta.size > 0 => Inside::new(),
        _ if pattern => Inside::new(),
        _ => place.list(key)?.wait()??,
    };
    if !inside.is_empty() {
        return folder(&place, key, inside, parts);
    }
    if let Some(meta) = object {
        parts.push(place.data_file(meta, None));
        return Ok(());
    }
    if pattern {
        return Err(DataError::file(
            FileErrorKind::Missing,
            url,
            "no object matches",
            "check the pattern and the bucket",
        ));
    }
    let problem = format!("no such object in {}, and no folder", place.root);
    let fix = "check the key; it is taken as it is, without %20 and the like";
    Err(DataError::file(FileErrorKind::Missing, url, problem, fix))
}

/// Contents of a folder: objects and folders by name.
type Inside = Vec<(String, Option<ObjectMeta>)>;

impl Place {
    /// The object of a key, if there is one.
    fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let (path, store) = (self.path(key)?, self.store.clone());
        let name = self.name(key);
        let answer = net::start(&name, async move { store.head(&path).await })?.wait()?;
        match answer {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None), // a missing bucket is found when it is listed
            Err(e) => {
                // An answer about one object alone has no text: a list that is refused, too, says why.
                if matches!(e, object_store::Error::PermissionDenied { .. }) {
                    self.list(key)?.wait()??;
                }
                Err(fault::explain(&name, self.scheme, e))
            }
        }
    }

    /// Begins to list a folder.
    fn list(&self, key: &str) -> Result<Pending<Result<Inside>>> {
        let (path, place, name) = (self.path(key)?, self.clone(), self.name(key));
        let task_name = name.clone();
        net::start(&name, async move {
            let path = Some(path).filter(|path| !path.as_ref().is_empty());
            let found = place.store.list_with_delimiter(path.as_ref()).await;
            let ListResult { common_prefixes, objects, .. } =
                found.map_err(|e| fault::explain(&task_name, place.scheme, e))?;
            let name = |path: &object_store::path::Path| path.filename().unwrap_or_default().to_owned();
            let folders = common_prefixes.iter().map(|path| (name(path), None));
            // An object named like the folder with a slash behind it is a console's way to make an empty folder.
            let own = |meta: &ObjectMeta| path.as_ref() == Some(&meta.location);
            let objects = objects.into_iter().filter(|meta| !own(meta));
            let objects = objects.map(|meta| (name(&meta.location), Some(meta)));
            let mut inside: Inside = folders.chain(objects).collect();
            inside.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(inside)
        })
    }

    /// `format`: by its name when not given, or CSV.
    fn data_file(&self, meta: ObjectMeta, format: Option<Format>) -> DataFile {
        let name = self.name(meta.location.as_ref());
        let path = PathBuf::from(&name);
        let (scheme, store) = (self.scheme, self.store.clone());
        DataFile {
            format: format.or_else(|| Format::of(&path)).unwrap_or(Format::Csv),
            partitions: partitions(&path),
            bytes: Some(meta.size),
            memory: None,
            object: Some(Arc::new(Object {
                name: name.clone(),
                scheme,
                store,
                meta,
                footers: OnceLock::new(),
            })),
            path,
            name,
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn folder(place: &Place, key: &str, inside: Inside, parts: &mut Vec<DataFile>) -> Result<()> {
    let before = parts.len();
    walk(place, key, inside, 0, parts)?;
    match parts.len() == before {
        true => Err(empty_folder(&place.name(key))),
        false => Ok(()),
    }
}

/// Adds everything below a folder; all folders in it are listed at once, for a store takes its time for each.
fn walk(place: &Place, key: &str, mut inside: Inside, depth: usize, parts: &mut Vec<DataFile>) -> Result<()> {
    if depth > DEEPEST {
        return Err(too_deep(&place.name(key)));
    }
    inside.retain(|(name, _)| !hidden(Path::new(name)));
    let begin = |(name, object): (String, Option<ObjectMeta>)| {
        let key = join(key, &name);
        let list = if object.is_none() { Some(place.list(&key)?) } else { None };
        Ok((key, object, list))
    };
    for (key, object, list) in inside.into_iter().map(begin).collect::<Result<Vec<_>>>()? {
        match (object, list) {
            (Some(meta), _) => {
                let format = known_format(Path::new(&place.name(&key)))?;
                parts.push(place.data_file(meta, Some(format)));
            }
            (None, Some(list)) => walk(place, &key, list.wait()??, depth + 1, parts)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// Adds what matches a pattern, given by its segments, below a folder.
fn matches(
    place: &Place,
    key: &str,
    segments: &[Pattern],
    depth: usize,
    parts: &mut Vec<DataFile>,
) -> Result<()> {
    if depth > DEEPEST {
        return Err(too_deep(&place.name(key)));
    }
    let Some((segment, rest)) = segments.split_first() else { return Ok(()) };
    let any_folders = segment.as_str() == "**";
    let plain = !segment.as_str().contains(['*', '?', '[']);
    if plain && !rest.is_empty() {
        return matches(place, &join(key, segment.as_str()), rest, depth, parts);
    }
    if any_folders {
        matches(place, key, rest, depth + 1, parts)?;
    }
    for (name, object) in place.list(key)?.wait()?? {
        let key = join(key, &name);
        match object {
            None if any_folders => matches(place, &key, segments, depth + 1, parts)?,
            _ if !segment.matches(&name) => {}
            None if rest.is_empty() => folder(place, &key, place.list(&key)?.wait()??, parts)?,
            None => matches(place, &key, rest, depth + 1, parts)?,
            Some(meta) if rest.is_empty() && !hidden(Path::new(&name)) => {
                parts.push(place.data_file(meta, None))
            }
            Some(_) => {}
        }
    }
    Ok(())
}
