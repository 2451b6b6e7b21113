//! Caches answers for their TTL, and joins concurrent equal questions.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// Maximum number of answers; when it is reached, expired answers, and if need be all, are dropped.
const CAPACITY: usize = 4096;

/// An answer with its expiry, or the pending question for it.
type Entry<A> = Rc<OnceCell<(A, Instant)>>;

/// Answers `A` to questions `Q`.
pub(crate) struct Cache<Q, A>(parking_lot::Mutex<HashMap<Q, Entry<A>>>);

impl<Q, A> Default for Cache<Q, A> {
    fn default() -> Self {
        Self(parking_lot::Mutex::default())
    }
}

impl<Q: Eq + Hash + Clone, A: Clone> Cache<Q, A> {
    /// The cached answer, or the one that `ask` returns with its TTL. Concurrent callers with the same question wait
    /// for the same answer; if the first one is cancelled, another continues with the question.
    pub(crate) async fn get_or_ask<F: Future<Output = (A, Duration)>>(
        &self,
        question: Q,
        ask: impl FnOnce() -> F,
    ) -> A {
        let entry = self.entry(&question);
        let (answer, expiry) = entry
            .get_or_init(|| async {
                let (answer, ttl) = ask().await;
                (answer, Instant::now() + ttl)
            })
            .await;
        if *expiry <= Instant::now() {
            self.forget(&question, &entry);
        }
        answer.clone()
    }

    /// Drops all answers, since the cluster's state may have changed.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Drops an entry that has expired.
    fn forget(&self, question: &Q, ended: &Entry<A>) {
        let mut entries = self.0.lock();
        if entries
            .get(question)
            .is_some_and(|entry| Rc::ptr_eq(entry, ended))
        {
            entries.remove(question);
        }
    }

    fn entry(&self, question: &Q) -> Entry<A> {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(question).filter(|entry| is_fresh(entry)) {
            return Rc::clone(entry);
        }
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| is_fresh(entry));
        }
        if entries.len() >= CAPACITY {
            entries.clear();
        }
        let entry = Entry::default();
        entries.insert(question.clone(), Rc::clone(&entry));
        entry
    }
}

/// Whether an entry is pending or not expired.
fn is_fresh<A>(entry: &Entry<A>) -> bool {
    entry.get().is_none_or(|(_, expiry)| *expiry > Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn answer_is_cached_for_its_ttl_and_no_longer() {
        block_on(async {
            let cache = Cache::default();
            let asked = Cell::new(0);
            let ask = |ttl| {
                let asked = &asked;
                move || async move {
                    asked.set(asked.get() + 1);
                    ("no", ttl)
                }
            };
            cache.get_or_ask("web.test", ask(Duration::from_secs(60))).await;
            cache.get_or_ask("web.test", ask(Duration::from_secs(60))).await;
            assert_eq!(asked.get(), 1);
            cache.get_or_ask("other.test", ask(Duration::ZERO)).await;
            cache.get_or_ask("other.test", ask(Duration::ZERO)).await;
            assert_eq!(asked.get(), 3);
            assert_eq!(cache.0.lock().len(), 1);
        });
    }

    #[test]
    fn concurrent_equal_questions_are_asked_once() {
        block_on(async {
            let cache = Cache::default();
            let asked = Cell::new(0);
            let ask = || async {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                ("no", Duration::from_secs(1))
            };
            let one = cache.get_or_ask("web.test", ask);
            let other = cache.get_or_ask("web.test", ask);
            let (one, other) = tokio::join!(one, other);
            assert_eq!(one, other);
            assert_eq!(asked.get(), 1);
        });
    }
}
