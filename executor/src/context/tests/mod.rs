mod digests;
mod selecting;
mod stale;

use builder_solver::{ContentDigest, Selection};

use super::LocalContext;
use crate::test_kit::selection;

fn everything() -> Selection {
    selection(&["."], &[], false)
}

fn digest_of(context: &LocalContext, sources: &[&str]) -> ContentDigest {
    context.digest(&[selection(sources, &[], false)]).unwrap().digest
}
