//! The environment of a program that stands in for a workload.
//!
//! The kubelet and the container's runtime compute the workload's environment in the agent's pod, and the relay hands
//! it over with [`Workload`](kinject_protocol::workload::Workload). The rest is decided here: which of its variables
//! the program gets ([`EnvironmentRules`], [`certificates`]), how they are written for other programs ([`Format`],
//! [`EnvironmentFile`]), and how a program that leaves the session gets this machine's own back ([`difference`]).

pub(crate) mod certificates;
pub(crate) mod difference;
mod file;
mod formats;
mod names;
mod rules;

pub(crate) use file::EnvironmentFile;
pub(crate) use formats::Format;
pub(crate) use names::NamePattern;
pub(crate) use rules::EnvironmentRules;

use std::collections::BTreeMap;
use std::ffi::OsString;

/// An environment: names and values, each any bytes but zero.
pub(crate) type Variables = BTreeMap<OsString, OsString>;
