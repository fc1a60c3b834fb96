//! The table holds together.

use super::*;
use std::collections::HashSet;

#[test]
fn every_default_is_a_value_of_its_key() {
    for key in keys() {
        let shown = key.default_value().to_toml();
        assert!(!shown.is_empty(), "{}", key.name);
    }
}

#[test]
fn names_and_variables_are_used_once() {
    let mut names = HashSet::new();
    for key in keys() {
        assert!(names.insert(key.name), "{}", key.name);
        for variable in key.variables {
            assert!(names.insert(variable), "{variable}");
        }
    }
}

#[test]
fn no_key_is_a_table_of_another() {
    for key in keys() {
        let inside = format!("{}.", key.name);
        assert!(!keys().any(|other| other.name.starts_with(&inside)));
    }
}

#[test]
fn every_sentence_is_one() {
    for key in keys() {
        assert!(key.sentence.ends_with('.'), "{}", key.name);
    }
}
