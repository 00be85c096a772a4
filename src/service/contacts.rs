//! REGISTER as a way in: what the contacts of a REGISTER ask of push, what the answer says about it (RFC 8599 §5.6.1), and which
//! devices are stored or forgotten for it.
//!
//! It refuses to store anything of a REGISTER of which a part is malformed.

use super::{Error, RETRY_AFTER_S, Service, now_ms};
use crate::config::Settings;
use crate::model::{Extra, Invalid, NewDevice, Platform, Provider, User};
use crate::sip::{Ask, Contact, Contacts, PushDevice, feature_caps_line, push_services_of, seconds};
use crate::stats::Counter;
use crate::store::{StoreError, TokenStore};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What a REGISTER has in its headers, each as it stands in the message.
#[derive(Debug, Default)]
pub struct SipRegister<'a> {
    /// Whose registration it is: the user of its To, or what the script says.
    pub user: &'a str,
    /// Contact, each header of it.
    pub contacts: Vec<&'a [u8]>,
    /// Expires.
    pub expires: Option<&'a [u8]>,
    /// Feature-Caps, each header of it: what proxies between the phone and us have said.
    pub feature_caps: Vec<&'a [u8]>,
    /// The longest registration that the registrar grants, where that is known.
    pub most_s: Option<u32>,
    /// Contact of the 2xx, each header of it, where the registrar has answered already: what it has granted.
    pub granted: Option<Vec<&'a [u8]>>,
}

/// What the answer to a REGISTER says about push.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer {
    /// Phones are woken from here: these header lines belong into the 2xx, and into the request where it is forwarded.
    Push {
        /// How many devices are to be registered; 0 for a query.
        devices: usize,
        /// `Feature-Caps: …`, a line for each service.
        headers: String,
    },
    /// Nothing is to be said; the REGISTER is one like any other. With the reason.
    Nothing(&'static str),
    /// The REGISTER is to be answered with this.
    Refuse {
        /// 400, 423 or 555.
        status: u16,
        /// Its words.
        reason: String,
        /// More header lines of the answer: `Min-Expires`.
        headers: String,
    },
}

/// What became of a REGISTER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Devices that were stored or renewed.
    pub stored: usize,
    /// Devices that were forgotten.
    pub forgotten: usize,
}

/// Devices that SIP has registered have ids that begin so. A REGISTER never forgets any other.
const SIP_DEVICE: &str = "sip:";
/// The same where the phone has no `+sip.instance`.
const BY_TOKEN: &str = "sip:token:";
/// How long a registration lasts whose phone does not say (RFC 3261 §10.2.1.1 leaves it to the registrar).
const DEFAULT_EXPIRES_S: u32 = 3600;
/// How long a phone without `+sip.instance` is kept at least. Each new token of it is another device, and nobody takes leave of
/// the old one.
const NAMELESS_S: u32 = 30 * 24 * 3600;
/// Longest that a device can be asked to be kept; longer is as good as for ever.
const LONGEST_S: u32 = 315_360_000;

/// One contact, understood.
struct Binding {
    device_id: Option<String>,
    /// The user of its URI.
    user: Vec<u8>,
    asks_for_purr: bool,
    ask: Ask,
    asked_s: u32,
    wakes_itself: bool,
}

impl Service {
    /// What the answer to this REGISTER says about push (RFC 8599 §5.6.1). To be asked before the REGISTER is answered or forwarded;
    /// nothing is stored.
    pub fn check_register(&self, register: &SipRegister<'_>) -> Offer {
        let offer = self.offered(register);
        match offer {
            // a phone that relies on push must not be promised what cannot be kept
            Offer::Push { devices: 1.., .. } => match self.has_room(register) {
                Ok(true) => offer,
                Ok(false) => Offer::Nothing("it cannot be stored: too many devices"),
                Err(error) => self.unstored(&error),
            },
            offer => offer,
        }
    }

    fn unstored(&self, error: &Error) -> Offer {
        if matches!(error, Error::Store(_)) && self.settings().sip.refuses_unstored {
            let headers = format!("Retry-After: {RETRY_AFTER_S}\r\n");
            return refuse(500, "No Token Store".to_owned(), headers);
        }
        Offer::Nothing("it cannot be stored: no token store")
    }

