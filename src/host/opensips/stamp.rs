//! Which OpenSIPS this is, and the stamps with which its loader recognises a module that was compiled with it.
//!
//! It refuses versions whose layouts nobody has looked at: stamping replaces the loader's own check, so it must be at least as
//! strict.

use super::layout::{Abi, MODULE_KIND, ModuleExports};
use crate::host::symbol::address;
use std::ffi::{CStr, c_char};

/// Names a known version (`3.6`) whose layouts are to be used for a version that is not known.
pub const INSIST: &str = "VOIP_PUSH_OPENSIPS_ABI";

/// What OpenSIPS has stamped on its own modules.
#[derive(Debug, Clone, Copy)]
pub struct Stamps {
    pub version: *const c_char,
    pub compile_flags: *const c_char,
    pub scm_type: *const c_char,
    pub scm_rev: *const c_char,
}

/// The stamps of the module `proto_udp`, which is part of the program; nothing in any other program. OpenSIPS' own copies of them
/// have no names.
pub fn of_this_program() -> Option<(Stamps, String)> {
    let built_in = address(c"proto_udp_exports")?.cast::<ModuleExports>();
    // SAFETY: a variable of that name in OpenSIPS starts with the same five members in all its versions, but for `scm`, which is
    // only read where it is there. Another program with such a variable is told by its name and type, as far as can be.
    unsafe {
        let (name, kind) = ((&raw const (*built_in).name).read(), (&raw const (*built_in).kind).read());
        if kind != MODULE_KIND || name.is_null() || CStr::from_ptr(name) != c"proto_udp" {
            return None;
        }
        let has_scm = address(c"core_scm_ver").is_some();
        let scm = |member: *const *const c_char| if has_scm { member.read() } else { c"".as_ptr() };
        let stamps = Stamps {
            version: (&raw const (*built_in).version).read(),
            compile_flags: (&raw const (*built_in).compile_flags).read(),
            scm_type: scm(&raw const (*built_in).scm_type),
            scm_rev: scm(&raw const (*built_in).scm_rev),
        };
        if stamps.version.is_null() {
            return None;
        }
        let version = CStr::from_ptr(stamps.version).to_str().ok()?;
        version.starts_with("opensips ").then(|| (stamps, version.to_owned()))
    }
}

/// The layouts of this version, or what to say where they are not known. `insisted` is the value of [`INSIST`].
pub fn check(version: &str, insisted: Option<&str>) -> Result<Abi, String> {
    let ours = env!("CARGO_PKG_VERSION");
    let known = Abi::versions();
    // aarch64 may have the same layouts, but nobody has run it.
    if !cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        return Err(format!("voip_push {ours} supports OpenSIPS {known} on x86_64; this is '{version}'"));
    }
    if let Some(abi) = numbers(version).and_then(Abi::of) {
        return Ok(abi);
    }
    match insisted {
        None => Err(format!(
            "voip_push {ours} supports OpenSIPS {known} on x86_64; this is '{version}' ({INSIST}=4.0 in the \
             environment takes it for a 4.0, at your risk)"
        )),
        Some(named) => numbers(&format!("opensips {named}.{}", u32::MAX))
            .and_then(Abi::of)
            .ok_or_else(|| format!("{INSIST}={named} is not one of {known}")),
    }
}

/// `opensips 3.6.8 (…)` and `opensips 4.0.0-rc1 (…)`.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = version.strip_prefix("opensips ")?.split(['.', '-', ' ']);
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?, next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_were_looked_at_are_taken() {
        for (good, version) in [
            ("opensips 3.4.18 (x86_64/linux)", (3, 4)),
            ("opensips 3.5.0 (x86_64/linux)", (3, 5)),
            ("opensips 3.6.8 (x86_64/linux)", (3, 6)),
            ("opensips 4.0.0-rc1 (x86_64/linux)", (4, 0)),
        ] {
            assert_eq!(check(good, None).unwrap().version, version);
        }
        for bad in ["opensips 3.3.9 (x)", "opensips 3.7.0 (x)", "opensips 4.1.0-dev (x)", "opensips x"] {
            let why = check(bad, None).unwrap_err();
            assert!(
                why.contains(&format!("supports OpenSIPS 3.4, 3.5, 3.6, 4.0 on x86_64; this is '{bad}'"))
            );
        }
    }

    #[test]
    fn who_insists_names_a_known_version() {
        assert_eq!(check("opensips 4.1.0 (x)", Some("4.0")).unwrap().version, (4, 0));
        assert!(check("opensips 3.7.0 (x)", Some("3.4")).unwrap().async_ctx.timeout_s.is_some());
        let why = check("opensips 4.1.0 (x)", Some("yes")).unwrap_err();
        assert_eq!(why, "VOIP_PUSH_OPENSIPS_ABI=yes is not one of 3.4, 3.5, 3.6, 4.0");
    }

    #[test]
    fn this_program_is_not_opensips() {
        assert!(of_this_program().is_none());
    }
}
