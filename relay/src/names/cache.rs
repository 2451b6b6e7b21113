//! Answers for as long as their TTL allows, and one question for all who ask it at once.

use super::query::Answer;
use hickory_proto::rr::RecordType;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::OnceCell;

/// How many answers are kept before those that have expired, and then all, are dropped.
const CAPACITY: usize = 4096;

type Key = (String, RecordType);

/// An answer, or the question that is under way for it.
type Entry = Rc<OnceCell<(Answer, Instant)>>;

/// The session's DNS cache.
#[derive(Default)]
pub(crate) struct Cache(parking_lot::Mutex<HashMap<Key, Entry>>);

impl Cache {
    /// The kept answer, or the one that `ask` brings. Whoever asks the same meanwhile waits for the same answer, and
    /// goes on with the question if the first one gives up.
    pub(crate) async fn get_or_ask<F: Future<Output = Answer>>(
        &self,
        name: &str,
        record: RecordType,
        ask: impl FnOnce() -> F,
    ) -> Answer {
        let key = (name.to_ascii_lowercase(), record);
        let entry = self.entry(&key);
        let (answer, _) = entry
            .get_or_init(|| async {
                let answer = ask().await;
                let expiry = Instant::now() + answer.ttl;
                (answer, expiry)
            })
            .await;
        answer.clone()
    }

    /// Forgets everything: the cluster behind it may be another.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    fn entry(&self, key: &Key) -> Entry {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(key).filter(|entry| is_fresh(entry)) {
            return Rc::clone(entry);
        }
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| is_fresh(entry));
        }
        if entries.len() >= CAPACITY {
            entries.clear();
        }
        let entry = Entry::default();
        entries.insert(key.clone(), Rc::clone(&entry));
        entry
    }
}

/// Under way, or not expired.
fn is_fresh(entry: &Entry) -> bool {
    entry.get().is_none_or(|(_, expiry)| *expiry > Instant::now())
}

#[cfg(test)]
mod tests {
    use super::super::query::Outcome;
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn an_answer_is_kept_for_its_ttl_and_no_longer() {
        block_on(async {
            let cache = Cache::default();
            let asked = Cell::new(0);
            let ask = |ttl| {
                let asked = &asked;
                move || async move {
                    asked.set(asked.get() + 1);
                    Answer {
                        outcome: Outcome::NotFound,
                        ttl,
                    }
                }
            };
            cache
                .get_or_ask("Web.test", RecordType::A, ask(Duration::from_secs(60)))
                .await;
            cache
                .get_or_ask("web.TEST", RecordType::A, ask(Duration::from_secs(60)))
                .await;
            assert_eq!(asked.get(), 1);
            cache
                .get_or_ask("other.test", RecordType::A, ask(Duration::ZERO))
                .await;
            cache
                .get_or_ask("other.test", RecordType::A, ask(Duration::ZERO))
                .await;
            assert_eq!(asked.get(), 3);
        });
    }

    #[test]
    fn questions_under_way_are_joined() {
        block_on(async {
            let cache = Cache::default();
            let asked = Cell::new(0);
            let ask = || async {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                Answer {
                    outcome: Outcome::NoData,
                    ttl: Duration::from_secs(1),
                }
            };
            let one = cache.get_or_ask("web.test", RecordType::A, ask);
            let other = cache.get_or_ask("web.test", RecordType::A, ask);
            let (one, other) = tokio::join!(one, other);
            assert_eq!(one, other);
            assert_eq!(asked.get(), 1);
        });
    }
}
