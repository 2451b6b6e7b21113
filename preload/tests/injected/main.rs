//! Programs in C, run bare and with the library, next to a relay that plays a script.

#![allow(clippy::unwrap_used, reason = "what is wrong in a test ends it")]

mod dns;
mod program;
mod relay;
mod script;

mod addresses;
mod asynchronous;
mod children;
mod connect;
mod exports;
mod files;
mod hygiene;
mod libraries;
mod messages;
mod names;
mod networks;
mod peers;
mod rounds;
mod sanitizers;
mod strangers;
mod uninjectable;
