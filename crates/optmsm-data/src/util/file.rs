//! Files that are whole or not there, and reads at a place.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::time::{Duration, Instant};

use tempfile::{Builder, TempPath};

use crate::error::{DataError, Result};

/// A file that is being written. Readers see the old content until [`NewFile::commit`], and the new one from then on; without it nothing
/// is left.
///
/// A symbolic link leads to the file that it names, there or not. A file that is there is replaced by one of its mode and, where the
/// system permits, its owner. What has no content to replace (a FIFO, a device, an open descriptor such as `/dev/fd/3`) is written into.
#[derive(Debug)]
pub struct NewFile {
    shown: String,
    file: File,
    to: To,
}

/// Where the bytes go until they are whole.
#[derive(Debug)]
enum To {
    /// Where they are meant to be.
    Stream,
    /// To a file without a name, which ends with this process.
    Unnamed { target: PathBuf },
    /// To a file of another name beside the target, removed when this is dropped.
    Named { target: PathBuf, name: TempPath },
}

impl NewFile {
    /// Begins to write what `path` will hold, and removes what killed processes left beside it.
    ///
    /// # Errors
    /// The folder is missing, or it or the file may not be written.
    pub fn create(path: &Path) -> Result<Self> {
        Self::begin(path, unnamed)
    }

    fn begin(path: &Path, unnamed: impl FnOnce(&OpenOptions, &Path) -> Option<File>) -> Result<Self> {
        let shown = path.display().to_string();
        match open(path, unnamed) {
            Ok((file, to)) => Ok(Self { shown, file, to }),
            Err(source) => Err(DataError::io(&shown, "write", source)),
        }
    }

    /// The bytes so far; they can be read back, and written in any order, unless they go to a stream.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Flushes the bytes to the disk and gives them their name.
    ///
    /// # Errors
    /// The disk refuses; the old content stays.
    pub fn commit(self) -> Result<()> {
        let Self { shown, file, to } = self;
        finish(&file, to).map_err(|source| DataError::io(&shown, "write", source))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Has `write` fill a [`NewFile`] and commits it; nothing is left of one that fails.
///
/// # Errors
/// Those of `write`, and when the disk refuses, with the path.
pub fn write_whole<E: From<DataError>>(
    path: &Path,
    write: impl FnOnce(&File) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let new = NewFile::create(path)?;
    write(new.file())?;
    Ok(new.commit()?)
}

/// [`write_whole`] of bytes that are there.
///
/// # Errors
/// When the disk refuses.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, |mut file| {
        file.write_all(bytes).map_err(|source| DataError::io(&path.display().to_string(), "write", source))
    })
}

/// Whether something is at `path` that writing would replace, or that cannot be replaced: a file or a folder.
pub fn is_taken(path: &Path) -> bool {
    match resolve(path) {
        Ok(target) => target.is_some_and(|target| target.exists()),
        Err(_) => path.exists(),
    }
}

fn open(path: &Path, unnamed: impl FnOnce(&OpenOptions, &Path) -> Option<File>) -> io::Result<(File, To)> {
    let Some(target) = resolve(path)? else {
        return Ok((stream(path)?, To::Stream));
    };
    let old = target.metadata().ok();
    if old.is_some() {
        // A rename needs the folder's permission only; a file that may not be written is not replaced.
        OpenOptions::new().write(true).open(&target)?;
    }
    sweep(&target);
    let options = options(old.as_ref());
    if let Some(file) = unnamed(&options, folder(&target)) {
        return Ok((file, To::Unnamed { target }));
    }
    let (file, name) = named(&options, &target)?;
    Ok((file, To::Named { target, name }))
}

