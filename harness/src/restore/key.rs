//! What a restore point is made of, and the key that follows from it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// How machines are set up and saved: raise it when this program does it differently, so that points made before are
/// not used any more.
pub const PROTOCOL: u32 = 5;

/// Everything that goes into a restore point, by name: a version, a hash, a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingredients(BTreeMap<String, String>);

impl Ingredients {
    /// The ingredients that every point of a layer has.
    pub fn of_layer(layer: &str) -> Ingredients {
        let mut ingredients = Ingredients(BTreeMap::new());
        ingredients.add("layer", layer);
        ingredients.add("protocol", PROTOCOL);
        ingredients.add("harness", env!("CARGO_PKG_VERSION"));
        ingredients
    }

    /// The ingredients of a point that was made before, as its manifest has them.
    pub fn of_manifest(map: BTreeMap<String, String>) -> Ingredients {
        Ingredients(map)
    }

    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.insert(name.into(), value.to_string());
    }

    /// Adds the hash of something long.
    pub fn add_hash(&mut self, name: impl Into<String>, value: impl AsRef<[u8]>) {
        self.add(name, hex::encode(Sha256::digest(value)));
    }

    /// The key: sixteen hex digits over all names and values.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            // Lengths keep neighbours apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())[..16].to_owned()
    }

    /// Names and values.
    pub fn map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Ingredients {
        let mut some = Ingredients::of_layer("configured");
        some.add("qemu", "10.0.13");
        some
    }

    #[test]
    fn equal_ingredients_have_one_key() {
        assert_eq!(some().key(), some().key());
    }

    #[test]
    fn another_value_gives_another_key() {
        let mut other = some();
        other.add("qemu", "10.0.14");
        assert_ne!(some().key(), other.key());
    }

    #[test]
    fn another_ingredient_gives_another_key() {
        let mut other = some();
        other.add("memory.mail1", 1024);
        assert_ne!(some().key(), other.key());
    }

    #[test]
    fn text_cannot_move_from_a_value_to_its_neighbour() {
        let (mut left, mut right) = (some(), some());
        left.add("a", "bc");
        right.add("ab", "c");
        assert_ne!(left.key(), right.key());
    }
}
