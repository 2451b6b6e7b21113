//! The HTTP service: HTTP/1.1 with keep-alive.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | `hello from NAME` |
//! | `GET /bytes/N` | N bytes |
//! | `POST /` | `N bytes`, the length of what was sent |
//!
//! HEAD works wherever GET does. Anything else is 404 or 405.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type Answer = Response<Either<Full<Bytes>, Counted>>;

/// Serves the requests of one connection.
pub(super) async fn serve(stream: TcpStream, greeting: Bytes) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| answer(request, greeting.clone()));
    http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

async fn answer(request: Request<Incoming>, greeting: Bytes) -> hyper::Result<Answer> {
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    let wanted = request.uri().path().strip_prefix("/bytes/").map(str::parse);
    match (request.uri().path(), wanted) {
        ("/", _) if readable => Ok(text(StatusCode::OK, greeting)),
        ("/", _) if request.method() == Method::POST => {
            let received = count(request.into_body()).await?;
            Ok(text(StatusCode::OK, format!("{received} bytes\n")))
        }
        ("/", _) => Ok(not_allowed("GET, HEAD, POST")),
        (_, Some(Ok(length))) if readable => Ok(bytes(length)),
        (_, Some(Ok(_))) => Ok(not_allowed("GET, HEAD")),
        (_, Some(Err(_))) => Ok(text(StatusCode::BAD_REQUEST, "not a number of bytes\n")),
        _ => Ok(text(StatusCode::NOT_FOUND, "not found\n")),
    }
}

async fn count(mut body: Incoming) -> hyper::Result<u64> {
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        total += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(total)
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(words.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn bytes(length: u64) -> Answer {
    let mut answer = Response::new(Either::Right(Counted { left: length }));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer
}

/// A body of a given length that is made while it is sent.
struct Counted {
    left: u64,
}

/// The block that bodies are made of.
static BLOCK: [u8; 128 * 1024] = [b'x'; 128 * 1024];

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(BLOCK.len() as u64);
        self.left -= length;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &BLOCK[..length as usize],
        )))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
