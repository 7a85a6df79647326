//! Looks at the files of models, and loads what changed.

use std::collections::HashMap;
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
    let mut looks: HashMap<(String, String), Looks> = HashMap::new();
    loop {
        tokio::time::sleep(every).await;
        for slot in registry.slots().iter() {
            // A version that was unloaded stays so.
            let Some(loaded) = &slot.loaded else { continue };
            let seen = looks.entry((slot.source.name.clone(), slot.source.version.clone())).or_default();
            let now = registry.stamp(&slot.source).await;
            let settled = now.is_some() && now == seen.last;
            seen.last = now;
            if settled && now != loaded.stamp && now != seen.tried {
                seen.tried = now;
                registry.renew(&slot.source).await;
            }
        }
    }
}
