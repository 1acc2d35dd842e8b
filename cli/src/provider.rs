//! What brings the files of layers that are elsewhere: one for the process, for whichever store it opens.

use std::sync::{Arc, OnceLock};

use builder_cache::{Provider, Store};
use builder_image::pull::{LayerProvider, LayoutOrigin, Origin, RegistryOrigin};
use builder_image::registry::Registry;
use builder_image::remote_cache::{Backend, CacheOrigin};
use builder_image::transfer::Watch;

use crate::commands::Global;
use crate::error::CliResult;
use crate::{registry, signals};

static REGISTRY: OnceLock<Registry> = OnceLock::new();
static PROVIDER: OnceLock<Arc<LayerProvider>> = OnceLock::new();
static CACHES: OnceLock<Arc<CacheOrigin>> = OnceLock::new();

/// The client of registries that all of this process uses.
pub(crate) fn registry(global: &Global) -> CliResult<&'static Registry> {
    if let Some(registry) = REGISTRY.get() {
        return Ok(registry);
    }
    let registry = registry::client(global, signals::stop())?;
    Ok(REGISTRY.get_or_init(|| registry))
}

/// Makes this the client, unless one is in use.
pub(crate) fn use_registry(registry: Registry) {
    let _ = REGISTRY.set(registry);
}

/// Lets a store fetch the layers that it lacks, from registries and layouts. Nothing is read or connected before one is
/// needed.
pub(crate) fn install(global: &Global, store: &Store) {
    store.set_provider(Arc::clone(provider(global)) as Arc<dyn Provider>);
}

/// What fetches layers.
pub(crate) fn provider(global: &Global) -> &'static Arc<LayerProvider> {
    PROVIDER.get_or_init(|| {
        let provider = LayerProvider::new(signals::stop());
        let global = global.clone();
        let connect = move || {
            let registry = self::registry(&global).map_err(|error| error.text())?;
            Ok(registry.clone())
        };
        provider.add_origin(Arc::new(RegistryOrigin::new(Box::new(connect))));
        provider.add_origin(Arc::new(LayoutOrigin));
        provider.add_origin(Arc::clone(caches()) as Arc<dyn Origin>);
        Arc::new(provider)
    })
}

/// Makes a shared cache known, with what the command line says of access, before layers of it are needed.
pub(crate) fn know_cache(backend: Arc<dyn Backend>) {
    caches().add(backend);
}

fn caches() -> &'static Arc<CacheOrigin> {
    CACHES.get_or_init(|| Arc::new(CacheOrigin::new(signals::stop())))
}

/// Who hears from now on how far layers are.
pub(crate) fn watch(global: &Global, watch: Arc<dyn Watch>) {
    provider(global).set_watch(watch);
}
