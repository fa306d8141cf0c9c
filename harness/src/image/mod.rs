//! Builds and caches the machine images that `vm-images/` describes.
