//! This machine's own names, for what the cluster does not know.
//!
//! libc is asked for addresses and for names of addresses: it knows whom the machine asks (nsswitch.conf(5)). Messages go
//! to the name servers themselves: whoever resolv.conf(5) names is asked, in order, over UDP and then over TCP where the
//! answer was cut. The file is read for each question: machines move between networks.
//!
//! The cluster's "no" is there already, so that a silent server must not keep it back: the first name that it does not
//! answer for costs a second, and it is not asked again for a while ([`super::breaker`]). libc would wait for it, so
//! that meanwhile libc is not asked at all. A server that passes questions on may be slow with one name and not with
//! others: only one that does not answer a probe either is silent.

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

/// How long the cluster's "no" waits for this machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// After what time a server counts as silent: what remains of that where libc was asked first, so that one name pays for it
/// and not the next one, too.
const SILENT: Duration = PATIENCE.saturating_sub(LIBCS_HEAD_START);

/// The same where a rule has the name looked up here alone.
const RULES_PATIENCE: Duration = Duration::from_secs(5);

/// When a server that has not answered yet is probed.
const PROBE: Duration = Duration::from_millis(200);

/// What it is probed with: servers answer for it themselves (RFC 6303, 4.2), and it tells them nothing.
const PROBED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How long one server is ahead of the next one.
const HEAD_START: Duration = Duration::from_millis(300);

/// The same after libc's own: the first server has had that time already.
const SHORT_HEAD_START: Duration = Duration::from_millis(100);

/// How long libc may wait before the name servers are asked without it.
const LIBCS_HEAD_START: Duration = Duration::from_millis(300);

/// For how long an answer that is too late for its question still tells that its server is there.
const LATEST: Duration = Duration::from_secs(5);

/// Calls of libc that may hang at once, each in a thread.
const MOST_IN_LIBC: usize = 16;

/// The same for what a rule has looked up here. Together they leave some of the [`crate::BLOCKING_THREADS`] to files.
const MOST_BY_RULES: usize = 8;

const _: () = assert!(MOST_IN_LIBC + MOST_BY_RULES < crate::BLOCKING_THREADS);

/// Why this machine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The cluster does not know.
    Unknown,
    /// The same, and libc waits already.
    LibcWaits,
    /// A rule says so.
    Rule,
}

