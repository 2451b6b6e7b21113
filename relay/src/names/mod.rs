//! Names as the agent's pod resolves them.
//!
//! - [`search_list`] walks the search list of the pod's resolv.conf as glibc does; [`cluster_names`] says which names can
//!   only be the cluster's.
//! - [`query`] and [`ptr`] turn questions for addresses and for names into DNS messages, and their answers into what was
//!   asked for ([`records`]).
//! - [`cluster_dns`] asks the cluster's name servers; [`cache`] keeps answers for their TTL and joins questions that
//!   are under way.
//! - [`resolver`] looks hosts up, first in the cluster and then here; [`reverse`] names addresses.
//! - [`exchange`] answers DNS messages of programs, which pass as bytes ([`kinject_dns::message`]), and [`search`]
//!   completes their names. [`local`] asks this machine's name servers, as long as they answer ([`breaker`]).
//! - [`hosts`] are this machine's own names; [`answer_policy`] says which answers, of whose name servers, are believed,
//!   and [`advice`] tells the user of the others. [`host_name`] says what a name may look like.
//! - [`server`] is the session's name server over TCP, [`pod_resolv_conf`] the resolv.conf that leads programs to it.
//! - [`pod`] is what the pod knows about names, [`order`] sorts addresses as RFC 6724 sees them from the pod.

pub(crate) mod advice;
mod answer_policy;
mod breaker;
pub(crate) mod cache;
mod cluster_dns;
mod cluster_names;
pub(crate) mod exchange;
mod host_name;
mod hosts;
pub(crate) mod local;
pub(crate) mod order;
pub(crate) mod pod;
pub(crate) mod pod_resolv_conf;
mod ptr;
pub(crate) mod query;
mod records;
pub(crate) mod resolver;
pub(crate) mod reverse;
pub(crate) mod search;
mod search_list;
pub(crate) mod server;
