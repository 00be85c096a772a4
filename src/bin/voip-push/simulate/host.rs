//! The names of what is simulated: three TLS hosts and the four services on them.
//!
//! It refuses nothing and does nothing; every other file agrees on these words.

/// A TLS listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// api.push.apple.com
    Apns,
    /// api.sandbox.push.apple.com
    ApnsSandbox,
    /// fcm.googleapis.com and oauth2.googleapis.com
    Google,
}

/// A service on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Production APNs.
    Apns,
    /// Sandbox APNs.
    ApnsSandbox,
    /// FCM HTTP v1.
    Fcm,
    /// Google's OAuth2 token endpoint.
    Oauth,
}

impl Host {
    /// All hosts.
    pub const ALL: [Host; 3] = [Host::Apns, Host::ApnsSandbox, Host::Google];

    /// The name in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Host::Apns => "apns",
            Host::ApnsSandbox => "apns_sandbox",
            Host::Google => "google",
        }
    }

    /// The reverse of [`Host::name`].
    pub fn named(name: &str) -> Option<Host> {
        Host::ALL.into_iter().find(|host| host.name() == name)
    }

    /// Place in arrays with one element per host.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The APNs service of this host, if it is one.
    pub fn apns_service(self) -> Option<Service> {
        match self {
            Host::Apns => Some(Service::Apns),
            Host::ApnsSandbox => Some(Service::ApnsSandbox),
            Host::Google => None,
        }
    }
}

impl Service {
    /// All services.
    pub const ALL: [Service; 4] = [Service::Apns, Service::ApnsSandbox, Service::Fcm, Service::Oauth];

    /// The name in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Service::Apns => "apns",
            Service::ApnsSandbox => "apns_sandbox",
            Service::Fcm => "fcm",
            Service::Oauth => "oauth",
        }
    }

    /// The reverse of [`Service::name`].
    pub fn named(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Place in arrays with one element per service.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The host that it answers on.
    pub fn host(self) -> Host {
        match self {
            Service::Apns => Host::Apns,
            Service::ApnsSandbox => Host::ApnsSandbox,
            Service::Fcm | Service::Oauth => Host::Google,
        }
    }

    /// The provider as RFC 8599 names it.
    pub fn provider(self) -> &'static str {
        match self {
            Service::Apns | Service::ApnsSandbox => "apns",
            Service::Fcm => "fcm",
            Service::Oauth => "oauth",
        }
    }

    /// APNs' environment.
    pub fn environment(self) -> Option<&'static str> {
        match self {
            Service::Apns => Some("production"),
            Service::ApnsSandbox => Some("sandbox"),
            Service::Fcm | Service::Oauth => None,
        }
    }

    /// One of the two APNs hosts.
    pub fn is_apns(self) -> bool {
        self.environment().is_some()
    }
}
