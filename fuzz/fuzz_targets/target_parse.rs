//! Any text as a target: what is parsed parses again to the same, and an error repeats no secret of it.
#![no_main]

use framewire::transport::Target;
use libfuzzer_sys::fuzz_target;

/// Stands in the parts of a target that may be secret.
const SECRET: &str = "s3cr3t-0";

fuzz_target!(|text: &str| {
    if let Ok(target) = Target::parse(text) {
        if target.unix_path().is_none() {
            let again = format!("{}://{}", target.scheme().as_str(), target.authority());
            let again = Target::parse(&again).expect("what we name parses");
            assert_eq!(again.authority(), target.authority());
            assert_eq!((again.host(), again.port()), (target.host(), target.port()));
            assert_eq!(again.scheme(), target.scheme());
        }
    }
    for secret in [format!("http://u:{SECRET}@{text}"), format!("http://h/{text}?{SECRET}")] {
        if let Err(error) = Target::parse(&secret) {
            let said = format!("{error} {error:?}");
            assert!(text.contains(SECRET) || !said.contains(SECRET), "{said}");
        }
    }
});
