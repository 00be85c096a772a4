//! The one service that every face of the library in this process uses.
//!
//! It refuses to free a service that was in use: another thread may still be inside.

use super::Service;
use crate::process::Shelf;

static INSTALLED: Shelf<Service> = Shelf::new();

/// Makes a service the one that this process, and every process forked from it later, uses.
pub fn install(service: Service) -> &'static Service {
    INSTALLED.put(service)
}

/// The service in use.
pub fn installed() -> Option<&'static Service> {
    INSTALLED.get()
}

/// Takes the service out of use; who holds it may go on using it.
pub fn uninstall() -> Option<&'static Service> {
    INSTALLED.clear()
}
