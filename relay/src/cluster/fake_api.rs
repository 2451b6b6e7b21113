//! An API server that answers as a test says, without a network.

use super::access::Access;
use http::request::Parts;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

/// How many requests are answered.
const MOST_ANSWERS: usize = 1000;

/// An answer to one request.
#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    body: String,
}

/// The status of an answer that never comes.
const NEVER: u16 = 0;

impl Answer {
    /// None.
    pub(super) fn never() -> Self {
        Self {
            status: NEVER,
            body: String::new(),
        }
    }

    /// A watch that tells these events, and ends.
    pub(super) fn events(events: impl IntoIterator<Item = Value>) -> Self {
        let lines = events.into_iter().map(|event| format!("{event}\n"));
        Self {
            status: 200,
            body: lines.collect(),
        }
    }

    /// An object, or a list of them.
    pub(super) fn object(object: Value) -> Self {
        Self {
            status: 200,
            body: object.to_string(),
        }
    }

    /// A failure.
    pub(super) fn refusal(code: u16, status: Value) -> Self {
        Self {
            status: code,
            body: status.to_string(),
        }
    }
}

/// The server, and what it was asked.
pub(super) struct FakeApi {
    client: Client,
    asked: Arc<Mutex<Vec<String>>>,
}

/// One that gives these answers, one after the other.
pub(super) fn answering(answers: Vec<Answer>) -> FakeApi {
    let mut answers = VecDeque::from(answers);
    FakeApi::new(move |path| {
        let answer = answers.pop_front();
        answer.unwrap_or_else(|| panic!("no answer is left for {path}"))
    })
}

/// One that always says the same.
pub(super) fn always(answer: Answer) -> FakeApi {
    FakeApi::new(move |_| answer.clone())
}

impl FakeApi {
    /// One that answers each path, with its query, so.
    pub(super) fn new(mut answer: impl FnMut(&str) -> Answer + Send + 'static) -> Self {
        Self::of_requests(move |_, path, _| answer(path))
    }

    /// One that answers each request so: by its method, its path with the query, and its body.
    pub(super) fn of_requests(
        mut answer: impl FnMut(&Method, &str, &[u8]) -> Answer + Send + 'static,
    ) -> Self {
        Self::of_whole_requests(move |head, body| {
            let path = head.uri.path_and_query().unwrap().as_str();
            answer(&head.method, path, body)
        })
    }

    /// One that never answers.
    pub(super) fn silent() -> Self {
        let service = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        Self {
            client: Client::new(service, "default"),
            asked: Arc::default(),
        }
    }

    /// One that answers each request so: by its method, path and headers, and its body.
    pub(super) fn of_whole_requests(answer: impl FnMut(&Parts, &[u8]) -> Answer + Send + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let answer = Arc::new(Mutex::new(answer));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (answer, noted) = (Arc::clone(&answer), Arc::clone(&noted));
            async move {
                let (head, body) = request.into_parts();
                let path = head.uri.path_and_query().unwrap().to_string();
                let body = body.collect_bytes().await.unwrap();
                let Answer { status, body } = (*answer.lock())(&head, &body);
                let number = {
                    let mut asked = noted.lock();
                    asked.push(path);
                    asked.len()
                };
                if status == NEVER {
                    pending::<()>().await;
                }
                let response = Response::builder().status(status);
                let response = response.body(Body::from(body.into_bytes())).unwrap();
                // a clock of the test's stands still for who asks without a pause
                if number >= MOST_ANSWERS {
                    pending::<()>().await;
                }
                Ok::<_, Infallible>(response)
            }
        });
        Self {
            client: Client::new(service, "default"),
            asked,
        }
    }

    /// What a session needs to ask it.
    pub(super) fn access(&self) -> Access {
        Access {
            client: self.client.clone(),
            namespace: "default".to_owned(),
            cluster: "fake".to_owned(),
            server: "http://fake".to_owned(),
            is_impersonating: false,
        }
    }

    /// How many requests come from something that goes on for so long.
    pub(super) async fn asked_within<T>(&self, time: Duration, asking: impl Future<Output = T>) -> usize {
        let ended = tokio::time::timeout(time, asking).await;
        assert!(ended.is_err(), "it goes on");
        self.asked().len()
    }

    /// The paths of all requests, with their queries.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}
