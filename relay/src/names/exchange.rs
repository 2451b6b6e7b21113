//! Answers DNS messages of programs that query name servers themselves.
//!
//! A message is forwarded to the cluster unchanged. If the name does not exist there, this machine's own name servers
//! are asked, unless it could be a name of the cluster's; their answer is used if the name exists and none of its
//! addresses is the cluster's. So a program that resolves by itself sees the same names as one that calls libc. The
//! addresses of an answer are remembered, so that connections to them are routed like the name.

use super::hosts;
use super::local::Reason;
use super::resolver::Resolver;
use crate::log;
use crate::routes::Cause;
use crate::trace::Traced;
use crate::words;
use kinject_dns::message::{self, Code, Fault, Query};
use kinject_protocol::NameFailure;
use kinject_protocol::control::{DnsTransport, Reply};
use kinject_protocol::rules;

impl Resolver {
    /// Answers a DNS message (RFC 1035, 4.1) as the session's name server does over TCP, without truncation. `None` for
    /// messages that get no answer: noise, and messages that are answers.
    pub(crate) async fn exchange(&self, message: &[u8]) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Fault::Unanswerable) => return None,
            Err(Fault::Malformed) => return Some(message::refusal(message, Code::FormErr)),
        };
        if let Some(address) = query.reversed_address()
            && let Some(cause) = self.routes.why_local(address)
        {
            log::debug!("the name of {address} is looked up on this machine: {cause}");
            return Some(self.exchange_reverse_locally(&query, &cause).await);
        }
        let name = query.name();
        let mut traced = self.trace.lookup(name.as_bytes());
        let answer = self.exchange_by_name(&query, &name, &mut traced).await;
        traced.exchanged(message::code(&answer), &message::addresses(&answer));
        Some(answer)
    }

    /// Asks this machine's name servers for the name of an address that is resolved locally.
    async fn exchange_reverse_locally(&self, query: &Query<'_>, cause: &Cause<'_>) -> Vec<u8> {
        let traced = self.trace.local_reverse_lookup(query.name().as_bytes(), cause);
        let reason = match cause {
            Cause::Rule(_) => Reason::Rule,
            Cause::Learned | Cause::Pod(_) | Cause::Interface | Cause::Default => Reason::Unknown,
        };
        let answer = self.local.ask(query, reason).await;
        let answer = answer.unwrap_or_else(|| query.refusal(Code::NxDomain));
        traced.exchanged(message::code(&answer), &[]);
        answer
    }

    async fn exchange_by_name(&self, query: &Query<'_>, name: &str, traced: &mut Traced<'_>) -> Vec<u8> {
        let only = self.routes.egress_of_name(name);
        if only == Some(rules::Egress::Local) {
            let answer = self.local.ask(query, Reason::Rule).await;
            let answer = answer.unwrap_or_else(|| query.refusal(Code::NxDomain));
            self.routes.learned_locally(name, &message::addresses(&answer));
            return answer;
        }
        let mut answer = self.cluster.exchange(query).await;
        if only.is_none() {
            if message::code(&answer) == Code::NxDomain
                && let Some(better) = self.exchange_locally(query, traced).await
            {
                return better;
            }
            answer = self
                .policy
                .without_loopback_addresses(query, name, answer, traced);
        }
        self.routes
            .learned_from_cluster(name, &message::addresses(&answer));
        answer
    }

    /// The same over UDP: an answer that is too long for a datagram is truncated, and the program asks again over TCP.
    pub(crate) async fn exchange_datagram(&self, message: &[u8]) -> Option<Vec<u8>> {
        let answer = self.exchange(message).await?;
        Some(message::truncate(message, answer))
    }

    /// The same for a program that calls a function of libc.
    pub(crate) async fn query(&self, transport: DnsTransport, message: &[u8]) -> Reply {
        let answer = match transport {
            DnsTransport::Stream => self.exchange(message).await,
            DnsTransport::Datagram => self.exchange_datagram(message).await,
        };
        answer.map_or(Reply::NameFailed(NameFailure::NoRecovery), Reply::Answer)
    }

    /// The answer of this machine's own name servers, if they may be asked, the name exists there and the answer is
    /// accepted.
    pub(super) async fn exchange_locally(
        &self,
        query: &Query<'_>,
        traced: &mut Traced<'_>,
    ) -> Option<Vec<u8>> {
        let up = self.uplink.up().await.ok()?;
        let name = query.name();
        let is_cluster_address = |address| self.routes.is_cluster_address(address);
        if query.reversed_address().is_some_and(is_cluster_address)
            || !self.policy.may_ask_locally(&up.names.conf, &name).await && !hosts::is_own_name(&name)
        {
            return None;
        }
        let answer = self
            .local
            .ask(query, Reason::Unknown)
            .await
            .filter(|answer| message::code(answer) == Code::NoError)?;
        if !self
            .policy
            .accepts_local_addresses(&name, &message::all_addresses(&answer), traced)
            .await
        {
            return None;
        }
        let addresses = message::addresses(&answer);
        log::debug!(
            "question about {name}: {} from this machine",
            if addresses.is_empty() {
                "an answer".to_owned()
            } else {
                words::list(&addresses)
            }
        );
        self.routes.learned_locally(&name, &addresses);
        Some(answer)
    }
}
