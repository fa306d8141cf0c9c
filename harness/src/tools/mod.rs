//! Finds QEMU and the image builder on the host, or fetches them from Debian into a private root in the cache.
