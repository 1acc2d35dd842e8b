//! How far blobs are, for `pull` and `push`: bars on a terminal, Docker's lines for any other reader.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use builder_cache::{BlobDigest, BlobInfo};
use builder_image::transfer::{State, Watch};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pull::Voice;

/// Shows how far blobs are.
#[derive(Debug)]
pub(crate) struct Transfers {
    voice: Voice,
    words: Words,
    /// The bars, when somebody looks.
    bars: Option<MultiProgress>,
    blobs: Mutex<HashMap<BlobDigest, Blob>>,
}

/// What a state is called, which depends on where blobs go.
#[derive(Debug, Clone, Copy)]
struct Words {
    waiting: &'static str,
    done: &'static str,
    exists: &'static str,
}

#[derive(Debug, Default)]
struct Blob {
    bar: Option<ProgressBar>,
    told: &'static str,
}

impl Transfers {
    /// Layers that come.
    pub(crate) fn pulling(voice: Voice) -> Arc<Self> {
        Self::new(voice, Words { waiting: "Waiting", done: "Pull complete", exists: "Already exists" })
    }

    /// Layers that go; nothing is said when it is `quiet`.
    pub(crate) fn pushing(quiet: bool) -> Arc<Self> {
        let voice = if quiet { Voice::Silent } else { Voice::Result };
        Self::new(voice, Words { waiting: "Preparing", done: "Pushed", exists: "Layer already exists" })
    }

    fn new(voice: Voice, words: Words) -> Arc<Self> {
        let bars = target(voice).map(MultiProgress::with_draw_target);
        Arc::new(Self { voice, words, bars, blobs: Mutex::default() })
    }

    /// Ends the bars; what they say last stays.
    pub(crate) fn finish(&self) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for bar in blobs.drain().filter_map(|(_, blob)| blob.bar) {
            bar.abandon();
        }
        if let Some(bars) = &self.bars {
            // The next image gets bars of its own below.
            bars.set_draw_target(ProgressDrawTarget::hidden());
            bars.set_draw_target(target(self.voice).unwrap_or_else(ProgressDrawTarget::hidden));
        }
    }

    fn show(&self, digest: &BlobDigest, text: String, progress: Option<(u64, u64)>) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = blobs.entry(*digest).or_default();
        match &self.bars {
            Some(bars) => {
                let bar = blob.bar.get_or_insert_with(|| {
                    let bar = bars.add(ProgressBar::new(0));
                    bar.set_style(bare());
                    bar.set_prefix(digest.short());
                    bar
                });
                match progress {
                    Some((done, total)) => {
                        bar.set_style(measured());
                        bar.set_length(total);
                        bar.set_position(done);
                    }
                    None => bar.set_style(bare()),
                }
                bar.set_message(text);
                bar.tick();
            }
            None if progress.is_none() => {
                // Who does not read on wants the image all the same.
                let _ = self.voice.say(&format!("{}: {text}\n", digest.short()));
            }
            None => {}
        }
    }

    /// Whether this is news.
    fn is_new(&self, digest: &BlobDigest, told: &'static str) -> bool {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = blobs.entry(*digest).or_default();
        std::mem::replace(&mut blob.told, told) != told
    }
}

/// Where bars are drawn: where somebody looks.
fn target(voice: Voice) -> Option<ProgressDrawTarget> {
    match voice {
        Voice::Result => std::io::stdout().is_terminal().then(|| ProgressDrawTarget::stdout_with_hz(10)),
        Voice::Notice => std::io::stderr().is_terminal().then(|| ProgressDrawTarget::stderr_with_hz(10)),
        Voice::Silent => None,
    }
}

fn bare() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}: {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn measured() -> ProgressStyle {
    let template = "{prefix}: {msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

impl Watch for Transfers {
    fn begin(&self, blobs: &[(BlobInfo, String)]) {
        if self.voice == Voice::Silent {
            return;
        }
        for (blob, _) in blobs {
            if self.is_new(&blob.digest, "begun") {
                self.show(&blob.digest, "Pulling fs layer".to_owned(), None);
            }
        }
    }

    fn note(&self, blob: &BlobDigest, state: State) {
        if self.voice == Voice::Silent {
            return;
        }
        let (told, text, progress) = match state {
            State::Waiting => ("waiting", self.words.waiting.to_owned(), None),
            State::Downloading { done, total } => ("", "Downloading".to_owned(), Some((done, total))),
            State::Extracting { done, total } => ("", "Extracting".to_owned(), Some((done, total))),
            State::Uploading { done, total } => ("", "Pushing".to_owned(), Some((done, total))),
            State::Done => ("done", self.words.done.to_owned(), None),
            State::Exists => ("exists", self.words.exists.to_owned(), None),
            State::Mounted { from } => ("mounted", format!("Mounted from {from}"), None),
            State::Failed => ("failed", "Failed".to_owned(), None),
        };
        if told.is_empty() || self.is_new(blob, told) {
            self.show(blob, text, progress);
        }
    }
}
