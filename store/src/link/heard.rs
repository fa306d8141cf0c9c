//! What was heard of the peer, and when it was asked: news that were overtaken are known by that.

use tokio::time::Instant;

use crate::core::PeerView;
use crate::zfs::Guid;

/// The last news of the peer.
#[derive(Debug, Clone)]
pub struct Heard {
    /// How it stands; `None` if it cannot be reached.
    pub view: Option<PeerView>,
    /// When it was asked. What it did later may not be in it.
    pub asked: Instant,
}

impl Heard {
    /// Nothing yet.
    pub fn nothing() -> Heard {
        Heard {
            view: None,
            asked: Instant::now(),
        }
    }

    /// Takes over what is newer. True if the peer stands otherwise than before.
    pub fn update(&mut self, news: Heard) -> bool {
        if news.asked < self.asked {
            return false;
        }
        let differs = news.view != self.view;
        *self = news;
        differs
    }

    /// The view, with a snapshot that came from the peer: it had it then, even if it was asked before and did not say so.
    pub fn with(&self, came: Option<(Guid, Instant)>) -> Option<PeerView> {
        let mut view = self.view.clone()?;
        if let Some((guid, at)) = came
            && self.asked <= at
            && !view.snapshots.contains(&guid)
        {
            view.snapshots.push(guid);
        }
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::Standing;

    fn heard(snapshot: u64, asked: Instant) -> Heard {
        let view = PeerView {
            standing: Standing::Writer,
            epoch: 1,
            snapshots: vec![Guid(snapshot)],
            held: Vec::new(),
            resume_token: None,
            tails: Vec::new(),
            alone: false,
        };
        Heard {
            view: Some(view),
            asked,
        }
    }

    #[test]
    fn news_that_were_overtaken_change_nothing() {
        let (early, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut last = heard(2, late);
        assert!(!last.update(heard(1, early)));
        assert_eq!(last.view.expect("a view").newest(), Some(Guid(2)));
    }

    #[test]
    fn what_came_from_the_peer_is_there_although_it_was_asked_before() {
        let now = Instant::now();
        let came = Some((Guid(2), now + Duration::from_secs(1)));
        assert_eq!(heard(1, now).with(came).expect("a view").newest(), Some(Guid(2)));
    }

    #[test]
    fn a_peer_that_was_asked_later_is_believed() {
        let now = Instant::now();
        let came = Some((Guid(2), now));
        let view = heard(1, now + Duration::from_secs(1)).with(came).expect("a view");
        assert_eq!(view.newest(), Some(Guid(1)));
    }
}
