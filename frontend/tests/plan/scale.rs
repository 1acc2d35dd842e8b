//! Big files. Times are for the benches; these only would not come back if something were quadratic or worse.

use std::fmt::Write as _;

use crate::support::{Store, options, plan, try_plan};

#[test]
fn long_stages_and_long_lines_of_stages() {
    let mut text = "FROM busybox AS s0\n".to_owned();
    for number in 0..2_000 {
        let _ = writeln!(text, "ENV V{}=x$V{}\nRUN step {number}\nLABEL l{number}=x", number % 7, (number + 1) % 8);
    }
    let planned = plan(&text);
    assert_eq!(planned.history.len(), 6_001);
    assert_eq!(planned.graph.len(), 2_001);

    let mut text = "FROM busybox AS s0\n".to_owned();
    for number in 1..1_000 {
        let _ = writeln!(text, "FROM s{} AS s{number}\nRUN {number}\nCOPY --from=s{} / /", number - 1, number / 2);
    }
    assert_eq!(plan(&text).history.len(), 1 + 2 * 999);
}

#[test]
fn variables_that_double_themselves_are_stopped() {
    let text = format!("FROM busybox\nENV A=0123456789\n{}", "ENV A=$A$A\n".repeat(64));
    let error = try_plan(&text, &options(), &Store::default()).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}