/// This machine's name servers, and libc, which asks them.
#[derive(Clone)]
pub(crate) struct LocalNames {
    breakers: Rc<RefCell<Breakers>>,
    in_libc: Arc<Semaphore>,
    by_rules: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl LocalNames {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            breakers: Rc::default(),
            in_libc: Arc::new(Semaphore::new(MOST_IN_LIBC)),
            by_rules: Arc::new(Semaphore::new(MOST_BY_RULES)),
            events,
        }
    }

    /// The first answer that says whether the name exists; none if no server gives one in time.
    pub(super) async fn ask(&self, query: &Query<'_>, reason: Reason) -> Option<Vec<u8>> {
        let patience = match reason {
            Reason::Unknown | Reason::LibcWaits => PATIENCE,
            Reason::Rule => RULES_PATIENCE,
        };
        timeout(patience, self.ask_in_turn(query, reason)).await.ok()?
    }

    async fn ask_in_turn(&self, query: &Query<'_>, reason: Reason) -> Option<Vec<u8>> {
        let (answers, mut answered) = mpsc::channel(1);
        let mut servers = name_servers().await.into_iter();
        let mut under_way = 0;
        let head_start = match reason {
            Reason::LibcWaits => SHORT_HEAD_START,
            Reason::Unknown | Reason::Rule => HEAD_START,
        };
        loop {
            let next = servers.find(|server| {
                reason == Reason::Rule || self.breakers.borrow_mut().may_ask(*server, Instant::now())
            });
            if let Some(server) = next {
                under_way += 1;
                let (names, answers) = (self.clone(), answers.clone());
                let question = query.with_id(query.id());
                // goes on when its answer is too late for the question, for the server's sake
                tokio::task::spawn_local(async move {
                    let answer = names.ask_server(SocketAddr::new(server, PORT), &question).await;
                    let _too_late = answers.send(answer).await.is_err();
                });
            } else if under_way == 0 {
                return None;
            }
            let is_last = next.is_none();
            tokio::select! {
                answer = answered.recv() => {
                    under_way -= 1;
                    if let Some(Some(answer)) = answer {
                        return Some(answer);
                    }
                }
                () = sleep(head_start), if !is_last => {}
            }
        }
    }

    /// Asks one server, and notes whether it answers.
    async fn ask_server(&self, address: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
        let (server, asked) = (address.ip(), Instant::now());
        let query = Query::parse(question).ok()?;
        let answer = tokio::select! {
            answer = name_server::ask(address, &query) => answer,
            () = self.watch(address) => return None,
        };
        match &answer {
            Ok(_) => self.breakers.borrow_mut().answered(server, Instant::now()),
            // it costs whoever asks as little as an answer
            Err(error) if name_server::is_of_it(error) && asked.elapsed() < SILENT => {
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

    /// What happens while a question is not answered, until nobody waits for it any more: the server is probed, and rests
    /// where it has answered nothing at all.
    async fn watch(&self, address: SocketAddr) {
        let (server, asked) = (address.ip(), Instant::now());
        let probe = async {
            sleep(PROBE).await;
            let Some(question) = ptr::question(PROBED) else {
                return;
            };
            let Ok(query) = Query::parse(&question) else {
                return;
            };
            if let Ok(Ok(_)) = timeout(LATEST.saturating_sub(PROBE), name_server::ask(address, &query)).await
            {
                self.breakers.borrow_mut().answered(server, Instant::now());
            }
        };
        let verdict = async {
            sleep(SILENT).await;
            self.breakers
                .borrow_mut()
                .was_silent(server, asked, Instant::now());
            // one that is only slow is no news
            sleep(PATIENCE.saturating_sub(SILENT)).await;
            if self.breakers.borrow().rests(server) {
                self.tell(server);
            }
            sleep(LATEST.saturating_sub(PATIENCE)).await;
        };
        tokio::join!(probe, verdict);
    }

    /// Tells the user of a silent server, once.
    fn tell(&self, server: IpAddr) {
        log::info!("this machine's name server {server} does not answer");
        if self.breakers.borrow_mut().is_news(server) {
            let report = Report {
                message: format!(
                    "this machine's name server {server} does not answer: until it does, names that the cluster does not \
                     know are looked up without it"
                ),
                hint: Some(
                    "check its VPN: the name servers of this machine are in /etc/resolv.conf".to_owned(),
                ),
            };
            // a launcher that reads slowly, or is gone, misses a hint and nothing else
            let _missed = self.events.try_send(Event::Notice(report)).is_err();
        }
    }

    /// What libc says in time. `servers` asks the name servers for the same: it comes into play where libc takes long, as it
    /// does when it waits for a server that does not answer, and takes libc's place while there is such a server.
    pub(super) async fn by_libc<T: 'static>(
        &self,
        libc: impl Future<Output = Option<T>> + 'static,
        servers: impl AsyncFnOnce(Reason) -> Option<T>,
    ) -> Option<T> {
        let found = async {
            if self.has_silent_servers().await {
                return servers(Reason::Unknown).await;
            }
            let Ok(permit) = Arc::clone(&self.in_libc).try_acquire_owned() else {
                return servers(Reason::Unknown).await;
            };
            let mut libc = with_place(permit, libc);
            if let Ok(found) = timeout(LIBCS_HEAD_START, &mut libc).await {
                return found.ok()?;
            }
            tokio::select! {
                Some(found) = servers(Reason::LibcWaits) => Some(found),
                found = libc => found.ok()?,
            }
        };
        timeout(PATIENCE, found).await.ok()?
    }

    /// What libc says in time, or in a moment while there is a silent server.
    pub(super) async fn by_libc_alone<T: 'static>(
        &self,
        libc: impl Future<Output = Option<T>> + 'static,
    ) -> Option<T> {
        let patience = match self.has_silent_servers().await {
            true => LIBCS_HEAD_START,
            false => PATIENCE,
        };
        timeout(patience, when_there_is_room(&self.in_libc, libc))
            .await
            .ok()?
    }

    /// What libc says in time of a name that a rule has looked up here.
    pub(super) async fn by_libc_for_a_rule<T: 'static>(
        &self,
        libc: impl Future<Output = Option<T>> + 'static,
    ) -> Option<T> {
        timeout(RULES_PATIENCE, when_there_is_room(&self.by_rules, libc))
            .await
            .ok()?
    }

    async fn has_silent_servers(&self) -> bool {
        let servers = name_servers().await;
        let breakers = self.breakers.borrow();
        servers.into_iter().any(|server| breakers.is_silent(server))
    }
}

