//! Resolves names as in the agent's pod.
//!
//! - [`search_list`] applies the search list of the pod's resolv.conf as glibc does; [`cluster_names`] decides which
//!   names can only be the cluster's.
//! - [`query`] and [`ptr`] write questions for addresses and for names as DNS messages, and read the answers
//!   ([`records`]).
//! - [`cluster_dns`] asks the cluster's name servers; [`cache`] caches answers for their TTL and joins concurrent
//!   questions.
//! - [`resolver`] looks up hosts, first in the cluster and then here; [`reverse`] looks up the names of addresses.
//! - [`exchange`] answers DNS messages of programs, which are forwarded as bytes ([`kinject_dns::message`]), and
//!   [`search`] completes their names. [`local`] asks this machine's name servers, while they answer ([`breaker`]).
//! - [`hosts`] has this machine's own names; [`answer_policy`] decides which answers are accepted, and [`advice`]
//!   reports the others to the user. [`host_name`] validates names.
//! - [`server`] is the session's name server over TCP, [`pod_resolv_conf`] the resolv.conf that names it to programs.
//! - [`pod_hosts`] has the names in the hosts file of the pod in whose place programs run.
//! - [`pod`] has the pod's resolver settings and addresses, [`order`] sorts addresses by RFC 6724 as seen from the pod.

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
pub(crate) mod pod_hosts;
pub(crate) mod pod_resolv_conf;
mod ptr;
pub(crate) mod query;
mod records;
pub(crate) mod resolver;
pub(crate) mod reverse;
pub(crate) mod search;
mod search_list;
pub(crate) mod server;
