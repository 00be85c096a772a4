//! What an API key may be used for.
//!
//! It refuses scopes that nobody knows, since a slip of the pen must not become a right.

use super::Invalid;

/// One thing that the REST API does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Hand tokens in.
    Register,
    /// See a user's devices, tokens included.
    Read,
    /// Delete devices.
    Delete,
    /// See the counters and the page, which name no user and no token.
    Watch,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] = [Scope::Register, Scope::Read, Scope::Delete, Scope::Watch, Scope::Admin];

    /// Takes `register`, `read`, `delete`, `watch` or `admin`.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Scope, Invalid> {
        let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| Invalid::new("scope", "is none of register, read, delete, watch, admin"))
    }

    /// `register`, `read`, `delete`, `watch` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Register => "register",
            Scope::Read => "read",
            Scope::Delete => "delete",
            Scope::Watch => "watch",
            Scope::Admin => "admin",
        }
    }
}
