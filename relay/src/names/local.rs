//! Looks up names on this machine, for names that do not exist in the cluster.
//!
//! libc is called for addresses and for names of addresses: it follows nsswitch.conf(5). Messages are sent to the name
//! servers of resolv.conf(5), in order, over UDP, and over TCP if the answer was truncated. The file is read for each
//! question, since machines move between networks.
//!
//! The cluster's NXDOMAIN has arrived by then, and a silent server must not delay it: the first name that it does not
//! answer costs a second, and then its breaker opens ([`super::breaker`]). libc would wait for the server, so libc is
//! not called while the breaker is open. A forwarding server may be slow with one name and not with others, so it
//! counts as silent only if it does not answer a probe either.

mod name_server;

use super::breaker::Breakers;
use super::ptr;
use crate::{log, words};
use kinject_dns::PORT;
use kinject_dns::message::{self, Code, Query};
use kinject_dns::resolv_conf::ResolvConf;
use kinject_protocol::session::{Event, Report};
use std::cell::RefCell;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The machine's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long a local lookup may delay the cluster's NXDOMAIN.
const TIMEOUT: Duration = Duration::from_secs(1);

/// When a server counts as silent: what remains of [`TIMEOUT`] if libc was called first, so that a silent server delays
/// only one name.
const SILENCE: Duration = TIMEOUT.saturating_sub(LIBCS_HEAD_START);

/// The time limit if a rule has the name looked up only here.
const RULE_TIMEOUT: Duration = Duration::from_secs(5);

/// When a server that has not answered is probed.
const PROBE_DELAY: Duration = Duration::from_millis(200);

/// The address whose name is asked for in a probe: servers answer it themselves (RFC 6303, 4.2), and it reveals
/// nothing.
const PROBED_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How long one server has to answer before the next one is asked as well.
const HEAD_START: Duration = Duration::from_millis(300);

/// The same after libc was called first: the first server has had that time already.
const SHORT_HEAD_START: Duration = Duration::from_millis(100);

/// How long libc has to answer before the name servers are asked directly.
const LIBCS_HEAD_START: Duration = Duration::from_millis(300);

/// How long an answer is waited for after the time limit, since a late answer still closes the server's breaker.
const LATE_ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Maximum of concurrent calls of libc, each in a thread.
const MAX_LIBC_CALLS: usize = 16;

/// The same for names that a rule has looked up here. Together they leave some of the [`crate::BLOCKING_THREADS`] to
/// files.
const MAX_RULE_CALLS: usize = 8;

const _: () = assert!(MAX_LIBC_CALLS + MAX_RULE_CALLS < crate::BLOCKING_THREADS);

/// Why a name is looked up on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The name does not exist in the cluster.
    Unknown,
    /// The same, and a call of libc is pending.
    LibcWaits,
    /// A rule decides it.
    Rule,
}