    /// # Errors
    /// `Store`, also where it is known only what it held before it was away.
    fn has_room(&self, register: &SipRegister<'_>) -> Result<bool, Error> {
        let (Ok(user), Ok(Some(bindings))) = (User::parse(register.user), bindings(register)) else {
            return Ok(false);
        };
        let look = |store: &mut dyn TokenStore| {
            let known = store.devices(&user, now_ms())?;
            if store.is_away(&user) { Err(StoreError::is_away_now()) } else { Ok(known) }
        };
        let known = self.counted(|| self.with_store(look))?;
        let is_new = |binding: &&Binding| {
            let id = binding.device_id.as_ref();
            binding.asked_s > 0
                && binding.ask.provider().is_some()
                && !known.iter().any(|device| Some(&device.device_id) == id)
        };
        let (limit, new) =
            (self.settings().devices_per_user as usize, bindings.iter().filter(is_new).count());
        Ok(limit == 0 || new == 0 || known.len() + new <= limit)
    }

    fn offered(&self, register: &SipRegister<'_>) -> Offer {
        let bindings = match bindings(register) {
            Ok(bindings) => bindings,
            Err(invalid) => {
                self.stats.count(Counter::BadArgument);
                return refuse(400, format!("Bad {}", invalid.what), String::new());
            }
        };
        let bindings: Vec<Binding> =
            bindings.into_iter().flatten().filter(|b| b.asked_s > 0 && b.ask != Ask::Nothing).collect();
        if bindings.is_empty() {
            return Offer::Nothing("it asks nothing of push");
        }
        let elsewhere = push_services_of(&register.feature_caps);
        let queries: Vec<&Binding> = bindings.iter().filter(|b| matches!(b.ask, Ask::Query(_))).collect();
        if queries.len() == bindings.len() {
            return self.answer_query(&queries, &elsewhere);
        }
        if !elsewhere.is_empty() {
            return Offer::Nothing("another proxy serves it");
        }
        self.offer(register, &bindings)
    }

    /// §5.6.1.2: all services, or the one that is asked for; those that another proxy has named are named already.
    fn answer_query(&self, queries: &[&Binding], elsewhere: &[String]) -> Offer {
        let is_asked = |provider: Provider| {
            queries.iter().any(|binding| match &binding.ask {
                Ask::Query(Some(name)) => name == provider.as_str(),
                _ => true,
            })
        };
        let settings = self.settings();
        let asked = settings.providers().filter(|provider| is_asked(*provider));
        let ours: Vec<Provider> =
            asked.filter(|p| !elsewhere.iter().any(|name| name == p.as_str())).collect();
        if ours.is_empty() {
            return if elsewhere.is_empty() {
                self.unsupported()
            } else {
                Offer::Nothing("another proxy serves it")
            };
        }
        let pnsreg =
            queries.iter().any(|binding| binding.wakes_itself).then_some(self.settings().sip.pnsreg_s);
        let headers = ours.into_iter().map(|provider| feature_caps_line(provider, pnsreg, None)).collect();
        Offer::Push { devices: 0, headers }
    }

    /// §5.6.1.1.
    fn offer(&self, register: &SipRegister<'_>, bindings: &[Binding]) -> Offer {
        let settings = self.settings();
        let sip = &settings.sip;
        let is_served = |binding: &&Binding| self.new_device(register, binding).is_some();
        let served: Vec<&Binding> = bindings.iter().filter(is_served).collect();
        if served.is_empty() {
            return self.unsupported();
        }
        if served.iter().any(|binding| binding.asked_s < sip.min_expires_s) {
            if sip.refuses_brief {
                let headers = format!("Min-Expires: {}\r\n", sip.min_expires_s);
                return refuse(423, "Interval Too Brief".to_owned(), headers);
            }
            return Offer::Nothing("the registration is too brief");
        }
        let is_long = |binding: &&Binding| register.granted_s(binding) >= sip.min_expires_s;
        let served: Vec<&Binding> = served.into_iter().filter(is_long).collect();
        if served.is_empty() {
            return Offer::Nothing("the registrar grants too brief registrations");
        }
        let mut headers = String::new();
        for provider in Provider::ALL {
            let is_of_it = |binding: &&&Binding| binding.ask.provider() == Some(provider);
            let of_it: Vec<&Binding> = served.iter().filter(is_of_it).copied().collect();
            if !of_it.is_empty() {
                let pnsreg = of_it.iter().any(|binding| binding.wakes_itself).then_some(sip.pnsreg_s);
                let purr = self.purr_of(register, &of_it);
                headers.push_str(&feature_caps_line(provider, pnsreg, purr.as_deref()));
            }
        }
        Offer::Push { devices: served.len(), headers }
    }