/// Opens what has no content to replace; the file of a descriptor is continued where it ends.
#[cfg(not(unix))]
fn stream(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

/// How long a FIFO waits for its reader. A program that is started for it has time to begin, and one that nobody starts holds up no script for ever.
#[cfg(unix)]
const READER: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// Opens what has no content to replace; the file of a descriptor is continued where it ends.
#[cfg(unix)]
fn stream(path: &Path) -> io::Result<File> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let began = Instant::now();
    let unread = rustix::io::Errno::NXIO.raw_os_error();
    loop {
        let opened = OpenOptions::new().append(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
        match opened {
            Ok(file) => {
                fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
                return Ok(file);
            }
            Err(e) if e.raw_os_error() == Some(unread) && path.metadata()?.file_type().is_fifo() => {
                if began.elapsed() > READER {
                    let problem = format!("no process reads it, for {} seconds", READER.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
        }
    }
}

/// A locked file of a name of its own beside `target`.
fn named(options: &OpenOptions, target: &Path) -> io::Result<(File, TempPath)> {
    beside(target, |name| {
        let file = options.clone().create_new(true).open(name)?;
        retry(|| file.lock()).ok();
        // Swept in the moment before it was locked: another name.
        if name.exists() { Ok(file) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    })
}

/// Copies a file without a name to one that has one, where the system permits no link.
fn copy(mut file: &File, target: &Path, old: Option<&Metadata>) -> io::Result<(File, TempPath)> {
    let (mut to, name) = named(&options(old), target)?;
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut file, &mut to)?;
    old.inspect(|old| keep(&to, old));
    sync(&to)?;
    Ok((to, name))
}

/// Flushes a file to the disk, where its file system can.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => Ok(()),
        done => done,
    }
}

fn finish(file: &File, to: To) -> io::Result<()> {
    let (target, name) = match to {
        To::Stream => return Ok(()),
        To::Unnamed { target } => (target, None),
        To::Named { target, name } => (target, Some(name)),
    };
    let old = target.metadata().ok();
    if let Some(old) = &old {
        keep(file, old);
    }
    sync(file)?;
    if name.is_none() && old.is_none() && retry(|| link(file, &target)).is_ok() {
        flush(folder(&target));
        return Ok(());
    }
    // A link replaces nothing, a rename does.
    let linked = || beside(&target, |name| retry(|| link(file, name))).map(|((), name)| name);
    let (_locked, name) = match name.map_or_else(linked, Ok) {
        Ok(name) => (None, name),
        Err(_) => copy(file, &target, old.as_ref()).map(|(copy, name)| (Some(copy), name))?,
    };
    retry(|| fs::rename(&name, &target))?;
    flush(folder(&target));
    Ok(())
}

/// Names last only once their folder is on the disk; not every system can do that.
fn flush(folder: &Path) {
    File::open(folder).and_then(|folder| folder.sync_all()).ok();
}

/// Links that are followed, as many as the kernel does.
const LINKS: usize = 40;

/// The file that a path leads to, there or not; none where there is a stream.
fn resolve(path: &Path) -> io::Result<Option<PathBuf>> {
    match path.metadata() {
        Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if !meta.is_file() => return Ok(None),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        let folder = folder(&path).canonicalize().unwrap_or_default();
        if folder.starts_with("/proc") || folder == Path::new("/dev/fd") {
            return Ok(None);
        }
        match path.read_link() {
            Ok(to) => path = folder.join(to),
            Err(_) => return Ok(Some(path)),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

const PREFIX: &str = ".optmsm-";
const SUFFIX: &str = ".tmp";
/// Random characters between them: processes of other machines and containers, too, write to the folder.
const RANDOM: usize = 12;

/// Makes a file of a new name beside `target`.
fn beside<T>(target: &Path, make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, TempPath)> {
    let made = Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder(target), make);
    Ok(made?.into_parts())
}

/// Removes the temporary files beside `target` that no process holds locked, and those of earlier versions, which held the number of
/// the process: `NAME.123.tmp`. Nothing depends on it, so what cannot be removed stays.
fn sweep(target: &Path) {
    let names = [target.file_name(), target.file_stem()].map(|name| name.and_then(|name| name.to_str()));
    for entry in fs::read_dir(folder(target)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(inner) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
        let ours = match inner.strip_prefix(PREFIX) {
            Some(random) => random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric()),
            None => inner
                .rsplit_once('.')
                .is_some_and(|(name, pid)| names.contains(&Some(name)) && pid.parse::<u32>().is_ok()),
        };
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            remove_unlocked(&entry.path()).ok();
        }
    }
}

/// Removes a file that no process holds locked.
pub(crate) fn remove_unlocked(path: &Path) -> io::Result<()> {
    let file = no_follow().read(true).write(true).open(path)?;
    file.try_lock()?;
    fs::remove_file(path)
}

/// For a file whose name others can know: it is neither followed, should it be a link, nor waited for, should it be a FIFO.
pub(crate) fn no_follow() -> OpenOptions {
    #[allow(unused_mut, reason = "not every system has these flags")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    options
}

/// Calls again what a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// How the temporary file is opened: nobody may read it who may not read the old one.
fn options(old: Option<&Metadata>) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    if let Some(old) = old {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        options.mode(old.mode() & 0o777);
    }
    #[cfg(not(unix))]
    let _ = old;
    options
}

/// Gives a file the owner and the mode of the one that it replaces, as far as the system permits.
#[cfg(unix)]
fn keep(file: &File, old: &Metadata) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let mut mode = old.mode() & 0o7777;
    if fchown(file, Some(old.uid()), Some(old.gid())).is_err() {
        // A program of another owner must not get his rights.
        mode &= 0o777;
        fchown(file, None, Some(old.gid())).ok();
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).ok();
}

/// Gives a file the permissions of the one that it replaces.
#[cfg(not(unix))]
fn keep(file: &File, old: &Metadata) {
    file.set_permissions(old.permissions()).ok();
}

/// A locked file without a name in a folder, where the file system has them.
#[cfg(target_os = "linux")]
fn unnamed(options: &OpenOptions, folder: &Path) -> Option<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    // Its name is made from its descriptor.
    if !Path::new(DESCRIPTORS).exists() {
        return None;
    }
    let file = options.clone().custom_flags(OFlags::TMPFILE.bits() as i32).open(folder).ok()?;
    // For the moment between its temporary name and its own.
    file.try_lock().ok();
    Some(file)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &OpenOptions, _: &Path) -> Option<File> {
    None
}

#[cfg(target_os = "linux")]
const DESCRIPTORS: &str = "/proc/self/fd";

/// Gives a file without a name one that is not taken.
#[cfg(target_os = "linux")]
fn link(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    let open = Path::new(DESCRIPTORS).join(file.as_raw_fd().to_string());
    Ok(linkat(CWD, &open, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Fills `bytes` from a place in a file.
///
/// # Errors
/// The disk fails, or the file ends.
#[cfg(unix)]
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from a place in a file.
///
/// # Errors
/// The disk fails, or the file ends.
#[cfg(windows)]
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
