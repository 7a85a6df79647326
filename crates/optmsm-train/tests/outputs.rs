//! Files that commands write: into streams, through links, with the mode that was there, and nothing beside them.
#![cfg(unix)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::{JoinHandle, spawn};

use common::{CONFIG, Place, code};

/// A run `r`.
fn place() -> Place {
    let place = Place::new(CONFIG, 100, 11);
    code(&place.run(&["train", "--config", "config.toml", "--quiet", "--run", "r"]), 0);
    place
}

/// Commands that write one file, and how that begins.
const WRITERS: [(&[&str], &str); 5] = [
    (&["predict", "r", "--data", "valid.csv"], "label,scenario,user,tags,price,prediction\n"),
    (&["synth", "--rows", "20", "--format", "csv"], "label,"),
    (&["synth", "--rows", "20", "--format", "parquet"], "PAR1"),
    (&["report", "r"], "<!doctype html>"),
    (&["init", "train.csv"], "#"),
];

impl Place {
    fn out(&self, args: &[&str], out: &str) -> Output {
        self.run(&[args, &["--out", out]].concat())
    }

    /// Bytes that a reader of a FIFO gets.
    fn reader(&self, fifo: &str) -> JoinHandle<Vec<u8>> {
        let path = self.path(fifo);
        spawn(move || fs::read(path).unwrap())
    }

    fn shell(&self, script: &str) -> Output {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_optmsm"));
        let mut command = Command::new("bash");
        command.current_dir(self.path("")).args(["-c", script]).env("B", program).output().unwrap()
    }
}

#[test]
fn every_command_writes_into_streams_and_through_links() {
    let place = place();
    let before = fs::read_dir(place.path("")).unwrap().count();
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    symlink("fifo", place.path("to-fifo")).unwrap();
    symlink("/dev/null", place.path("null")).unwrap();
    fs::create_dir(place.path("real")).unwrap();
    symlink("real/new", place.path("dangling")).unwrap();
    symlink("dangling", place.path("chain")).unwrap();
    for (args, begin) in WRITERS {
        let begins = |bytes: &[u8]| {
            let (bytes, begin) = (bytes.to_ascii_lowercase(), begin.to_ascii_lowercase());
            assert!(bytes.starts_with(begin.as_bytes()), "{args:?}: {}", String::from_utf8_lossy(&bytes));
        };
        for fifo in ["fifo", "to-fifo"] {
            let reader = place.reader("fifo");
            code(&place.out(args, fifo), 0);
            begins(&reader.join().unwrap());
            assert!(place.path("fifo").metadata().unwrap().file_type().is_fifo());
        }
        code(&place.out(args, "null"), 0);
        assert!(place.path("null").metadata().unwrap().file_type().is_char_device());
        code(&place.out(args, "chain"), 0);
        begins(&place.bytes("real/new"));
        if args[0] == "init" {
            let stderr = code(&place.out(args, "chain"), 2);
            assert_eq!(stderr, "error: chain: is there already; choose another file with --out\n");
        } else {
            // Again, over a file that only its owner may read.
            fs::set_permissions(place.path("real/new"), Permissions::from_mode(0o600)).unwrap();
            code(&place.out(args, "dangling"), 0);
            begins(&place.bytes("real/new"));
            assert_eq!(place.path("real/new").metadata().unwrap().mode() & 0o777, 0o600);
        }
        fs::remove_file(place.path("real/new")).unwrap();
        assert!(place.path("chain").is_symlink() && place.path("dangling").is_symlink());
        let stdout = place.out(args, "-");
        code(&stdout, 0);
        begins(&stdout.stdout);
        assert!(!place.path("-").exists());
        let words = args.join(" ");
        for out in [">(cat > got)", "/dev/fd/3 3> got", "/dev/stdout > got"] {
            code(&place.shell(&format!("\"$B\" {words} --out {out}; code=$?; wait; exit $code")), 0);
            // A process substitution ends when it has read all, which may be after the command.
            while args[0] != "init" && place.bytes("got").is_empty() {}
            begins(&place.bytes("got"));
            fs::remove_file(place.path("got")).unwrap();
        }
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), before + 6);
    assert_eq!(fs::read_dir(place.path("real")).unwrap().count(), 0);
}

#[test]
fn a_device_stays_a_device() {
    let place = place();
    let made = Command::new("mknod").arg(place.path("device")).args(["c", "1", "3"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("SKIPPED: making a device is not allowed here");
        return;
    }
    for (args, _) in WRITERS {
        code(&place.out(args, "device"), 0);
        assert!(place.path("device").metadata().unwrap().file_type().is_char_device(), "{args:?}");
    }
}

#[test]
fn what_cannot_be_written_is_one_line_and_changes_nothing() {
    let place = place();
    fs::create_dir(place.path("folder")).unwrap();
    symlink("b", place.path("a")).unwrap();
    symlink("a", place.path("b")).unwrap();
    let before = fs::read_dir(place.path("")).unwrap().count();
    for (args, _) in WRITERS {
        for out in ["folder", "a", "missing/file", "train.csv/file", "/dev/full"] {
            let stderr = code(&place.out(args, out), 2);
            assert!(
                stderr.starts_with(&format!("error: {out}: ")) && stderr.lines().count() == 1,
                "{stderr}"
            );
        }
    }
    assert!(place.path("folder").is_dir() && place.path("a").is_symlink() && place.path("b").is_symlink());
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), before);
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_quietly() {
    let place = place();
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    // More than the buffer of a pipe takes.
    let many = "\"$B\" synth --rows 20000";
    let predict = "\"$B\" predict r --data many.csv --out";
    for out in [
        format!("{many} --out >(head -1 > /dev/null)"),
        format!("{many} --format parquet --out /dev/fd/3 3> >(head -c 9 > /dev/null)"),
        format!("{many} --out - | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}"),
        format!("head -1 fifo > /dev/null & {many} --out fifo"),
        format!(
            "cp train.csv many.csv; for i in {{1..200}}; do tail -n +2 train.csv; done >> many.csv; {predict} >(head -1 > /dev/null)"
        ),
    ] {
        assert_eq!(code(&place.shell(&out), 0), "", "{out}");
    }
}

#[test]
fn what_a_killed_command_left_goes_with_the_next() {
    let place = place();
    for (args, _) in WRITERS {
        fs::create_dir(place.path("to")).unwrap();
        for name in [".optmsm-0123456789ab.tmp", "out.77.tmp", "my.tmp"] {
            place.write(&format!("to/{name}"), "half");
        }
        symlink("my.tmp", place.path("to/.optmsm-planted00000.tmp")).unwrap();
        code(&place.out(args, "to/out"), 0);
        let names = fs::read_dir(place.path("to")).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [".optmsm-planted00000.tmp", "my.tmp", "out"], "{args:?}");
        assert_eq!(place.text("to/my.tmp"), "half");
        fs::remove_dir_all(place.path("to")).unwrap();
    }
}