    /// The header of a service has room for one PURR: of several phones in one REGISTER none could know whose it is.
    fn purr_of(&self, register: &SipRegister<'_>, bindings: &[&Binding]) -> Option<String> {
        let [binding] = bindings else { return None };
        self.purr(&self.new_device(register, binding)?, &binding.user, binding.asks_for_purr)
    }

    fn unsupported(&self) -> Offer {
        if self.settings().sip.refuses_unsupported {
            return refuse(555, "Push Notification Service Not Supported".to_owned(), String::new());
        }
        Offer::Nothing("nobody here serves it")
    }

    /// Stores the devices of a REGISTER that was found to be its user's and was answered with 2xx, and forgets those that it
    /// removes. Nothing is stored that [`Service::check_register`] would not offer push for.
    ///
    /// # Errors
    /// `Argument`, where it is malformed; `NoDevice`, where it asks nothing of push; `TooManyDevices` or `Store`.
    pub fn register_contacts(&self, register: &SipRegister<'_>) -> Result<Stored, Error> {
        let user = self.counted(|| Ok(User::parse(register.user)?))?;
        let Some(bindings) = self.counted(|| Ok(bindings(register)?))? else {
            let forgotten = self.forget(&user, |device_id| device_id.starts_with(SIP_DEVICE))?;
            return if forgotten == 0 { Err(Error::NoDevice) } else { Ok(Stored { stored: 0, forgotten }) };
        };
        let mut done = Stored { stored: 0, forgotten: 0 };
        // First, as a phone with two contacts may have the parameters in one of them only.
        let removed = bindings.iter().filter(|b| b.asked_s == 0 || b.ask == Ask::Nothing);
        let removed: Vec<&String> = removed.filter_map(|binding| binding.device_id.as_ref()).collect();
        if !removed.is_empty() {
            done.forgotten =
                self.forget(&user, |device_id| removed.iter().any(|removed| *removed == device_id))?;
        }
        if let Offer::Push { devices: 1.., .. } = self.offered(register) {
            let least_s = self.settings().sip.min_expires_s;
            for binding in bindings.iter().filter(|binding| register.granted_s(binding) >= least_s) {
                if let Some(device) = self.new_device(register, binding) {
                    self.counted(|| self.store(&device))?;
                    self.plan_refresh(&device, register.granted_s(binding), binding.wakes_itself)?;
                    done.stored += 1;
                }
            }
        }
        if done == (Stored { stored: 0, forgotten: 0 }) { Err(Error::NoDevice) } else { Ok(done) }
    }

    /// The devices that a REGISTER brings.
    pub(super) fn new_devices(&self, register: &SipRegister<'_>) -> Vec<NewDevice> {
        let Ok(Some(bindings)) = bindings(register) else { return Vec::new() };
        let least_s = self.settings().sip.min_expires_s;
        let kept = bindings.iter().filter(|binding| register.granted_s(binding) >= least_s);
        kept.filter_map(|binding| self.new_device(register, binding)).collect()
    }

    /// Looks before it writes: most phones that register have nothing to be forgotten.
    fn forget(&self, user: &User, is_removed: impl Fn(&str) -> bool) -> Result<usize, Error> {
        let devices = self.counted(|| self.with_store(|store| store.devices(user, now_ms())))?;
        let mut forgotten = 0;
        for device in devices.iter().filter(|device| is_removed(&device.device_id)) {
            forgotten +=
                self.counted(|| self.with_store(|store| store.delete(user, Some(&device.device_id))))?;
        }
        self.stats.add(Counter::Deleted, forgotten as u64);
        Ok(forgotten)
    }

