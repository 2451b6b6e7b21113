//! Names as the agent's pod resolves them.
//!
//! - [`resolv_conf`] reads the pod's resolv.conf: search list and ndots.
//! - [`query`] turns one question into a DNS message and its answer into records.
//! - [`cache`] keeps answers for their TTL and joins questions that are under way.
//! - [`resolver`] walks the search list as glibc does and falls back to the local names.
//! - [`order`] sorts addresses as RFC 6724 sees them from the pod.

pub(crate) mod cache;
pub(crate) mod order;
pub(crate) mod query;
pub(crate) mod resolv_conf;
pub(crate) mod resolver;
