//! What the fuzz targets have as their corpus goes through the same decoders here, with the compiler of every day.

#[path = "../../fuzz/src/decoders.rs"]
#[expect(unreachable_pub, reason = "there it is a part of a library")]
mod decoders;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use decoders::DECODERS;

/// What one file may have; all of the corpus is a few hundred of them.
const LARGEST: usize = 4096;
const MOST: usize = 500;

#[test]
fn nothing_in_the_corpus_breaks_its_decoder_and_each_decoder_understands_its_seeds() {
    let mut total = 0;
    for (name, decoder) in DECODERS {
        let files = files(&fuzz().join("corpus").join(name));
        total += files.len();
        for file in files {
            let bytes = fs::read(&file).expect("a file of the corpus");
            assert!(bytes.len() <= LARGEST, "{} has {} bytes", file.display(), bytes.len());
            // A panic is told with the line before it.
            println!("{}", file.display());
            let understood = decoder(&bytes);
            let renew = "has the format changed? `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`";
            assert!(understood || !is_seed(&file), "{} is not understood; {renew}", file.display());
        }
    }
    assert!(total <= MOST, "{total} files; `cargo fuzz cmin TARGET` tells which are enough");
}

#[test]
fn each_decoder_has_a_fuzz_target_and_seeds_and_there_is_nothing_else() {
    let decoders: BTreeSet<String> = DECODERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    };
    assert_eq!(names("corpus"), decoders);
    assert_eq!(names("fuzz_targets"), decoders);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("its manifest");
    for name in decoders {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
        assert!(files(&fuzz().join("corpus").join(&name)).iter().any(|file| is_seed(file)), "{name} has no seed");
    }
}

/// What the program `seeds` writes; the rest is what fuzzing has found.
fn is_seed(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-"))
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}
