// SPDX-License-Identifier: Apache-2.0
//! Progress for a service manager: as long as a pull goes on, the service that waits for it is not given up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bryo_engine::notify::Notifier;
use bryo_image::progress::{Event, Progress};

/// How long a pull may stand still: a registry that does not answer, and the pause before it is asked again.
const PATIENCE: Duration = Duration::from_secs(150);

/// How often the manager is told.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells a service manager, besides whoever else is told.
pub(super) struct Manager {
    notifier: Notifier,
    image: Mutex<(String, Option<Instant>)>,
    other: Box<dyn Progress>,
}

impl Manager {
    pub(super) fn new(notifier: Notifier, other: Box<dyn Progress>) -> Self {
        Self { notifier, image: Mutex::default(), other }
    }

    fn tell(&self, event: Event<'_>) {
        let mut image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Resolved { reference, .. } = event {
            *image = (format!("pulling {reference}"), None);
        }
        if image.1.is_none_or(|last| last.elapsed() >= PAUSE) {
            image.1 = Some(Instant::now());
            // The image is pulled all the same.
            let _ = self.notifier.busy(&image.0, PATIENCE);
        }
    }
}

impl Progress for Manager {
    fn event(&self, event: Event<'_>) {
        self.tell(event);
        self.other.event(event);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use bryo_image::Digest;
    use bryo_image::progress::Silent;

    use super::*;

    #[test]
    fn a_pull_asks_for_time_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = Manager::new(Notifier::new(path.as_os_str()).unwrap(), Box::new(Silent));
        let digest = Digest::sha256_of(b"");
        manager.event(Event::Resolved { reference: "x", manifest: &digest, layers: &[] });
        for done in 0..100 {
            manager.event(Event::LayerProgress { digest: &digest, done });
        }
        let mut buffer = [0; 100];
        let n = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"STATUS=pulling x\nEXTEND_TIMEOUT_USEC=150000000");
        assert!(socket.recv(&mut buffer).is_err(), "one message for all of them");
        manager.image.lock().unwrap().1 = Some(Instant::now() - PAUSE);
        manager.event(Event::LayerDone { digest: &digest });
        assert!(socket.recv(&mut buffer).is_ok());
    }
}
