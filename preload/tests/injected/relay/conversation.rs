//! The messages of a conversation with a program.

use kinject_protocol::control::{Reply, Request};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{
    self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

use crate::dns;

/// One message with the descriptor that came with it; none at the end.
pub(super) fn receive(conversation: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = net::recvmsg(conversation, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
    let passed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (received.bytes > 0).then_some((received.bytes, passed))
}

pub(super) fn reply(conversation: &OwnedFd, reply: &Reply) {
    let mut buffer = Vec::new();
    reply.encode(&mut buffer);
    send(conversation, &buffer);
}

/// [`Reply::File`] with a file.
pub(super) fn reply_with(conversation: &OwnedFd, file: &File) {
    let mut buffer = Vec::new();
    Reply::File.encode(&mut buffer);
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    let parts = [IoSlice::new(&buffer)];
    net::sendmsg(conversation, &parts, &mut ancillary, SendFlags::NOSIGNAL).expect("a caller");
}

pub(super) fn send(conversation: &OwnedFd, message: &[u8]) {
    // the program may be gone already
    let _sent = net::send(conversation.as_fd(), message, SendFlags::NOSIGNAL);
}

/// A request in a line.
pub(super) fn describe(request: &Request<'_>) -> String {
    match request {
        Request::Connect { target } => format!("connect {target}"),
        Request::Peer { .. } => "peer".into(),
        Request::OwnAddress { .. } => "own address".into(),
        Request::Disconnect { .. } => "disconnect".into(),
        Request::Failure { .. } => "failure".into(),
        Request::ShutDown { .. } => "shut down".into(),
        Request::Bind { address } => format!("bind {address}"),
        Request::PodAddress { address } => format!("pod address {address}"),
        Request::Resolve {
            family,
            purpose,
            name,
        } => {
            format!("resolve {family:?} {purpose:?} {}", String::from_utf8_lossy(name))
        }
        Request::Query {
            transport,
            search,
            message,
        } => {
            format!("query {transport:?} {} {search:?}", dns::question(message))
        }
        Request::Flow { target, .. } => format!("flow {target}"),
        Request::Source { address, .. } => format!("source {address}"),
        Request::Fetch { part, path } => format!("fetch {part:?} {}", String::from_utf8_lossy(path)),
        Request::ResolvConf => "resolv.conf".into(),
        Request::Reverse { address } => format!("reverse {address}"),
        Request::Uninjectable {
            blocker,
            is_refused,
            program,
        } => {
            let result = if *is_refused { "refused" } else { "outside" };
            format!("{result} {blocker:?} {}", String::from_utf8_lossy(program))
        }
    }
}
