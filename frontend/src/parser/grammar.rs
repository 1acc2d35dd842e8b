//! The generated pest parser. Nothing outside the parser sees its rules.

use pest::Parser as _;
use pest::error::Error;
use pest::iterators::Pairs;
use pest_derive::Parser;

#[derive(Parser)]
#[grammar = "dockerfile.pest"]
struct Grammar;

pub(super) type Pair<'t> = pest::iterators::Pair<'t, Rule>;

/// Runs `rule` at the start of `text`; it need not reach the end unless the rule says so.
pub(super) fn parse(rule: Rule, text: &str) -> Result<Pairs<'_, Rule>, Box<Error<Rule>>> {
    Grammar::parse(rule, text).map_err(Box::new)
}
