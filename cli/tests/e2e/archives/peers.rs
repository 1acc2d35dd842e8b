//! Other writers and readers of images.
