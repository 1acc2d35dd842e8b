//! Names of images: what is accepted has a full and a familiar form, and both mean the same image.

#![no_main]

use builder_frontend::platform::Platform;
use builder_image::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Reference>() {
        Ok(reference) => {
            for form in [reference.to_string(), reference.familiar()] {
                assert_eq!(form.parse().as_ref(), Ok(&reference), "{text:?} {form:?}");
            }
            assert!(reference.tag().is_some() || reference.digest().is_some());
            assert!(reference.name().len() <= 255);
            // These become parts of paths and of URLs.
            let parts = [reference.registry().as_str(), reference.repository().as_str()];
            assert!(parts.iter().all(|part| part.is_ascii() && !part.contains(['\0', ' ', '%', '?', '#', '\\'])));
            assert!(reference.repository().as_str().split('/').all(|name| !matches!(name, "" | "." | "..")));
        }
        Err(error) => assert!(error.to_string().len() < 4096),
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let again = platform.to_string().parse::<Platform>();
        assert_eq!(again.as_ref(), Ok(&platform), "{text:?}");
    }
});
