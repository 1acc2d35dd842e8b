//! `RUN --mount`: any value gives a mount or an error at its place; fields that were quoted come back as they were; a
//! mount without variables that was accepted when it was parsed also resolves.

#![no_main]

use builder_frontend::ast::{Command, Mount, MountType, Word};
use builder_frontend::expand::{Expander, NoVariables};
use builder_frontend::parser::{ParseError, parse_instruction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let instruction = format!("RUN --mount={text} true");
    match parse_instruction(&instruction) {
        Ok(parsed) => {
            let Command::Run(run) = &parsed.command else { panic!("{instruction:?} is a RUN") };
            run.mounts.iter().for_each(|mount| check(&instruction, mount));
        }
        Err(failed) => {
            assert!(instruction.get(failed.error.span.clone()).is_some(), "{:?}", failed.error);
        }
    }
});

fn check(text: &str, mount: &Mount) {
    assert!(text.get(mount.raw.span.clone()).is_some());
    for option in &mount.options {
        assert!(text.get(option.span.clone()).is_some());
        assert!(option.value.as_ref().is_none_or(|value| text.get(value.span.clone()).is_some()));
    }
    let literal = mount.resolve(|word: &Word| Ok::<_, ParseError>(word.value.clone()));
    let special = |word: &Word| word.value.contains(['$', '\\', '`', '"', '\'']);
    if !mount.options.iter().filter_map(|option| option.value.as_ref()).any(special) {
        assert!(literal.is_ok(), "{literal:?}");
    }
    if let Ok(resolved) = literal {
        let texts = [&resolved.from, &resolved.source, &resolved.target, &resolved.id, &resolved.env];
        assert!(texts.into_iter().flatten().all(|text| !text.is_empty()));
        if resolved.kind == MountType::Secret {
            assert!(resolved.id.is_some() || resolved.target.is_some());
        }
    }
    let expander = Expander::new('\\');
    // The outcome does not matter; that there is one does.
    let _ = mount.resolve(|word: &Word| {
        Ok::<_, ParseError>(
            expander
                .word(&word.value, &NoVariables)
                .map_or_else(|_| String::new(), |expanded| expanded.text.into_owned()),
        )
    });
}
