//! Submitted work as CUDA graphs, kept from one submission to the next.
//!
//! Work that has the kernels and the hazards of earlier work runs on that graph: only the nodes whose grid or arguments
//! changed are told so. Work that is seen for the first time is launched kernel by kernel, since it may not come again.

use std::ffi::c_void;

use cudarc::driver::sys;

use super::driver::call;
use super::module::Modules;
use crate::error::DeviceResult;
use crate::hazards::Hazards;
use crate::kernels::Kernel;
use crate::work::{Launch, Work};

/// Graphs that are kept; the one that was used least recently goes.
const MOST: usize = 16;

/// Graphs by their shape.
#[derive(Default)]
pub(super) struct Graphs {
    hazards: Hazards,
    known: Vec<Graph>,
    clock: u64,
}

/// The shape of work: kernels, and which waits for which.
#[derive(PartialEq, Eq, Default)]
struct Shape {
    kernels: Vec<Kernel>,
    edges: Vec<u32>,
    ends: Vec<usize>,
}

struct Graph {
    shape: Shape,
    used: u64,
    /// `None` after the first time that the shape was seen.
    built: Option<Built>,
}

struct Built {
    exec: sys::CUgraphExec,
    graph: sys::CUgraph,
    nodes: Vec<sys::CUgraphNode>,
    /// Arguments that each node was given last.
    told: Vec<Told>,
}

#[derive(PartialEq, Eq)]
struct Told {
    grid: [u32; 3],
    block: u32,
    shared: u32,
    words: Vec<u64>,
}

impl Told {
    fn is(&self, work: &Work, launch: &Launch) -> bool {
        self.grid == launch.grid
            && (self.block, self.shared) == (launch.block, launch.shared)
            && self.words == work.words(launch)
    }
}

impl Shape {
    fn is(&self, work: &Work, (edges, ends): (&[u32], &[usize])) -> bool {
        self.edges == edges
            && self.ends == ends
            && self.kernels.len() == work.launches().len()
            && self.kernels.iter().zip(work.launches()).all(|(k, l)| *k == l.kernel)
    }
}

impl Graphs {
    /// Runs the work on the stream.
    pub(super) fn launch(
        &mut self,
        work: &Work,
        modules: &Modules,
        stream: sys::CUstream,
        pointers: &mut Vec<*mut c_void>,
    ) -> DeviceResult<()> {
        self.clock += 1;
        self.hazards.find(work);
        let key = self.hazards.key();
        let Some(found) = self.known.iter_mut().find(|g| g.shape.is(work, key)) else {
            let kernels = work.launches().iter().map(|l| l.kernel).collect();
            let shape = Shape { kernels, edges: key.0.to_vec(), ends: key.1.to_vec() };
            if self.known.len() == MOST {
                let oldest = (0..MOST).min_by_key(|&i| self.known[i].used).unwrap_or(0);
                self.known.swap_remove(oldest).destroy();
            }
            self.known.push(Graph { shape, used: self.clock, built: None });
            return one_by_one(work, modules, stream, pointers);
        };
        found.used = self.clock;
        let built = match &mut found.built {
            Some(built) => {
                built.update(work, modules, pointers)?;
                built
            }
            none => none.insert(Built::new(work, &self.hazards, modules, pointers)?),
        };
        call!(cuGraphLaunch(built.exec, stream), "{} kernels", work.launches().len())
    }

    pub(super) fn destroy(&mut self) {
        self.known.drain(..).for_each(Graph::destroy);
    }
}

impl Graph {
    fn destroy(self) {
        if let Some(built) = self.built {
            built.destroy();
        }
    }
}

