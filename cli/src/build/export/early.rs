//! Layers that are on their way to registries while later ones are still being built.
//!
//! The result of a step that the target stands on is a part of the target's own chain, so its layers are in the image
//! whatever comes next. They are made into blobs, once for all outputs of one form, and sent. What fails here is tried
//! again, and told, when the image is pushed.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use builder_cache::{LayerId, Snapshot, Store};
use builder_frontend::plan::Plan;
use builder_image::archive::SaveOptions;
use builder_image::compress::Compression as Codec;
use builder_image::push::{Form, Pusher};
use builder_image::registry::Repository;
use builder_solver::{Graph, Observer, Op, VertexId};

use super::image::{BaseLayers, Recipe};
use super::push::{Pushing, destinations};
use super::save_options;
use crate::commands::build::BuildArgs;
use crate::error::CliResult;
use crate::outputs::OutputSpec;

/// Sends what is ready.
#[derive(Debug)]
pub(crate) struct Early {
    feed: Arc<Feed>,
    worker: JoinHandle<()>,
}

/// What is to be built and pushed.
pub(crate) struct Expected<'a> {
    pub(crate) args: &'a BuildArgs,
    pub(crate) outputs: &'a [OutputSpec],
    pub(crate) plans: Vec<&'a Plan>,
}

/// Results go in here; nothing ends it.
#[derive(Debug)]
struct Feed(Mutex<Sender<Option<(VertexId, Snapshot)>>>);

impl Observer<Snapshot> for Feed {
    fn ready(&self, vertex: VertexId, output: &Snapshot) {
        self.send(Some((vertex, output.clone())));
    }
}

impl Feed {
    fn send(&self, message: Option<(VertexId, Snapshot)>) {
        // When the build is over, nobody listens any more.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(message);
    }
}

impl Early {
    /// Gets ready; what is sent is what the observer is told of.
    pub(crate) fn start<'a>(
        store: &Store,
        pushing: &Pushing,
        graph: &Graph,
        expected: impl IntoIterator<Item = Expected<'a>>,
    ) -> CliResult<Option<Self>> {
        let mut images = Vec::new();
        for one in expected {
            for output in one.outputs {
                let OutputSpec::Image(output) = output else { continue };
                let to = pushing.repositories(&destinations(one.args, output)?);
                if to.is_empty() {
                    continue;
                }
                for plan in &one.plans {
                    let recipe = Recipe::new(&output.image, Codec::Gzip);
                    images.push(Coming {
                        steps: chain(graph, plan.target),
                        base: BaseLayers::of(store, plan)?,
                        clamp: recipe.clamp(plan),
                        recipe,
                        options: save_options(&output.image, Codec::Gzip),
                        to: to.clone(),
                        sent: HashSet::new(),
                    });
                }
            }
        }
        let (sender, received) = channel();
        let (store, pusher) = (store.clone(), pushing.pusher.clone());
        // Without a thread everything is sent at the end.
        let worker = thread::Builder::new()
            .name("push-early".to_owned())
            .spawn(move || work(&store, &pusher, &mut images, &received));
        let feed = Arc::new(Feed(Mutex::new(sender)));
        Ok(worker.ok().map(|worker| Self { feed, worker }))
    }

    /// Who is to be told of results.
    pub(crate) fn observer(&self) -> Arc<dyn Observer<Snapshot>> {
        Arc::clone(&self.feed) as Arc<dyn Observer<Snapshot>>
    }

    /// Waits until the blobs of all results are made, but not until they are sent.
    pub(crate) fn finish(self) {
        self.feed.send(None);
        // It has nothing to tell, not even that it panicked: whoever pushes finds out.
        let _ = self.worker.join();
    }
}

/// An image that will be pushed.
struct Coming {
    steps: HashMap<VertexId, Place>,
    base: BaseLayers,
    clamp: Option<i64>,
    recipe: Recipe,
    options: SaveOptions,
    to: Vec<Repository>,
    sent: HashSet<LayerId>,
}

/// Where the layers of a step are in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the bottom.
    Bottom,
    /// Somewhere above the base.
    Above,
}

/// The steps whose layers are layers of the target.
fn chain(graph: &Graph, target: VertexId) -> HashMap<VertexId, Place> {
    let mut steps = HashMap::new();
    let mut waiting = vec![(target, Place::Bottom)];
    while let Some((id, place)) = waiting.pop() {
        // A step that is in the image twice may be at the bottom once, which is what can be told of fewer layers.
        if steps.get(&id).is_some_and(|known| *known == place || *known == Place::Bottom) {
            continue;
        }
        steps.insert(id, place);
        let vertex = graph.vertex(id);
        let (below, beside) = match &vertex.op {
            Op::Source(_) => (None, None),
            Op::Exec(_) | Op::File(_) => (vertex.inputs.first(), None),
            Op::Merge => (vertex.inputs.first(), vertex.inputs.get(1)),
        };
        waiting.extend(below.map(|below| (*below, place)));
        waiting.extend(beside.map(|beside| (*beside, Place::Above)));
    }
    steps
}

fn work(store: &Store, pusher: &Pusher, images: &mut [Coming], results: &Receiver<Option<(VertexId, Snapshot)>>) {
    while let Ok(Some((vertex, snapshot))) = results.recv() {
        for image in images.iter_mut() {
            let Some(place) = image.steps.get(&vertex).copied() else { continue };
            for (number, layer) in snapshot.layers.iter().enumerate() {
                if image.sent.insert(*layer) {
                    let number = (place == Place::Bottom).then_some(number);
                    // Whoever pushes the image tries again, and tells what is wrong.
                    let _ = image.send(store, pusher, layer, number);
                }
            }
        }
    }
}

impl Coming {
    fn send(&self, store: &Store, pusher: &Pusher, layer: &LayerId, number: Option<usize>) -> CliResult<()> {
        let tar = self.recipe.tar(store, &self.base, self.clamp, layer, number)?;
        let form = tar.known.map_or(Form::Made(tar.write), Form::Known);
        Ok(pusher.layer(layer, form, &self.options, &self.to)?)
    }
}

#[cfg(test)]
mod tests {
    use builder_solver::{Exec, FileOp, Origin, Source, Vertex};

    use super::*;

    #[test]
    fn only_what_the_target_stands_on_is_in_it() {
        let mut graph = Graph::new();
        let mut add = |op: Op, inputs: &[VertexId]| {
            graph.add(Vertex { op, inputs: inputs.to_vec(), ignore_cache: false, origin: Origin::default() })
        };
        let exec = |text: &str| Op::Exec(Exec { args: vec![text.to_owned()], ..Exec::default() });
        let scratch = add(Op::Source(Source::Scratch), &[]);
        let tools = add(exec("tools"), &[scratch]);
        let base = add(exec("base"), &[scratch]);
        let copied = add(Op::File(FileOp { actions: Vec::new() }), &[base, tools]);
        let linked = add(Op::File(FileOp { actions: Vec::new() }), &[scratch, tools]);
        let target = add(Op::Merge, &[copied, linked]);
        let steps = chain(&graph, target);
        let at = |id| steps.get(&id).copied();
        assert_eq!(at(tools), None, "it is only copied from");
        for bottom in [target, copied, base, scratch] {
            assert_eq!(at(bottom), Some(Place::Bottom));
        }
        assert_eq!(at(linked), Some(Place::Above));
    }
}
