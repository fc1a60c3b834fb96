//! The sources, read as text: comments and literals blanked, then counted and searched.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A source file without what only looks like code.
pub struct Source {
    /// Path from the repository, with `/`.
    pub path: String,
    pub raw: String,
    /// As long as `raw`, line by line; comments and the insides of literals are blanks.
    pub code: String,
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub body_lines: usize,
}

impl Source {
    pub fn new(path: &str, raw: &str) -> Self {
        Self {
            path: path.into(),
            raw: raw.into(),
            code: code_only(raw),
        }
    }

    /// Every Rust file under `folder` of the repository that somebody wrote.
    ///
    /// # Panics
    /// When a file cannot be read.
    pub fn all(repository: &Path, folder: &str) -> Vec<Self> {
        let mut paths = Vec::new();
        collect(&repository.join(folder), &mut paths);
        paths.sort();
        let read = |path: PathBuf| {
            let raw = fs::read_to_string(&path).expect("sources are UTF-8");
            let inside = path.strip_prefix(repository).expect("it was found there");
            Self::new(&inside.to_string_lossy(), &raw)
        };
        paths.into_iter().map(read).collect()
    }

    /// Whether the file is the test module of the file beside it.
    pub fn is_test_module(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    /// Lines outside of test modules; a test module's own file has none.
    pub fn lines_without_tests(&self) -> usize {
        if self.is_test_module() {
            return 0;
        }
        let all = self.raw.lines().count();
        let tests = test_modules(&self.code);
        let inside = |range: &Range<usize>| self.raw[range.clone()].lines().count();
        all - tests.iter().map(inside).sum::<usize>()
    }

    /// Functions that have a body, with the lines between its braces.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (start, word) in words(&self.code) {
            if word != "fn" {
                continue;
            }
            let rest = &self.code[start + 2..];
            let name: String = rest
                .trim_start()
                .chars()
                .take_while(|c| is_name(*c))
                .collect();
            let body = rest
                .find(['{', ';'])
                .filter(|at| rest[*at..].starts_with('{'));
            if let (false, Some(at)) = (name.is_empty(), body) {
                let open = start + 2 + at;
                let body = &self.code[open..closing(&self.code, open)];
                let body_lines = body.lines().count().saturating_sub(2);
                found.push(Function { name, body_lines });
            }
        }
        found
    }

    /// Whether a word stands in the code.
    pub fn names(&self, wanted: &str) -> bool {
        words(&self.code).any(|(_, word)| word == wanted)
    }

    /// Paths that start at the crate's root, without `crate::`; groups one by one. A path that
    /// climbs to the root by `super::` counts as well.
    pub fn paths_from_root(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (start, word) in words(&self.code) {
            let rest = &self.code[start + word.len()..];
            if word == "crate" && rest.starts_with("::") {
                found.extend(leaves(&rest[2..]));
            } else if word == "crate" && rest.trim_start().starts_with("as ") {
                found.push(String::from("crate as"));
            } else if word == "super" && !self.code[..start].ends_with("super::") {
                let (mut climbs, mut rest) = (1, rest);
                while let Some(after) = rest.strip_prefix("::super") {
                    climbs += 1;
                    rest = after;
                }
                if climbs >= self.depth_at(start) {
                    found.extend(leaves(rest.trim_start_matches("::")));
                }
            }
        }
        found
    }

    /// How many `super` lead from here to the crate's root.
    fn depth_at(&self, position: usize) -> usize {
        let inside = self
            .path
            .split_once("src/")
            .map_or("", |(_, inside)| inside);
        let names = inside.trim_end_matches(".rs").split('/');
        let files = names
            .filter(|name| !["mod", "lib", "main"].contains(name))
            .count();
        let before = words(&self.code).take_while(|(start, _)| *start < position);
        let modules = before.filter(|(start, word)| {
            let rest = &self.code[start + word.len()..];
            let open = rest
                .find(['{', ';'])
                .filter(|at| rest[*at..].starts_with('{'));
            let open = open.map(|at| start + word.len() + at);
            *word == "mod" && open.is_some_and(|open| closing(&self.code, open) > position)
        });
        files + modules.count()
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // What a generator wrote is nobody's style.
            if !path.ends_with("generated") {
                collect(&path, paths);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            paths.push(path);
        }
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The words of `code` with their places.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.split(|letter| !is_name(letter))
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
        .filter(|(_, word)| !word.is_empty())
}

/// The place after the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in code[open..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Where `#[cfg(test)] mod …` stand.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(at, _)| at);
    let modules = starts.filter_map(|start| {
        let rest = &code[start..];
        let open = rest
            .find(['{', ';'])
            .filter(|at| rest[*at..].starts_with('{'))?;
        let head = &rest[..open];
        words(head)
            .any(|(_, word)| word == "mod")
            .then(|| start..closing(code, start + open))
    });
    modules.collect()
}

/// `a::{b, c::{d}}` as `a::b`, `a::c::d`; a path without a group as itself.
fn leaves(text: &str) -> Vec<String> {
    let plain = text.find(|letter| !is_name(letter) && letter != ':');
    let (head, rest) = text.split_at(plain.unwrap_or(text.len()));
    if !(head.ends_with("::") || head.is_empty()) || !rest.starts_with('{') {
        return vec![head.trim_end_matches("::").to_owned()];
    }
    let inside = &rest[1..closing(rest, 0) - 1];
    let (mut found, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    let ends = inside.char_indices().chain([(inside.len(), ',')]);
    for (at, letter) in ends {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inside[start..at].trim();
                if !part.is_empty() {
                    found.extend(leaves(part).iter().map(|leaf| format!("{head}{leaf}")));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// `source` with blanks for comments and for the insides of literals.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        // In the middle of a word nothing begins: `for"` is no literal's prefix.
        let inside_word = code.chars().next_back().is_some_and(is_name);
        let Some(length) = literal(rest).filter(|_| !inside_word) else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let blank = |letter: char| {
            if letter == '\n' {
                "\n".into()
            } else {
                " ".repeat(letter.len_utf8())
            }
        };
        code.extend(rest[..length].chars().map(blank));
        rest = &rest[length..];
    }
    code
}

/// The length of the comment or literal that `text` starts with.
fn literal(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let prefix = text.find(|letter| !"bcr".contains(letter)).unwrap_or(0);
    let hashes = text[prefix..]
        .chars()
        .take_while(|letter| *letter == '#')
        .count();
    if text[..prefix].contains('r') && text[prefix + hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + hashes + 1;
        let found = text[start..].find(&end);
        return Some(found.map_or(text.len(), |at| start + at + end.len()));
    }
    match text[prefix..].chars().next() {
        Some('"') => Some(prefix + 1 + quoted(&text[prefix + 1..], '"')),
        Some('\'') => {
            let inside = &text[prefix + 1..];
            let mut letters = inside.chars();
            let first = letters.next()?;
            let is_letter = first == '\\' || letters.next() == Some('\'');
            is_letter.then(|| prefix + 1 + quoted(inside, '\''))
        }
        _ => None,
    }
}

/// The length up to and with the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if letter == quote && !escaped {
            return at + 1;
        }
        escaped = letter == '\\' && !escaped;
    }
    text.len()
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}
