use std::fs;

use super::*;

fn silent(line: &str) {
    panic!("said: {line}");
}

#[test]
fn one_holder_at_a_time_who_is_named_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".lock");
    let lock = Lock::try_take(&path, silent).unwrap().unwrap();
    let holder = Lock::try_take(&path, silent).unwrap().unwrap_err();
    assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
    drop(lock);
    assert!(!path.exists());
    assert!(!Lock::try_take(&path, silent).unwrap().unwrap().abandoned());
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".lock");
    for text in ["process 1 on elsewhere (optmsm train)", "\u{1b}[2J", "x"] {
        fs::write(&path, text).unwrap();
        let lock = Lock::take(&path, silent).unwrap();
        assert!(lock.abandoned());
        drop(lock);
        assert!(!path.exists());
    }
    // Nobody has written to it: it was made a moment ago.
    fs::write(&path, "").unwrap();
    assert!(!Lock::take(&path, silent).unwrap().abandoned());
}

#[test]
fn a_strangers_text_is_shown_without_control_characters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".lock");
    for (text, shown) in [
        ("".to_string(), "another process".to_string()),
        ("a\u{1b}[2J\nerror: b".into(), r"a\u{1b}[2J\nerror: b".into()),
        ("x".repeat(5000), "x".repeat(1000)),
    ] {
        fs::write(&path, text).unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert_eq!(Lock::try_take(&path, silent).unwrap().unwrap_err(), shown);
    }
}

#[test]
fn who_waits_gets_it_when_it_is_free_and_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.lock");
    let (said, wait) = std::sync::mpsc::channel();
    let first = Lock::take(&path, silent).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Lock::take(&path, |line| said.send(line.to_string()).unwrap()).unwrap());
        let line = wait.recv().unwrap();
        assert!(line.starts_with("waits for process "), "{line}");
        assert!(!waiting.is_finished());
        drop(first);
        drop(waiting.join().unwrap());
    });
    drop(said);
    assert!(wait.recv().is_err() && !path.exists());
}

#[test]
fn many_at_once_never_hold_it_together() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.lock");
    let (inside, times) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while times.load(Ordering::SeqCst) < 400 {
                    // Not by waiting, so that locks change hands as fast as they can.
                    let Ok(_lock) = Lock::try_take(&path, silent).unwrap() else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    times.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(!path.exists());
}

#[test]
#[cfg(unix)]
fn a_link_planted_at_its_name_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, precious) = (dir.path().join(".lock"), dir.path().join("precious"));
    fs::write(&precious, "kept").unwrap();
    std::os::unix::fs::symlink(&precious, &path).unwrap();
    assert!(matches!(Lock::try_take(&path, silent), Err(DataError::Io { action: "lock", .. })));
    assert_eq!(fs::read(&precious).unwrap(), b"kept");
}
