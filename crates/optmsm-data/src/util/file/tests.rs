use super::*;

/// Both ways to keep bytes out of sight: a file system may have the second only.
fn write(path: &Path, bytes: &[u8], nameless: bool) -> Result<()> {
    let mut new = if nameless { NewFile::create(path)? } else { NewFile::begin(path, |_, _| None)? };
    new.write_all(bytes).map_err(|e| DataError::io("test", "write", e))?;
    new.commit()
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn replaces_and_leaves_nothing_beside() {
    for nameless in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"old", nameless).unwrap();
        write(&path, b"new", nameless).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.json"]);
        let failed = write_whole(&path, |mut file| {
            file.write_all(b"half").unwrap();
            Err(DataError::unfit("row 7", "is bad", "mend it"))
        });
        assert!(failed.is_err());
        let unfinished = NewFile::begin(&path, |_, _| None).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        drop(unfinished);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.json"]);
    }
}

#[test]
fn readers_see_the_old_content_until_the_new_is_whole() {
    for nameless in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let mut new = if nameless {
            NewFile::create(&path).unwrap()
        } else {
            NewFile::begin(&path, |_, _| None).unwrap()
        };
        new.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(read_back(new.file()), b"new");
        new.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}

fn read_back(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    read_at(file, &mut bytes, 0).unwrap();
    bytes
}

#[test]
fn where_nothing_can_be_linked_bytes_are_copied() {
    for old in [None, Some("old"), Some("")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        old.into_iter().for_each(|old| fs::write(&path, old).unwrap());
        // A file of another folder cannot be linked: it has a name, and where it has none, perhaps another disk.
        let elsewhere = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).unwrap();
        let mut new = NewFile::begin(&path, |_, _| Some(elsewhere)).unwrap();
        new.write_all(b"new").unwrap();
        new.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a"]);
    }
}

#[test]
fn folders_and_missing_folders_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("x"), "").unwrap();
    for path in [folder, dir.path().join("missing/a"), dir.path().join("folder/x/a")] {
        assert!(
            matches!(write_atomic(&path, b"new"), Err(DataError::Io { action: "write", .. })),
            "{path:?}"
        );
    }
    assert_eq!(names(dir.path()), ["folder"]);
}

#[test]
fn left_overs_go_unless_somebody_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let left = [".optmsm-0123456789aB.tmp", "a.csv.77.tmp", "a.78.tmp"];
    let kept = ["mine.tmp", "b.csv.77.tmp", "a.csv.x.tmp", ".optmsm-short.tmp", ".optmsm-aaaaaaaaaaaa.tmp"];
    for name in left.iter().chain(&kept) {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    let writing = File::open(dir.path().join(kept[4])).unwrap();
    writing.lock().unwrap();
    write_atomic(&dir.path().join("a.csv"), b"new").unwrap();
    let mut wanted = kept.map(String::from).to_vec();
    wanted.push("a.csv".into());
    wanted.sort();
    assert_eq!(names(dir.path()), wanted);
    drop(writing); // killed
    write_atomic(&dir.path().join("other.csv"), b"new").unwrap();
    assert!(!dir.path().join(kept[4]).exists());
}

