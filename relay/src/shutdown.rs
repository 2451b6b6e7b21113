//! Requests to end a session: orders of the launcher, and signals.

use crate::log;
use anyhow::Context;
use kinject_protocol::session::{Order, from_line};
use std::time::Duration;
use tokio::io::{BufReader, Lines};
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownRequest {
    /// The launcher requested it, or is gone.
    Launcher,
    /// The relay got this signal.
    Signal(&'static str),
}

impl ShutdownRequest {
    /// How long the bytes of ended programs may take to be delivered.
    pub(crate) fn drain_timeout(self) -> Duration {
        match self {
            // somewhat longer than a kernel waits for a stalled reader
            Self::Launcher => Duration::from_secs(300),
            // the machine itself may shut down after it
            Self::Signal(_) => Duration::from_secs(5),
        }
    }
}

/// The launcher's orders and the signals SIGTERM, SIGINT and SIGHUP.
pub(crate) struct ShutdownRequests {
    /// None once the launcher has requested the end or is gone.
    orders: Option<Lines<BufReader<OwnedReadHalf>>>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl ShutdownRequests {
    pub(crate) fn new(orders: Lines<BufReader<OwnedReadHalf>>) -> anyhow::Result<Self> {
        Ok(Self {
            orders: Some(orders),
            terminate: signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?,
        })
    }

    /// Waits for the next request. Cancel-safe.
    pub(crate) async fn next(&mut self) -> ShutdownRequest {
        let ending = tokio::select! {
            () = end_of_orders(&mut self.orders) => ShutdownRequest::Launcher,
            _ = self.terminate.recv() => ShutdownRequest::Signal("SIGTERM"),
            _ = self.interrupt.recv() => ShutdownRequest::Signal("SIGINT"),
            _ = self.hangup.recv() => ShutdownRequest::Signal("SIGHUP"),
        };
        match ending {
            ShutdownRequest::Launcher => {
                self.orders = None;
                log::info!("the session ends");
            }
            ShutdownRequest::Signal(name) => log::info!("the session ends: the relay got {name}"),
        }
        ending
    }
}

/// Ends when the launcher requests the end or is gone, once.
async fn end_of_orders(orders: &mut Option<Lines<BufReader<OwnedReadHalf>>>) {
    let Some(orders) = orders else {
        return std::future::pending().await;
    };
    loop {
        match orders.next_line().await {
            Ok(Some(line)) => match from_line(&line) {
                Ok(Order::Finish) => return,
                Ok(Order::Start(_) | Order::CleanUp(_)) => {
                    log::warn!("the launcher started the session twice")
                }
                Err(error) => log::warn!("cannot decode an order: {error}"),
            },
            Ok(None) => return,
            Err(error) => return log::info!("cannot read the launcher's orders: {error}"),
        }
    }
}