/// Lookups by libc and by this machine's name servers.
#[derive(Clone)]
pub(crate) struct LocalNames {
    breakers: Rc<RefCell<Breakers>>,
    libc_calls: Arc<Semaphore>,
    rule_calls: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl LocalNames {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            breakers: Rc::default(),
            libc_calls: Arc::new(Semaphore::new(MAX_LIBC_CALLS)),
            rule_calls: Arc::new(Semaphore::new(MAX_RULE_CALLS)),
            events,
        }
    }

    /// The first answer that says whether the name exists; none if no server answers in time.
    pub(super) async fn ask(&self, query: &Query<'_>, reason: Reason) -> Option<Vec<u8>> {
        let time_limit = match reason {
            Reason::Unknown | Reason::LibcWaits => TIMEOUT,
            Reason::Rule => RULE_TIMEOUT,
        };
        timeout(time_limit, self.ask_in_turn(query, reason)).await.ok()?
    }

    async fn ask_in_turn(&self, query: &Query<'_>, reason: Reason) -> Option<Vec<u8>> {
        let (answers, mut answered) = mpsc::channel(1);
        let mut servers = name_servers().await.into_iter();
        let mut pending = 0;
        let head_start = match reason {
            Reason::LibcWaits => SHORT_HEAD_START,
            Reason::Unknown | Reason::Rule => HEAD_START,
        };
        loop {
            let next = servers.find(|server| {
                reason == Reason::Rule || self.breakers.borrow_mut().may_ask(*server, Instant::now())
            });
            if let Some(server) = next {
                pending += 1;
                let (names, answers) = (self.clone(), answers.clone());
                let question = query.with_id(query.id());
                // the task continues after the question's time limit, to record a late answer
                tokio::task::spawn_local(async move {
                    let answer = names.ask_server(SocketAddr::new(server, PORT), &question).await;
                    let _too_late = answers.send(answer).await.is_err();
                });
            } else if pending == 0 {
                return None;
            }
            let is_last = next.is_none();
            tokio::select! {
                answer = answered.recv() => {
                    pending -= 1;
                    if let Some(Some(answer)) = answer {
                        return Some(answer);
                    }
                }
                () = sleep(head_start), if !is_last => {}
            }
        }
    }

    /// Asks one server, and records whether it answers.
    async fn ask_server(&self, address: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
        let (server, asked) = (address.ip(), Instant::now());
        let query = Query::parse(question).ok()?;
        let answer = tokio::select! {
            answer = name_server::ask(address, &query) => answer,
            () = self.watch(address) => return None,
        };
        match &answer {
            Ok(_) => self.breakers.borrow_mut().answered(server, Instant::now()),
            // a refusal is as quick as an answer
            Err(error) if name_server::is_from_server(error) && asked.elapsed() < SILENCE => {
                self.breakers.borrow_mut().answered(server, Instant::now());
            }
            Err(_) => self.breakers.borrow_mut().failed(server, asked, Instant::now()),
        }
        match answer {
            Ok(answer) if matches!(message::code(&answer), Code::NoError | Code::NxDomain) => Some(answer),
            Ok(answer) => {
                let code = words::dns_code(message::code(&answer));
                log::debug!("this machine's name server {server} answers {code}");
                None
            }
            Err(error) => {
                log::debug!("this machine's name server {server}: {error}");
                None
            }
        }
    }

    /// Runs while a question is not answered: probes the server, and opens its breaker if it answers neither. Ends when
    /// a late answer is no longer waited for.
    async fn watch(&self, address: SocketAddr) {
        let (server, asked) = (address.ip(), Instant::now());
        let probe = async {
            sleep(PROBE_DELAY).await;
            let Some(question) = ptr::question(PROBED_ADDRESS) else {
                return;
            };
            let Ok(query) = Query::parse(&question) else {
                return;
            };
            if let Ok(Ok(_)) = timeout(
                LATE_ANSWER_LIMIT.saturating_sub(PROBE_DELAY),
                name_server::ask(address, &query),
            )
            .await
            {
                self.breakers.borrow_mut().answered(server, Instant::now());
            }
        };
        let silence = async {
            sleep(SILENCE).await;
            self.breakers
                .borrow_mut()
                .was_silent(server, asked, Instant::now());
            // a server that is only slow is not reported
            sleep(TIMEOUT.saturating_sub(SILENCE)).await;
            if self.breakers.borrow().is_open(server) {
                self.report_silent(server);
            }
            sleep(LATE_ANSWER_LIMIT.saturating_sub(TIMEOUT)).await;
        };
        tokio::join!(probe, silence);
    }

    /// Reports a silent server to the user, once.
    fn report_silent(&self, server: IpAddr) {
        log::info!("this machine's name server {server} does not answer");
        if self.breakers.borrow_mut().is_first_report(server) {
            let report = Report {
                message: format!(
                    "this machine's name server {server} does not answer: until it does, names that the cluster does not \
                     know are looked up without it"
                ),
                hint: Some(
                    "check its VPN: the name servers of this machine are in /etc/resolv.conf".to_owned(),
                ),
            };
            // a launcher that reads slowly, or is gone, misses only this notice
            let _dropped = self.events.try_send(Event::Notice(report)).is_err();
        }
    }

    /// Looks up by libc. `servers` asks the name servers for the same: it is run if libc takes long, as it does while
    /// it waits for a silent server, and instead of libc while a server is known to be silent.
    pub(super) async fn by_libc<T: 'static>(
        &self,
        libc: impl Future<Output = Option<T>> + 'static,
        servers: impl AsyncFnOnce(Reason) -> Option<T>,
    ) -> Option<T> {
        let found = async {
            if self.has_silent_servers().await {
                return servers(Reason::Unknown).await;
            }
            let Ok(permit) = Arc::clone(&self.libc_calls).try_acquire_owned() else {
                return servers(Reason::Unknown).await;
            };
            let mut libc = with_permit(permit, libc);
            if let Ok(found) = timeout(LIBCS_HEAD_START, &mut libc).await {
                return found.ok()?;
            }
            tokio::select! {
                Some(found) = servers(Reason::LibcWaits) => Some(found),
                found = libc => found.ok()?,
            }
        };
        timeout(TIMEOUT, found).await.ok()?
    }

    /// Looks up by libc only, with a shorter time limit while a server is known to be silent.
    pub(super) async fn by_libc_only<T: 'static>(
        &self,
        libc: impl Future<Output = Option<T>> + 'static,
    ) -> Option<T> {
        let time_limit = match self.has_silent_servers().await {
            true => LIBCS_HEAD_START,
            false => TIMEOUT,
        };
        timeout(time_limit, when_permitted(&self.libc_calls, libc))
            .await
            .ok()?
    }

    /// Looks up a name by libc that a rule has looked up here.
    pub(super) async fn by_libc_for_a_rule<T: 'static>(
        &self,
        libc: impl Future<Output = Option<T>> + 'static,
    ) -> Option<T> {
        timeout(RULE_TIMEOUT, when_permitted(&self.rule_calls, libc))
            .await
            .ok()?
    }

    async fn has_silent_servers(&self) -> bool {
        let servers = name_servers().await;
        let breakers = self.breakers.borrow();
        servers.into_iter().any(|server| breakers.is_silent(server))
    }
}

