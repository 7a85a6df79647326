//! Schedules against their definitions, and what they refuse.

use super::*;

fn schedule(kind: Schedule, period: Period, factor: Option<f64>) -> ScheduleConfig {
    ScheduleConfig { kind, warmup: 4, period, factor }
}

#[test]
fn shares_of_a_run_go_from_the_warm_up_to_the_floor() {
    let of_run = |kind, factor| schedule(kind, Period::RUN, factor).resolved(24);
    for kind in [Schedule::Constant, Schedule::Cosine, Schedule::Linear] {
        let shares: Vec<f64> = (1..=5).map(|t| of_run(kind, Some(0.2)).share(t)).collect();
        assert_eq!(shares, [0.25, 0.5, 0.75, 1.0, 1.0], "{kind:?}");
    }
    assert_eq!(of_run(Schedule::Cosine, None).period, Period::Steps(20));
    // Half of the 20 steps after the warm-up, a quarter of them, and past the end.
    let linear = of_run(Schedule::Linear, Some(0.2));
    for (step, want) in [(15, 0.6), (10, 0.8), (25, 0.2), (1000, 0.2)] {
        assert!((linear.share(step) - want).abs() < 1e-15, "step {step}: {}", linear.share(step));
    }
    let cosine = of_run(Schedule::Cosine, Some(0.2));
    let quarter = 0.2 + 0.8 * 0.5 * (1.0 + std::f64::consts::FRAC_1_SQRT_2);
    for (step, want) in [(15, 0.6), (10, quarter), (25, 0.2), (1000, 0.2)] {
        assert!((cosine.share(step) - want).abs() < 1e-15, "step {step}: {}", cosine.share(step));
    }
    // The floor is 0 when none is given.
    assert_eq!([Schedule::Cosine, Schedule::Linear].map(|kind| of_run(kind, None).share(25)), [0.0, 0.0]);
    let cuts = schedule(Schedule::Step, Period::Steps(3), Some(0.5));
    let shares: Vec<f64> = (5..=11).map(|t| cuts.share(t)).collect();
    assert_eq!(shares, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
}

#[test]
fn a_given_period_is_that_of_any_run_and_a_short_run_is_no_division_by_zero() {
    let given = schedule(Schedule::Cosine, Period::Steps(7), None);
    assert_eq!(given.resolved(1000), given);
    let short = schedule(Schedule::Linear, Period::RUN, None).resolved(3);
    assert!((1..=10).all(|t| short.share(t).is_finite()));
}

#[test]
fn a_rate_of_0_within_the_run_is_refused() {
    for kind in [Schedule::Cosine, Schedule::Linear] {
        // Warm-up and period take 7 steps.
        let given = |factor| schedule(kind, Period::Steps(3), factor);
        assert_eq!([7, 8].map(|step| given(None).share(step) > 0.0), [true, false], "{kind:?}");
        for factor in [None, Some(0.0)] {
            given(factor).validate_run("train.schedule", 7).unwrap();
            let text = given(factor).validate_run("train.schedule", 8).unwrap_err().to_string();
            assert!(text.contains("train.schedule.factor") && text.contains("0 from step 8 on"), "{text}");
        }
        given(Some(1e-3)).validate_run("train.schedule", 1000).unwrap();
        // A warm-up that outlasts the run, too.
        for steps in [1, 3, 4, 5, 1000] {
            let of_run = schedule(kind, Period::RUN, None).resolved(steps);
            of_run.validate_run("train.schedule", steps).unwrap();
            assert!((1..=steps).all(|step| of_run.share(step) > 0.0), "{kind:?}, {steps} steps");
        }
    }
    for endless in [Period::Steps(u64::MAX), Period::RUN] {
        schedule(Schedule::Linear, endless, None).validate_run("train.schedule", u64::MAX).unwrap();
    }
    schedule(Schedule::Step, Period::Steps(3), Some(0.5)).validate_run("train.schedule", 1000).unwrap();
    schedule(Schedule::Constant, Period::Steps(3), None).validate_run("train.schedule", 1000).unwrap();
}

#[test]
fn a_schedule_that_would_stop_training_is_refused() {
    let refused = |s: ScheduleConfig| s.validate("train.schedule").unwrap_err().to_string();
    let text = refused(schedule(Schedule::Step, Period::Steps(3), None));
    assert!(text.contains("train.schedule.factor") && text.contains("set it, to 0.5"), "{text}");
    let text = refused(schedule(Schedule::Step, Period::Steps(3), Some(0.0)));
    assert!(text.contains("nothing would move after the first cut"), "{text}");
    let text = refused(schedule(Schedule::Step, Period::RUN, Some(0.5)));
    assert!(text.contains("train.schedule.period"), "{text}");
    for kind in [Schedule::Step, Schedule::Cosine, Schedule::Linear] {
        let text = refused(schedule(kind, Period::Steps(0), Some(0.5)));
        assert!(text.contains("train.schedule.period"), "{text}");
    }
    for factor in [-0.1, 1.1, f64::NAN] {
        let text = refused(schedule(Schedule::Linear, Period::RUN, Some(factor)));
        assert!(text.contains("must be in [0, 1]"), "{text}");
    }
    for kind in [Schedule::Constant, Schedule::Cosine, Schedule::Linear] {
        schedule(kind, Period::RUN, None).validate("train.schedule").unwrap();
    }
    // As runs of earlier versions have it written down.
    let old = ScheduleConfig { period: Period::Steps(0), factor: Some(0.0), ..ScheduleConfig::default() };
    old.validate("train.schedule").unwrap();
}
