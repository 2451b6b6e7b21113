//! The names of an address: gethostbyaddr(3) and getnameinfo(3).
//!
//! Addresses that were learnt from a local answer are left to libc, as connections to them are. For all others the
//! cluster is asked; if it has no name, this machine's hosts file and resolver are, unless the address is known to be
//! the cluster's.

use super::hosts;
use super::ptr;
use super::resolver::Resolver;
use kinject_dns::message::Query;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{MAX_NAME, Reply};
use rustix::net::SocketAddrAny;
use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

impl Resolver {
    /// Looks up the names of an address.
    pub(crate) async fn reverse(&self, address: IpAddr) -> Reply {
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() || self.routes.is_local(address) {
            return Reply::Local;
        }
        if let Some(name) = self.pod_hosts.name_of(address) {
            return Reply::Names(vec![name.into_bytes()]);
        }
        let Some(question) = ptr::question(address) else {
            return Reply::NameFailed(NameFailure::NoRecovery);
        };
        let Ok(query) = Query::parse(&question) else {
            return Reply::NameFailed(NameFailure::NoRecovery);
        };
        let answer = self.cluster.exchange(&query).await;
        match ptr::names(&answer) {
            Ok(names) => Reply::Names(names.into_iter().map(String::into_bytes).collect()),
            // the operator of a name server near this machine must not learn the cluster's addresses that a session
            // looks up
            Err(NameFailure::NotFound) if self.routes.is_cluster_address(address) => {
                Reply::NameFailed(NameFailure::NotFound)
            }
            Err(NameFailure::NotFound) => match self.name_locally(address, &query).await {
                Some(name) => Reply::Names(vec![name]),
                None => Reply::NameFailed(NameFailure::NotFound),
            },
            Err(failure) => Reply::NameFailed(failure),
        }
    }

    /// The name that this machine has for an address.
    async fn name_locally(&self, address: IpAddr, query: &Query<'_>) -> Option<Vec<u8>> {
        if let Some(name) = hosts::name_of(address).await {
            return Some(name.into_bytes());
        }
        let libc = async move {
            let lookup = tokio::task::spawn_blocking(move || name_info(address));
            lookup.await.ok()?
        };
        let servers = async |reason| {
            let answer = self.local.ask(query, reason).await?;
            let name = ptr::names(&answer).ok()?.into_iter().next()?;
            Some(name.into_bytes())
        };
        self.local.by_libc(libc, servers).await
    }
}

/// getnameinfo(3) with `NI_NAMEREQD`.
fn name_info(address: IpAddr) -> Option<Vec<u8>> {
    /// netdb.h's `NI_MAXHOST`.
    const ROOM: usize = 1025;
    let address = SocketAddrAny::from(SocketAddr::new(address, 0));
    let mut host = [0_u8; ROOM];
    // SAFETY: the address is readable for its length, the buffer writable for its own, and no service is wanted
    let code = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.addr_len(),
            host.as_mut_ptr().cast(),
            ROOM as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    let name = CStr::from_bytes_until_nul(&host).ok()?.to_bytes();
    (code == 0 && name.len() <= MAX_NAME).then(|| name.to_vec())
}
