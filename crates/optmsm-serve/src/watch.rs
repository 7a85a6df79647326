//! Looks at the files of models, and loads what changed.

use std::sync::Arc;
use std::time::Duration;

use crate::model::Stamp;
use crate::registry::Registry;

/// Looks each `every`, for ever. A path is loaded once it is the same at two looks in a row, so that nothing is read which is being
/// written; a state that was refused is not tried again.
pub(crate) async fn watch(registry: Arc<Registry>, every: Duration) {
    /// The states of a path.
    #[derive(Default)]
    struct Looks {
        last: Option<Stamp>,
        tried: Option<Stamp>,
    }
    // Versions are those of the command line; their models are not kept from one look to the next.
    let sources: Vec<_> = registry.slots().iter().map(|slot| slot.source.clone()).collect();
    let mut looks: Vec<Looks> = sources.iter().map(|_| Looks::default()).collect();
    loop {
        tokio::time::sleep(every).await;
        for (source, seen) in sources.iter().zip(&mut looks) {
            // A version that was unloaded stays so.
            let Some(taken) = registry.taken(source) else { continue };
            let now = registry.stamp(source).await;
            let settled = now == seen.last;
            seen.last = now;
            let Some(state) = now.filter(|_| settled && now != taken && now != seen.tried) else { continue };
            seen.tried = now;
            registry.renew(source, state).await;
        }
    }
}
