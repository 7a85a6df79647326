//! Threads that ask one model at the same time get what each would get alone.

use crate::common::{Held, Place, rows};

#[test]
fn any_number_of_threads_may_ask() {
    let (place, all) = (Place::trained(), rows(48));
    let (model, expected) = (&place.load(), &place.predicted(&all));
    let (all, bad) = (&all, br#"[{"scenario": "home"}]"#);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for call in 0..200 {
                    // Another piece of the rows each time.
                    let start = (thread * 7 + call * 3) % 40;
                    let end = start + 1 + (thread + call) % 8;
                    let held = Held::of(&all[start..end]);
                    assert_eq!(model.score(&held.columns(), end - start).unwrap(), expected[start..end]);
                    if call % 16 == thread {
                        assert!(model.json(bad, 1).unwrap_err().1.contains("has no 'user'"));
                    }
                }
            });
        }
    });
}
