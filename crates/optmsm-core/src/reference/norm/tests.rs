use crate::backend::{Dense, Elementwise, Groups, Mat, MatMut, Norm, Write};
use crate::reference::Reference;

/// Rows of two groups, two columns; an empty group between them.
const GROUPS: [u32; 4] = [0, 3, 3, 5];
const X: [f64; 10] = [0.5, -1.0, 2.0, 0.25, -1.5, 3.0, 1.0, 0.0, -0.5, 2.0];
const EPS: f64 = 1e-3;

fn mat(x: &Vec<f64>, rows: usize) -> Mat<'_, Vec<f64>> {
    Mat::new(x, rows, 2)
}

fn mat_mut(x: &mut Vec<f64>, rows: usize) -> MatMut<'_, Vec<f64>> {
    MatMut::new(x, rows, 2)
}

/// The statistics of a batch: (mean, inv_std, running mean, running variance), from running ones that are no special case.
fn moments(x: &Vec<f64>) -> [Vec<f64>; 4] {
    let be = Reference::<f64>::new();
    let groups = GROUPS.to_vec();
    let (mut running_mean, mut running_var) = (vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6], vec![1.0; 6]);
    let [mut sums, mut squares, mut mean, mut inv_std] = [(); 4].map(|()| vec![0.0; 6]);
    let (s, q) = (mat_mut(&mut sums, 3), mat_mut(&mut squares, 3));
    be.deviations(s, q, mat(x, 5), mat(&running_mean, 3), &groups);
    be.moments(
        mat_mut(&mut mean, 3),
        mat_mut(&mut inv_std, 3),
        mat_mut(&mut running_mean, 3),
        mat_mut(&mut running_var, 3),
        mat(&sums, 3),
        mat(&squares, 3),
        &groups,
        EPS,
        0.75,
    );
    [mean, inv_std, running_mean, running_var]
}

#[track_caller]
fn near(got: &[f64], want: &[f64]) {
    let off = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    assert!(got.len() == want.len() && off < 1e-14, "{got:?}, not {want:?}");
}

/// By hand. Column 0: rows 0.5, 2, −1.5 have mean 1/3 and variance 6.5/3 − 1/9 = 37/18; rows 1, −0.5 have 1/4 and 9/16.
/// Column 1: −1, 0.25, 3 have 3/4 and 10.0625/3 − 9/16 = 134.0/48; rows 0, 2 have 1 and 1.
#[test]
fn statistics_of_groups() {
    let [mean, inv_std, running_mean, running_var] = moments(&X.to_vec());
    let (means, vars) = ([1.0 / 3.0, 0.75, 0.25, 1.0], [37.0 / 18.0, 134.0 / 48.0, 9.0 / 16.0, 1.0]);
    near(&mean, &[means[0], means[1], 0.3, 0.4, means[2], means[3]]);
    let inv = |var: f64| 1.0 / (var + EPS).sqrt();
    near(&inv_std, &[inv(vars[0]), inv(vars[1]), inv(1.0), inv(1.0), inv(vars[2]), inv(vars[3])]);
    let follow = |running: f64, new: f64| 0.75 * running + 0.25 * new;
    near(
        &running_mean,
        &[
            follow(0.1, means[0]),
            follow(0.2, means[1]),
            0.3,
            0.4,
            follow(0.5, means[2]),
            follow(0.6, means[3]),
        ],
    );
    let [a, b, c, d] = vars.map(|var| follow(1.0, var));
    near(&running_var, &[a, b, 1.0, 1.0, c, d]);
}

/// Rows of x whose objective is Σ w ⊙ y, with y = affine(normalize(x)): its value, and x̂ and the statistics by the way.
fn objective(x: &Vec<f64>, [scale, shift, w]: [&Vec<f64>; 3]) -> (f64, Vec<f64>, Vec<f64>) {
    let (be, groups) = (Reference::<f64>::new(), GROUPS.to_vec());
    let [mean, inv_std, ..] = moments(x);
    let [mut x_hat, mut y] = [(); 2].map(|()| vec![f64::NAN; 10]);
    be.normalize(mat_mut(&mut x_hat, 5), mat(x, 5), mat(&mean, 3), mat(&inv_std, 3), &groups);
    be.affine(mat_mut(&mut y, 5), mat(&x_hat, 5), mat(scale, 3), mat(shift, 3), &groups);
    (y.iter().zip(w).map(|(y, w)| y * w).sum(), x_hat, inv_std)
}

/// The gradient through the statistics of the batch, against central differences.
#[test]
fn gradient_of_normalization() {
    let (be, groups) = (Reference::<f64>::new(), GROUPS.to_vec());
    let scale = vec![1.5, -0.5, 1.0, 1.0, 2.0, 0.75];
    let shift = vec![0.1, 0.2, 0.0, 0.0, -0.3, 0.4];
    let w: Vec<f64> = (0..10).map(|i| ((i * 7 % 10) as f64 - 4.0) / 3.0).collect();
    let given = [&scale, &shift, &w];
    let (_, x_hat, inv_std) = objective(&X.to_vec(), given);
    // ∂/∂y is w; on the way to x it meets the scale and 1/σ.
    let [mut sum_d, mut sum_dx] = [(); 2].map(|()| vec![f64::NAN; 6]);
    be.col_sum(mat_mut(&mut sum_d, 3), Write::Set, mat(&w, 5), Groups::Rows(&groups));
    be.col_dot(mat_mut(&mut sum_dx, 3), Write::Set, mat(&w, 5), mat(&x_hat, 5), Groups::Rows(&groups));
    let mut gain = vec![f64::NAN; 6];
    be.mul(mat_mut(&mut gain, 3), Write::Set, mat(&scale, 3), mat(&inv_std, 3));
    let mut d = w.clone();
    let (sum_d, sum_dx) = (mat(&sum_d, 3), mat(&sum_dx, 3));
    be.norm_bwd(mat_mut(&mut d, 5), mat(&x_hat, 5), mat(&gain, 3), sum_d, sum_dx, &groups, &groups);
    for i in 0..10 {
        let at = |h: f64| {
            let mut x = X.to_vec();
            x[i] += h;
            objective(&x, given).0
        };
        let h = 1e-4;
        // Fourth order: its error is h⁴ of a fifth derivative, about 1e-14.
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        assert!((d[i] - slope).abs() < 1e-9, "element {i}: {} and {slope}", d[i]);
    }
}

#[test]
fn running_statistics_serve_predictions() {
    let be = Reference::<f64>::new();
    let (running_mean, running_var) = (vec![0.5, -1.0], vec![0.0, 3.0]);
    let [mut mean, mut inv_std] = [(); 2].map(|()| vec![f64::NAN; 2]);
    let (m, s) = (mat_mut(&mut mean, 1), mat_mut(&mut inv_std, 1));
    be.running_moments(m, s, mat(&running_mean, 1), mat(&running_var, 1), 1.0);
    near(&mean, &running_mean);
    near(&inv_std, &[1.0, 0.5]);
}
