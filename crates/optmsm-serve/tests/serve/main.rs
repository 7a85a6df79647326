//! The server over sockets, with a model of a few lines.

mod arrow;
mod candidates;
mod client;
mod fuzz;
mod limits;
mod metrics;
mod reload;
mod routes;
mod shutdown;
mod sockets;
mod tensors;
mod toy;
mod triton;
mod versions;
