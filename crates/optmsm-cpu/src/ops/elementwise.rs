//! Element by element and row by row.

use optmsm_core::backend::{Dropout, Elementwise, Write};

use super::{M, MM};
use crate::Cpu;
use crate::dropout::dropout;
use crate::rows::{self, dot, put, row, row_mut};

impl Elementwise for Cpu {
    fn relu(&self, mut y: MM) {
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    // NaN stays NaN.
                    row_mut(&mut y, b).iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
                }
            },
        );
    }

    fn relu_bwd(&self, mut d: MM, y: M) {
        assert_eq!((d.rows, d.cols), (y.rows, y.cols), "shapes of d and y");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    let d = row_mut(&mut d, b).iter_mut();
                    d.zip(row(&y, b)).for_each(|(d, &y)| *d = if y <= 0.0 { 0.0 } else { *d });
                }
            },
        );
    }

    fn leaky_relu(&self, mut y: MM, slope: f64) {
        let slope = slope as f32;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    row_mut(&mut y, b).iter_mut().for_each(|y| *y = if *y > 0.0 { *y } else { slope * *y });
                }
            },
        );
    }

    fn leaky_relu_bwd(&self, mut d: MM, y: M, slope: f64) {
        assert_eq!((d.rows, d.cols), (y.rows, y.cols), "shapes of d and y");
        let slope = slope as f32;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    let d = row_mut(&mut d, b).iter_mut();
                    d.zip(row(&y, b)).for_each(|(d, &y)| *d = if y <= 0.0 { slope * *d } else { *d });
                }
            },
        );
    }

    fn dropout(&self, mut x: MM, drop: &Dropout, rows: &Vec<u32>, first: usize) {
        self.isa.vectorise(
            #[inline(always)]
            || dropout(&mut x, drop, &rows[first..]),
        );
    }

    fn row_scale(&self, mut y: MM, write: Write, s: M, x: M) {
        assert_eq!((y.rows, y.cols), (x.rows, x.cols), "shapes of y and x");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    let s = row(&s, b)[0];
                    put(row_mut(&mut y, b), write, row(&x, b).iter().map(|x| s * x));
                }
            },
        );
    }

    fn row_dot(&self, mut out: MM, write: Write, x: M, y: M) {
        assert_eq!((x.rows, x.cols), (y.rows, y.cols), "shapes of x and y");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    put(row_mut(&mut out, b), write, [dot(row(&x, b), row(&y, b))].into_iter());
                }
            },
        );
    }

    fn mul(&self, mut y: MM, write: Write, x: M, v: M) {
        assert_eq!((y.rows, y.cols), (x.rows, x.cols), "shapes of y and x");
        assert!(v.cols == x.cols && (v.rows == x.rows || v.rows == 1), "v is {}x{}", v.rows, v.cols);
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    let v = row(&v, if v.rows == 1 { 0 } else { b });
                    put(row_mut(&mut y, b), write, row(&x, b).iter().zip(v).map(|(x, v)| x * v));
                }
            },
        );
    }

    fn add_row(&self, mut y: MM, v: M) {
        assert_eq!((v.rows, v.cols), (1, y.cols), "shape of v");
        self.isa.vectorise(
            #[inline(always)]
            || (0..y.rows).for_each(|b| put(row_mut(&mut y, b), Write::Add, row(&v, 0).iter().copied())),
        );
    }

    fn sigmoid_gate(&self, mut y: MM, mut g: MM, x: M, o: M) {
        let shape = (x.rows, x.cols);
        assert!([(y.rows, y.cols), (g.rows, g.cols), (o.rows, o.cols)] == [shape; 3], "shapes of y, g and o");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    let g = row_mut(&mut g, b);
                    put(g, Write::Set, row(&o, b).iter().map(|&o| 2.0 * rows::sigmoid(o)));
                    put(row_mut(&mut y, b), Write::Set, row(&x, b).iter().zip(g).map(|(x, g)| x * *g));
                }
            },
        );
    }

    fn sigmoid_gate_bwd(&self, mut d_o: MM, mut d_x: MM, write: Write, d_y: M, x: M, g: M) {
        let shape = (x.rows, x.cols);
        let others = [(d_o.rows, d_o.cols), (d_x.rows, d_x.cols), (d_y.rows, d_y.cols), (g.rows, g.cols)];
        assert!(others == [shape; 4], "shapes of d_o, d_x, d_y and g");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    let (d_y, x, g) = (row(&d_y, b), row(&x, b), row(&g, b));
                    let through = d_y.iter().zip(x).zip(g).map(|((d_y, x), g)| d_y * x * g * (1.0 - 0.5 * g));
                    put(row_mut(&mut d_o, b), Write::Set, through);
                    put(row_mut(&mut d_x, b), write, d_y.iter().zip(g).map(|(d_y, g)| d_y * g));
                }
            },
        );
    }
}