#[cfg(unix)]
mod unix {
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_mode_is_kept_and_a_new_file_has_that_of_any_other() {
        for nameless in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("any"), "").unwrap();
            write(&dir.path().join("new"), b"", nameless).unwrap();
            assert_eq!(mode(&dir.path().join("new")), mode(&dir.path().join("any")));
            for wanted in [0o600, 0o640, 0o666, 0o777, 0o200] {
                let path = dir.path().join("a");
                fs::write(&path, "old").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
                write(&path, b"new", nameless).unwrap();
                assert_eq!(mode(&path), wanted);
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"new");
            }
        }
    }

    #[test]
    fn a_file_that_may_not_be_written_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        // The superuser may.
        let allowed = OpenOptions::new().append(true).open(&path).is_ok();
        assert_eq!(write_atomic(&path, b"new").is_ok(), allowed);
        assert_eq!(fs::read(&path).unwrap(), if allowed { b"new" } else { b"old" });
        assert_eq!(mode(&path), 0o444);
    }

    #[test]
    fn links_lead_to_their_targets() {
        for nameless in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::create_dir(at("real")).unwrap();
            fs::write(at("real/there"), "old").unwrap();
            symlink("real/there", at("one")).unwrap();
            symlink("one", at("chain")).unwrap();
            symlink(at("chain"), at("real/absolute")).unwrap();
            symlink("real/new", at("dangling")).unwrap();
            symlink("../dangling2", at("real/up")).unwrap();
            for (link, target) in [
                ("one", "real/there"),
                ("chain", "real/there"),
                ("real/absolute", "real/there"),
                ("dangling", "real/new"),
                ("real/up", "dangling2"),
            ] {
                write(&at(link), link.as_bytes(), nameless).unwrap();
                assert_eq!(fs::read(at(target)).unwrap(), link.as_bytes());
                assert!(at(link).is_symlink() && !at(target).is_symlink(), "{link}");
            }
            symlink("b", at("a")).unwrap();
            symlink("a", at("b")).unwrap();
            symlink("no/folder", at("nowhere")).unwrap();
            for link in ["a", "nowhere"] {
                write(&at(link), b"new", nameless).unwrap_err();
                assert!(at(link).is_symlink(), "{link}");
            }
            assert_eq!(names(&at("real")), ["absolute", "new", "there", "up"]);
        }
    }

    #[test]
    fn what_is_planted_at_a_temporary_name_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("precious"), "kept").unwrap();
        let planted = [".optmsm-aaaaaaaaaaaa.tmp", "a.csv.1.tmp", ".optmsm-bbbbbbbbbbbb.tmp"];
        symlink("precious", at(planted[0])).unwrap();
        symlink("precious", at(planted[1])).unwrap();
        assert!(Command::new("mkfifo").arg(at(planted[2])).status().unwrap().success());
        write(&at("a.csv"), b"new", false).unwrap();
        assert_eq!(fs::read(at("precious")).unwrap(), b"kept");
        assert!(planted.iter().all(|name| at(name).symlink_metadata().is_ok()));
        // A name that is taken is not used: the first two tries here are.
        let mut tries = [planted[0], planted[1], "free"].into_iter();
        let (_, name) = beside(&at("a.csv"), |_| {
            let name = at(tries.next().unwrap());
            OpenOptions::new().write(true).create_new(true).open(name)
        })
        .unwrap();
        drop(name);
        assert_eq!(fs::read(at("precious")).unwrap(), b"kept");
    }

    #[test]
    fn streams_are_written_into() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
        symlink("fifo", at("link")).unwrap();
        for name in ["fifo", "link"] {
            let path = at("fifo");
            let reader = std::thread::spawn(move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text
            });
            write_atomic(&at(name), name.as_bytes()).unwrap();
            assert_eq!(reader.join().unwrap(), name);
            assert!(at("fifo").metadata().unwrap().file_type().is_fifo());
        }
        let unread = write_atomic(&at("fifo"), b"x").unwrap_err().to_string();
        assert!(unread.contains("fifo: cannot write: no process reads it"), "{unread}");
        symlink("/dev/null", at("null")).unwrap();
        write_atomic(&at("null"), b"gone").unwrap();
        write_atomic(Path::new("/dev/null"), b"gone").unwrap();
        assert!(at("null").metadata().unwrap().file_type().is_char_device());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        write_atomic(&at("socket"), b"").unwrap_err();
        assert!(at("socket").metadata().unwrap().file_type().is_socket());
        assert_eq!(names(dir.path()), ["fifo", "link", "null", "socket"]);
        assert!(["fifo", "link", "null"].iter().all(|name| !is_taken(&at(name))));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn full_devices_and_open_descriptors() {
        use std::os::fd::AsRawFd;
        let full = write_atomic(Path::new("/dev/full"), b"x").unwrap_err();
        assert!(full.to_string().starts_with("/dev/full: cannot write: "), "{full}");
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create_new(dir.path().join("a")).unwrap();
        file.write_all(b"before ").unwrap();
        let inode = file.metadata().unwrap().ino();
        let link = dir.path().join("link");
        symlink(format!("/dev/fd/{}", file.as_raw_fd()), &link).unwrap();
        write_atomic(Path::new(&format!("/dev/fd/{}", file.as_raw_fd())), b"one ").unwrap();
        write_atomic(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), b"two ").unwrap();
        write_atomic(&link, b"three").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "before one two three");
        assert_eq!(dir.path().join("a").metadata().unwrap().ino(), inode);
        // One without a name, and the end of a pipe.
        fs::remove_file(dir.path().join("a")).unwrap();
        write_atomic(&link, b"!").unwrap();
        assert_eq!(read_back(&file), b"before one two three!");
        let (mut reader, writer) = io::pipe().unwrap();
        write_atomic(Path::new(&format!("/dev/fd/{}", writer.as_raw_fd())), b"piped").unwrap();
        drop(writer);
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "piped");
    }

    #[test]
    fn a_folder_that_may_not_be_written_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        // The superuser may.
        let allowed = File::create(dir.path().join("probe")).is_ok();
        assert_eq!(write_atomic(&dir.path().join("a"), b"x").is_ok(), allowed);
        assert_eq!(names(dir.path()), if allowed { vec!["a", "probe"] } else { vec![] });
    }
}
