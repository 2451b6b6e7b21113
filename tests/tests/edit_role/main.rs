//! A user of a real cluster who has nothing of kinject's but the one executable: sessions with the rights of the
//! cluster's own ClusterRole `edit` in one namespace, and what is left of them there, which is nothing.
//!
//! No image of kinject's takes part: the agents run in an image of the namespace, whose files are busybox and a page.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod cleanup;
mod link;
mod sessions;
mod user;
