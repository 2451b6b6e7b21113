//! DNS messages by libc's functions: res_query(3), res_search(3), res_querydomain(3), res_send(3), their reentrant
//! variants with an `n`, and the names with two underscores, which programs use that were linked before glibc 2.34.
//!
//! The relay answers in the place of the name servers: the cluster first, then this machine's own. Lengths, `h_errno`
//! and the search follow glibc, with the pod's search list and `ndots` instead of this machine's. The relay also
//! answers a message to name servers that the program chose itself (`nsaddr_list`), and a user's aliases
//! (`HOSTALIASES`) are ignored.

mod answer;
mod query;
mod question;
mod search;
mod send;
mod state;

pub(crate) use state::State;
