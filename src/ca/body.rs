//! What a request sends. What may cost or change something goes out only with leave, which is asked when there is a
//! connection to send it on: its turn, a nonce and a connection may each have been waited for (P38).
//!
//! A request that is refused leave here ends with its connection, before the CA has seen all of it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use thiserror::Error;

use super::Leave;

/// The body of a request.
pub(super) struct Body {
    bytes: Full<Bytes>,
    /// Whether it may be sent; `None` for one that costs and changes nothing.
    leave: Option<Leave>,
}

/// There is no leave to send it any more.
#[derive(Clone, Copy, Debug, Error)]
#[error("there is no leave to send it any more")]
pub(super) struct NoLeave;

impl Body {
    /// One that may be sent in any case.
    pub(super) fn free(bytes: Bytes) -> Self {
        let bytes = Full::from(bytes);
        Self { bytes, leave: None }
    }

    /// One that may be sent as long as `leave` says so.
    pub(super) fn fenced(bytes: Bytes, leave: &Leave) -> Self {
        Self {
            leave: Some(leave.clone()),
            ..Self::free(bytes)
        }
    }

    /// Asks whether it may be sent now.
    pub(super) fn check(&self) -> Result<(), NoLeave> {
        match &self.leave {
            Some(leave) if !leave() => Err(NoLeave),
            Some(_) | None => Ok(()),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = NoLeave;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NoLeave>>> {
        // What has been handed out is sent, and only its end is asked for.
        if !self.is_end_stream()
            && let Err(error) = self.check()
        {
            return Poll::Ready(Some(Err(error)));
        }
        Pin::new(&mut self.bytes)
            .poll_frame(context)
            .map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

/// Whether a request has ended for want of leave.
pub(super) fn lacks_leave(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<NoLeave>())
}