/// Waits for a permit, then calls libc.
async fn when_permitted<T: 'static>(
    permits: &Arc<Semaphore>,
    libc: impl Future<Output = Option<T>> + 'static,
) -> Option<T> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    with_permit(permit, libc).await.ok()?
}

/// Calls libc in a task, which keeps the permit while the call's thread is blocked, also after its caller has given up.
fn with_permit<T: 'static>(
    permit: OwnedSemaphorePermit,
    libc: impl Future<Output = Option<T>> + 'static,
) -> JoinHandle<Option<T>> {
    tokio::task::spawn_local(async move {
        let found = libc.await;
        drop(permit);
        found
    })
}

/// The machine's name servers; without the file, or a server in it, the local one (resolv.conf(5)). Link-local servers
/// are left to libc.
async fn name_servers() -> Vec<IpAddr> {
    let text = tokio::fs::read(RESOLV_CONF).await.unwrap_or_default();
    let conf = ResolvConf::parse(&String::from_utf8_lossy(&text));
    let servers = conf.name_servers(|_link| None).into_iter();
    servers.map(|server| server.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::name_server::REPEAT;
    use super::*;
    use std::pin::pin;
    use tokio::net::UdpSocket;
    use tokio::task::LocalSet;

    fn names() -> (LocalNames, mpsc::Receiver<Event>) {
        let (events, reports) = mpsc::channel(8);
        (LocalNames::new(events), reports)
    }

    /// A name server that answers only questions about `names`, without records.
    async fn server_of(names: &'static [&'static str]) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, asker) = socket.recv_from(&mut buffer).await.unwrap();
                let message = &mut buffer[..length];
                let name: Vec<_> = Query::parse(message).unwrap().labels().collect();
                if names.contains(&String::from_utf8(name.join(&b'.')).unwrap().as_str()) {
                    message[2] |= 0x80;
                    socket.send_to(message, asker).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn slow_name_at_a_server_that_answers_the_probe_opens_no_breaker() {
        let question =
            crate::names::query::question("slow.example", hickory_proto::rr::RecordType::A).unwrap();
        let is_open_after = async |known| {
            let ((names, _reports), server) = (names(), server_of(known).await);
            let asked = names.ask_server(server, &question);
            assert!(timeout(TIMEOUT + REPEAT, asked).await.is_err());
            names.breakers.borrow().is_open(server.ip())
        };
        let both = async {
            tokio::join!(
                is_open_after(&["1.0.0.127.in-addr.arpa"]),
                is_open_after(&["other.example"])
            )
        };
        assert_eq!(LocalSet::new().run_until(both).await, (false, true));
    }

    /// Whether the breaker of a silent server is open after one more question was sent to this address.
    async fn is_open_after_a_trial(address: SocketAddr) -> bool {
        let (names, _reports) = names();
        let (server, now) = (address.ip(), Instant::now());
        names.breakers.borrow_mut().was_silent(server, now, now);
        let question =
            crate::names::query::question("name.example", hickory_proto::rr::RecordType::A).unwrap();
        assert_eq!(names.ask_server(address, &question).await, None);
        names.breakers.borrow().is_open(server)
    }

    #[tokio::test]
    async fn unreachable_server_keeps_its_breaker_open() {
        // a link-local address without an interface, to which the kernel cannot send
        let unreachable = "[fe80::1]:53".parse().unwrap();
        let is_open = is_open_after_a_trial(unreachable);
        assert!(LocalSet::new().run_until(is_open).await);
    }

    #[tokio::test]
    async fn refused_question_closes_the_breaker() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let closed_port = socket.local_addr().unwrap();
        drop(socket);
        let is_open = is_open_after_a_trial(closed_port);
        assert!(!LocalSet::new().run_until(is_open).await);
    }

    #[tokio::test]
    async fn libc_only_lookup_waits_for_a_free_slot() {
        let (names, _reports) = names();
        let waits_then_finds = async {
            let all = u32::try_from(MAX_LIBC_CALLS).unwrap();
            let hanging = Arc::clone(&names.libc_calls)
                .acquire_many_owned(all)
                .await
                .unwrap();
            let mut found = pin!(names.by_libc_only(async { Some("found") }));
            assert!(timeout(TIMEOUT / 10, &mut found).await.is_err());
            drop(hanging);
            found.await
        };
        assert_eq!(LocalSet::new().run_until(waits_then_finds).await, Some("found"));
    }

    #[tokio::test]
    async fn hanging_rule_lookups_leave_threads_to_other_lookups() {
        let (names, _reports) = names();
        let calls = Rc::new(std::cell::Cell::new(0));
        let hangs = || {
            names.by_libc_for_a_rule({
                let calls = Rc::clone(&calls);
                async move {
                    calls.set(calls.get() + 1);
                    std::future::pending::<Option<()>>().await
                }
            })
        };
        let many = async {
            let hanging = futures::future::join_all((0..2 * crate::BLOCKING_THREADS).map(|_| hangs()));
            assert!(timeout(TIMEOUT / 10, hanging).await.is_err());
            // their threads stay blocked after the callers have given up
            assert!(timeout(TIMEOUT / 10, hangs()).await.is_err());
            names.by_libc_only(async { Some("found") }).await
        };
        assert_eq!(LocalSet::new().run_until(many).await, Some("found"));
        assert_eq!(calls.get(), MAX_RULE_CALLS);
    }
}
