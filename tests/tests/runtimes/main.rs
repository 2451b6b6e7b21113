//! Unchanged programs of all kinds: what they print in a session is what they print bare in the agent's network.

mod command_line;
mod runtimes;
mod servers;
