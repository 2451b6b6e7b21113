//! The contract: under `kinject run` a program prints what it prints bare in the agent's network.
//!
//! Each case runs in the sandbox and on the real cluster.

mod connection_ends;
mod connects;
mod datagrams;
mod names;
mod namespaces;
mod own_address;
mod resolvers;
mod sanitizers;
mod streams;
mod targets;