/// A launch as the driver takes it; `pointers` must live until the call.
fn node(
    work: &Work,
    launch: &Launch,
    modules: &Modules,
    pointers: &mut Vec<*mut c_void>,
) -> DeviceResult<sys::CUDA_KERNEL_NODE_PARAMS> {
    work.pointers(launch, pointers);
    let [x, y, z] = launch.grid;
    Ok(sys::CUDA_KERNEL_NODE_PARAMS {
        func: modules.function(launch.kernel)?,
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: launch.block,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: launch.shared,
        kernelParams: pointers.as_mut_ptr(),
        extra: std::ptr::null_mut(),
        kern: std::ptr::null_mut(),
        ctx: std::ptr::null_mut(),
    })
}

/// Description of the launch of a failed call.
fn about(launch: &Launch) -> String {
    let Launch { kernel, grid, block, shared, .. } = launch;
    format!("{} of {grid:?} blocks, {block} threads, {shared} bytes of shared memory", kernel.name())
}

fn one_by_one(
    work: &Work,
    modules: &Modules,
    stream: sys::CUstream,
    pointers: &mut Vec<*mut c_void>,
) -> DeviceResult<()> {
    for launch in work.launches() {
        let p = node(work, launch, modules, pointers)?;
        let (x, y, z, threads, shared) = (p.gridDimX, p.gridDimY, p.gridDimZ, p.blockDimX, p.sharedMemBytes);
        call!(
            cuLaunchKernel(p.func, x, y, z, threads, 1, 1, shared, stream, p.kernelParams, p.extra),
            "{}",
            about(launch)
        )?;
    }
    Ok(())
}

impl Built {
    fn new(
        work: &Work,
        hazards: &Hazards,
        modules: &Modules,
        pointers: &mut Vec<*mut c_void>,
    ) -> DeviceResult<Self> {
        let null = std::ptr::null_mut::<c_void>();
        let mut built = Self { exec: null.cast(), graph: null.cast(), nodes: Vec::new(), told: Vec::new() };
        match built.build(work, hazards, modules, pointers) {
            Ok(()) => Ok(built),
            Err(e) => {
                built.destroy();
                Err(e)
            }
        }
    }

    fn build(
        &mut self,
        work: &Work,
        hazards: &Hazards,
        modules: &Modules,
        pointers: &mut Vec<*mut c_void>,
    ) -> DeviceResult<()> {
        call!(cuGraphCreate(&mut self.graph, 0), "")?;
        for (number, launch) in work.launches().iter().enumerate() {
            let params = node(work, launch, modules, pointers)?;
            let before: Vec<_> = hazards.of(number).iter().map(|&n| self.nodes[n as usize]).collect();
            let mut node = std::ptr::null_mut();
            call!(
                cuGraphAddKernelNode_v2(&mut node, self.graph, before.as_ptr(), before.len(), &params),
                "{}",
                about(launch)
            )?;
            self.nodes.push(node);
            let (grid, words) = (launch.grid, work.words(launch).to_vec());
            self.told.push(Told { grid, block: launch.block, shared: launch.shared, words });
        }
        call!(cuGraphInstantiateWithFlags(&mut self.exec, self.graph, 0), "{} kernels", self.nodes.len())
    }

    /// Tells the nodes whose launch changed.
    fn update(
        &mut self,
        work: &Work,
        modules: &Modules,
        pointers: &mut Vec<*mut c_void>,
    ) -> DeviceResult<()> {
        for ((told, &at), launch) in self.told.iter_mut().zip(&self.nodes).zip(work.launches()) {
            if told.is(work, launch) {
                continue;
            }
            let params = node(work, launch, modules, pointers)?;
            call!(cuGraphExecKernelNodeSetParams_v2(self.exec, at, &params), "{}", about(launch))?;
            (told.grid, told.block, told.shared) = (launch.grid, launch.block, launch.shared);
            told.words.clear();
            told.words.extend_from_slice(work.words(launch));
        }
        Ok(())
    }

    fn destroy(self) {
        if !self.exec.is_null() {
            let _ = call!(cuGraphExecDestroy(self.exec), "");
        }
        if !self.graph.is_null() {
            let _ = call!(cuGraphDestroy(self.graph), "");
        }
    }
}
