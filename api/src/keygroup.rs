//! Key encoding, key hash and key group: our own documented, versioned functions (placeholder until the exchange lands).
