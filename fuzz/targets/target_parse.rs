//! Any text as a target: what is parsed parses again to the same, and an error repeats no secret of it.

use framewire::transport::Target;

/// Stands in the parts of a target that may be secret.
const SECRET: &str = "s3cr3t-0";

/// Judges one input of the fuzzer.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(target) = Target::parse(text)
        && target.unix_path().is_none()
    {
        let again = format!("{}://{}", target.scheme().as_str(), target.authority());
        let again = Target::parse(&again).expect("what we name parses");
        assert_eq!(again.authority(), target.authority());
        assert_eq!((again.host(), again.port()), (target.host(), target.port()));
        assert_eq!(again.scheme(), target.scheme());
    }
    for secret in [format!("http://u:{SECRET}@{text}"), format!("http://h/{text}?{SECRET}")] {
        if let Err(error) = Target::parse(&secret) {
            let said = format!("{error} {error:?}");
            assert!(text.contains(SECRET) || !said.contains(SECRET), "{said}");
        }
    }
}
