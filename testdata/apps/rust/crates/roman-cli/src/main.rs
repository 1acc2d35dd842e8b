//! Turns numbers into Roman ones and back.

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

/// Turns numbers into Roman ones and back
#[derive(Parser)]
struct Args {
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// Numbers, in either form
    #[arg(required = true)]
    numbers: Vec<String>,
}

#[derive(Serialize)]
struct Pair {
    arabic: u16,
    roman: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let pairs = args.numbers.iter().map(|text| pair(text)).collect::<Result<Vec<_>>>()?;
    if args.json {
        println!("{}", serde_json::to_string(&pairs)?);
    } else {
        for Pair { arabic, roman } in pairs {
            println!("{arabic} is {roman}");
        }
    }
    Ok(())
}

fn pair(text: &str) -> Result<Pair> {
    let arabic = match text.parse() {
        Ok(number) => number,
        Err(_) => roman_numbers::read(text).with_context(|| format!("`{text}` is no number"))?,
    };
    let roman = roman_numbers::write(arabic).with_context(|| format!("the Romans had no way to write {arabic}"))?;
    Ok(Pair { arabic, roman })
}
