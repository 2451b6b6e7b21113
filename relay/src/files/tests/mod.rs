//! Files from a real agent, whose container is this machine, and from hostile ones.

mod fetching;
mod hostile;
mod mirrored;
mod remote;
mod room;
mod support;
mod volume;
