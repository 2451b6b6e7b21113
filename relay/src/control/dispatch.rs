//! Dispatches the calls of the session's programs to the parts of the relay that answer them.

use super::conversation::Conversation;
use super::listener::ControlListener;
use crate::connects::Connects;
use crate::datagrams::Flows;
use crate::files::Files;
use crate::log;
use crate::names::resolver::Resolver;
use crate::registry::Registry;
use crate::routes::Routes;
use crate::uninjectable::UninjectableReports;
use crate::uplink::Uplink;
use kinject_protocol::control::{Reply, Request};
use rustix::io::Errno;
use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

/// The parts of the relay that answer calls.
pub(crate) struct Dispatch {
    /// Has the pod's source addresses.
    pub(crate) uplink: Rc<Uplink>,
    /// Have the pod's addresses and their stand-ins.
    pub(crate) routes: Rc<Routes>,
    /// The state of programs' TCP sockets.
    pub(crate) registry: Rc<Registry>,
    /// Connect programs' TCP sockets.
    pub(crate) connects: Rc<Connects>,
    /// The datagrams of programs.
    pub(crate) flows: Rc<Flows>,
    /// Resolves names.
    pub(crate) resolver: Rc<Resolver>,
    /// Reports programs that cannot be injected.
    pub(crate) uninjectable: UninjectableReports,
    /// The container's files, in the place of a workload.
    pub(crate) files: Option<Rc<Files>>,
    /// The resolv.conf that programs see.
    pub(crate) resolv_conf: PathBuf,
}

impl Dispatch {
    /// Serves calls, each in a task of its own, so that none waits for another.
    pub(crate) async fn serve(self: Rc<Self>, listener: ControlListener) -> Infallible {
        loop {
            let call = listener.accept().await;
            let dispatch = Rc::clone(&self);
            tokio::task::spawn_local(async move { dispatch.answer(call).await });
            // lets the call's task run before the next call is accepted
            tokio::task::yield_now().await;
        }
    }

    async fn answer(&self, call: Conversation) {
        let received = match call.receive().await {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(error) => return log::warn!("cannot receive a call: {error}"),
        };
        let request = match Request::decode(received.bytes()) {
            Ok(request) => request,
            Err(error) => return log::warn!("cannot decode a call: {error}"),
        };
        let reply = match request {
            Request::Connect { target } => {
                let (reply, connection) = self.connects.connect(received.socket, target).await;
                call.answer(&reply);
                drop(call);
                if let Some(connection) = connection {
                    connection.run().await;
                }
                return;
            }
            Request::Peer { cookie } => self.peer(cookie).map_or(Reply::Unknown, Reply::Peer),
            Request::OwnAddress { cookie } => self.own_address(cookie).map_or(Reply::Unknown, Reply::Peer),
            Request::Flow { target, connect } => self.flows.serve(received.socket, target, connect).await,
            Request::Source { cookie, address } => self
                .flows
                .source(cookie, address)
                .map_or(Reply::Unknown, Reply::Peer),
            Request::Disconnect { cookie } => self
                .registry
                .disconnected(cookie)
                .map_or(Reply::Noted, Reply::Failed),
            Request::Bind { address } => self.routes.stand_in(address).map_or(Reply::Local, Reply::StandIn),
            Request::PodAddress { address } => self
                .routes
                .pod_address(address)
                .map_or(Reply::Unknown, Reply::Peer),
            Request::ShutDown { cookie } => {
                self.registry.shut_down(cookie);
                Reply::Noted
            }
            Request::Failure { cookie } => self
                .registry
                .report_failure(cookie)
                .map_or(Reply::Unknown, Reply::Failed),
            Request::Resolve {
                family,
                purpose,
                name,
            } => self.resolver.resolve(name, family, purpose).await,
            Request::Query {
                transport,
                search,
                message,
            } => match search {
                Some(search) => self.resolver.search(transport, message, search).await,
                None => self.resolver.query(transport, message).await,
            },
            Request::Reverse { address } => self.resolver.reverse(address).await,
            Request::ResolvConf => match File::open(&self.resolv_conf) {
                Ok(file) => return call.answer_with(file.as_fd()),
                Err(error) => {
                    log::warn!("cannot open {}: {error}", kinject_escape::path(&self.resolv_conf));
                    Reply::Unknown
                }
            },
            Request::Fetch { part, path } => match &self.files {
                Some(files) => files.fetch(part, path).await,
                None => Reply::Errno(Errno::NOENT.raw_os_error() as u16),
            },
            Request::Uninjectable {
                blocker,
                is_refused,
                program,
            } => {
                self.uninjectable.report(blocker, is_refused, program).await;
                Reply::Noted
            }
        };
        call.answer(&reply);
    }

    /// The target to which the program connected the socket.
    fn peer(&self, cookie: u64) -> Option<SocketAddr> {
        self.registry.peer(cookie).or_else(|| self.flows.peer(cookie))
    }

    /// The pod's source address towards the socket's peer, without a port.
    fn own_address(&self, cookie: u64) -> Option<SocketAddr> {
        let failed = || self.registry.failed_target(cookie);
        let peer = self.peer(cookie).or_else(failed)?;
        let mut own = SocketAddr::new(self.uplink.source_for(peer.ip())?, 0);
        if let (SocketAddr::V6(own), SocketAddr::V6(peer)) = (&mut own, peer)
            && own.ip().is_unicast_link_local()
        {
            own.set_scope_id(peer.scope_id());
        }
        Some(own)
    }
}
