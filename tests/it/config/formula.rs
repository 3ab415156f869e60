//! The formula, from the text of a configuration to the permit limit.
//!
//! The expected values were worked out with another program in exact fractions: the target rounded
//! down to bytes, the cost rounded up, the product rounded down once.

use super::{file, load_file, with_sets};

/// Target, per task, safety factor, permits.
const TRIPLES: [(&str, &str, &str, u32); 47] = [
    ("512Mi", "1M", "0.9", 483),
    ("1G", "100M", "1", 10),
    ("100Mi", "1Mi", "0.29", 29),
    ("512Mi", "16Mi", "0.8", 25),
    ("1Gi", "64Mi", "0.75", 12),
    ("2Gi", "256Mi", "0.9", 7),
    ("1.5Gi", "100Mi", "0.8", 12),
    ("0.5Gi", "1Mi", "0.57", 291),
    ("128974848", "1Mi", "1", 123),
    ("104857600", "1048576", "0.58", 58),
    ("1e9", "1e6", "0.33", 330),
    ("12e6", "3M", "0.7", 2),
    ("12E6", "4e+6", "0.99", 2),
    ("100M", "1Mi", "0.9", 85),
    ("100Mi", "1M", "0.9", 94),
    ("64Ki", "1Ki", "0.07", 4),
    ("64k", "1Ki", "0.5", 31),
    ("10k", "1k", "0.1", 1),
    ("10k", "1k", "0.7", 7),
    ("1000", "10", "0.29", 29),
    ("1000", "7", "0.3", 42),
    ("4096", "4096", "1", 1),
    ("4097", "4096", "1", 1),
    ("3", "1", "0.34", 1),
    ("1Ti", "1Gi", "0.001", 1),
    ("1T", "1Gi", "0.999", 930),
    ("4194303", "1", "1", 4_194_303),
    ("4194304", "1", "0.999999", 4_194_299),
    ("9Gi", "2Gi", "1", 4),
    ("9G", "2Gi", "1.0", 4),
    ("1.1Gi", "1.1Mi", "0.7", 716),
    ("1.1G", "1.1M", "0.1", 100),
    ("2.5G", "0.1G", "0.56", 14),
    ("333Mi", "11Mi", ".5", 15),
    ("777Mi", "13.5Mi", "0.85", 48),
    ("1Gi", "1.7M", "0.123456789", 77),
    ("1048577", "1Ki", "0.999", 1022),
    ("999999999", "1001", "0.57", 569_430),
    ("128974848000m", "1Mi", "0.6", 73),
    ("1500.5", "1000m", "0.9", 1350),
    ("7Gi", "300M", "0.15", 3),
    ("2Gi", "3Mi", "0.07", 47),
    ("600Mi", "6Mi", "0.57", 57),
    ("600M", "6M", "0.41", 41),
    ("100", "1500m", "1", 50),
    ("10.9", "2.1", "1", 3),
    ("0.1Ki", "1.01", "1", 51),
];

#[test]
fn the_permit_limit_is_the_formula_for_every_triple() {
    for (target, per_task, factor, permits) in TRIPLES {
        let sets = with_sets(&[
            &format!("memory.target_memory={target}"),
            &format!("memory.memory_per_task={per_task}"),
            &format!("memory.safety_factor={factor}"),
        ]);
        let loaded = sets.unwrap_or_else(|problems| panic!("{target} {per_task}: {problems}"));
        let limit = loaded.config.budget.permit_limit();
        assert_eq!(limit, permits, "{target} ÷ {per_task} × {factor}");
    }
}

/// The same through files, where a factor, and a quantity without a suffix, is a number and not a
/// text.
#[test]
fn numbers_in_files_are_as_exact_as_texts() {
    for (target, per_task, factor, permits) in TRIPLES {
        let number = |text: &str| match text.parse::<u64>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("\"{text}\""),
        };
        let (target, per_task) = (number(target), number(per_task));
        let factor = match factor.strip_prefix('.') {
            Some(fraction) => format!("0.{fraction}"),
            None => factor.to_owned(),
        };
        let toml = format!(
            "[memory]\ntarget_memory = {target}\nmemory_per_task = {per_task}\n\
             safety_factor = {factor}\n"
        );
        let yaml = format!(
            "memory:\n  target_memory: {target}\n  memory_per_task: {per_task}\n  \
             safety_factor: {factor}\n"
        );
        let json = format!(
            "{{\"memory\": {{\"target_memory\": {target}, \"memory_per_task\": {per_task}, \
             \"safety_factor\": {factor}}}}}"
        );
        for (name, text) in [("a.toml", toml), ("a.yaml", yaml), ("a.json", json)] {
            let (_dir, path) = file(name, &text);
            let loaded = load_file(&path).unwrap_or_else(|problems| panic!("{text}: {problems}"));
            assert_eq!(loaded.config.budget.permit_limit(), permits, "{text}");
        }
    }
}