    /// The device that a contact asks to be woken, where we can do that.
    fn new_device(&self, register: &SipRegister<'_>, binding: &Binding) -> Option<NewDevice> {
        let Ask::Device(asked) = &binding.ask else { return None };
        let settings = self.settings();
        let app = settings.served_app(asked)?;
        let platform = if asked.provider == Provider::Apns { Platform::Ios } else { Platform::Android };
        let granted_s = register.granted_s(binding).clamp(1, LONGEST_S);
        let lasts_s = match binding.device_id.as_deref() {
            _ if settings.sip.forgets_with_registration => Some(granted_s),
            Some(device_id) if device_id.starts_with(BY_TOKEN) => Some(granted_s.max(NAMELESS_S)),
            _ => None,
        };
        let extra = Extra {
            provider: Some(asked.provider.as_str()),
            device_id: binding.device_id.as_deref(),
            app: app.as_deref(),
            environment: asked.environment.map(|environment| environment.as_str()),
            expires_s: lasts_s.map(i64::from),
            alert_token: asked.alert_token.as_deref(),
            ..Extra::default()
        };
        NewDevice::parse(register.user, &asked.token, platform.as_str(), &extra)
            .inspect_err(|invalid| log::info!("REGISTER: {invalid}; the phone is not pushed to"))
            .ok()
    }
}

impl SipRegister<'_> {
    /// How long a contact is registered, as far as that is known; 0 where the registrar has not taken it.
    fn granted_s(&self, binding: &Binding) -> u32 {
        let Some(granted) = &self.granted else {
            return binding.asked_s.min(self.most_s.unwrap_or(u32::MAX));
        };
        let Ok(Contacts::These(contacts)) = Contacts::parse(granted) else { return 0 };
        // RFC 8599 §5.3: what identifies the push must be the same
        let is_it = |contact: &&Contact<'_>| Ask::of(&contact.uri).is_ok_and(|ask| ask == binding.ask);
        contacts.iter().find(is_it).map_or(0, |contact| contact.expires_s().unwrap_or(binding.asked_s))
    }
}

impl Settings {
    /// The push services that there are credentials for.
    fn providers(&self) -> impl Iterator<Item = Provider> {
        let known: BTreeSet<&str> = self.apps().iter().map(|(provider, _)| provider.as_str()).collect();
        Provider::ALL.into_iter().filter(move |provider| known.contains(provider.as_str()))
    }

    /// The app under which a device is to be stored; the outer `None` where we have no credential for it. Apps name their Firebase
    /// project by its number as well as by its id, and a service account only has the id: with one project there is no doubt.
    pub(super) fn served_app(&self, device: &PushDevice) -> Option<Option<String>> {
        let app = device.app.as_deref()?;
        let is_served = match device.provider {
            Provider::Apns => self.apns.iter().any(|apns| {
                device.team.as_ref().is_none_or(|team| *team == apns.team_id)
                    && apns.topics.iter().any(|topic| topic == app)
            }),
            Provider::Fcm => self.fcm.iter().any(|fcm| fcm.project_id == app),
        };
        let is_number = app.bytes().all(|byte| byte.is_ascii_digit());
        if !is_served && device.provider == Provider::Fcm && is_number && self.fcm.len() == 1 {
            return Some(None);
        }
        is_served.then(|| Some(app.to_owned()))
    }
}

fn refuse(status: u16, reason: String, headers: String) -> Offer {
    Offer::Refuse { status, reason, headers }
}

/// What each contact asks; `None` for `*`, which removes all.
fn bindings(register: &SipRegister<'_>) -> Result<Option<Vec<Binding>>, Invalid> {
    let expires_s = register.expires.map(seconds);
    let contacts = match Contacts::parse(&register.contacts)? {
        Contacts::All if expires_s == Some(0) => return Ok(None),
        // RFC 3261 §10.3, step 6
        Contacts::All => return Err(Invalid::new("Contact", "is * without Expires: 0")),
        Contacts::These(contacts) => contacts,
    };
    let binding = |contact: &Contact<'_>| {
        let ask = Ask::of(&contact.uri)?;
        Ok(Binding {
            device_id: device_id(contact, &ask),
            user: contact.uri.user().to_vec(),
            asks_for_purr: contact.asks_for_purr(),
            asked_s: contact.expires_s().or(expires_s).unwrap_or(DEFAULT_EXPIRES_S),
            wakes_itself: contact.wakes_itself(),
            ask,
        })
    };
    contacts.iter().map(binding).collect::<Result<_, _>>().map(Some)
}

/// Which of the user's phones it is: the one that `+sip.instance` names, else the one with this token.
fn device_id(contact: &Contact<'_>, ask: &Ask) -> Option<String> {
    let by_token = |device: &PushDevice| {
        format!("{BY_TOKEN}{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, device.token.as_bytes()))
    };
    match (contact.instance(), ask) {
        (Some(instance), _) => Some(format!("{SIP_DEVICE}{instance}")),
        (None, Ask::Device(device)) => Some(by_token(device)),
        (None, _) => None,
    }
}