/// What libc says once there is room for one more call of it.
async fn when_there_is_room<T: 'static>(
    room: &Arc<Semaphore>,
    libc: impl Future<Output = Option<T>> + 'static,
) -> Option<T> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    with_place(permit, libc).await.ok()?
}

/// A call of libc, which keeps its place for as long as its thread hangs, also when nobody waits for it any more.
fn with_place<T: 'static>(
    permit: OwnedSemaphorePermit,
    libc: impl Future<Output = Option<T>> + 'static,
) -> JoinHandle<Option<T>> {
    tokio::task::spawn_local(async move {
        let found = libc.await;
        drop(permit);
        found
    })
}

/// Whom the machine asks. One without the file, or without a server in it, has one of its own (resolv.conf(5)). Servers on a
/// link are libc's to ask.
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
        let (events, told) = mpsc::channel(8);
        (LocalNames::new(events), told)
    }

    /// A name server that answers, with nothing, the questions about `names` only.
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
        let rests_after = async |known| {
            let ((names, _told), server) = (names(), server_of(known).await);
            let asked = names.ask_server(server, &question);
            assert!(timeout(PATIENCE + REPEAT, asked).await.is_err());
            names.breakers.borrow().rests(server.ip())
        };
        let both = async {
            tokio::join!(
                rests_after(&["1.0.0.127.in-addr.arpa"]),
                rests_after(&["other.example"])
            )
        };
        assert_eq!(LocalSet::new().run_until(both).await, (false, true));
    }

    /// A server that rests, after one more question was asked at this address.
    async fn rests_after_a_trial(address: SocketAddr) -> bool {
        let (names, _told) = names();
        let (server, now) = (address.ip(), Instant::now());
        names.breakers.borrow_mut().was_silent(server, now, now);
        let question =
            crate::names::query::question("name.example", hickory_proto::rr::RecordType::A).unwrap();
        assert_eq!(names.ask_server(address, &question).await, None);
        names.breakers.borrow().rests(server)
    }

    #[tokio::test]
    async fn unreachable_server_keeps_its_breaker_open() {
        // of no interface in particular, to which the kernel sends nothing
        let nowhere = "[fe80::1]:53".parse().unwrap();
        let rests = rests_after_a_trial(nowhere);
        assert!(LocalSet::new().run_until(rests).await);
    }

    #[tokio::test]
    async fn refused_question_closes_the_breaker() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let nobody = socket.local_addr().unwrap();
        drop(socket);
        let rests = rests_after_a_trial(nobody);
        assert!(!LocalSet::new().run_until(rests).await);
    }

    #[tokio::test]
    async fn libc_only_lookup_waits_for_a_free_slot() {
        let (names, _told) = names();
        let waits_then_finds = async {
            let all = u32::try_from(MOST_IN_LIBC).unwrap();
            let hanging = Arc::clone(&names.in_libc).acquire_many_owned(all).await.unwrap();
            let mut found = pin!(names.by_libc_alone(async { Some("found") }));
            assert!(timeout(PATIENCE / 10, &mut found).await.is_err());
            drop(hanging);
            found.await
        };
        assert_eq!(LocalSet::new().run_until(waits_then_finds).await, Some("found"));
    }

    #[tokio::test]
    async fn hanging_rule_lookups_leave_threads_to_other_lookups() {
        let (names, _told) = names();
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
            assert!(timeout(PATIENCE / 10, hanging).await.is_err());
            // given up, they hang all the same
            assert!(timeout(PATIENCE / 10, hangs()).await.is_err());
            names.by_libc_alone(async { Some("found") }).await
        };
        assert_eq!(LocalSet::new().run_until(many).await, Some("found"));
        assert_eq!(calls.get(), MOST_BY_RULES);
    }
}
