//! A Kamailio with a test's own configuration beside the simulator, and what several tests ask of the two.
//!
//! It refuses to know what the configuration does: that is each test's own.

use super::kamailio::{Installation, Kamailio, Options, Place};
use super::simulator::Simulator;
use std::path::Path;

/// One user may be called as often as a test wants.
pub const NO_LIMITS: (&str, &str) =
    ("[call]", "[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\ncalls_per_user = 0\n[call]");

/// One module of tests per Kamailio, so that a failure says which.
#[allow(unused_macros, reason = "each test program uses a part of support")]
macro_rules! on {
    ($name:ident, $installation:expr, [$($test:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    super::$test(&$installation);
                }
            )*
        }
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use on;

/// Both, as long as this value lives.
pub struct Rig {
    /// The server.
    pub kamailio: Kamailio,
    /// Apple and Google.
    pub simulator: Simulator,
}

impl Rig {
    /// Starts both; `config` is a file that wants CONFIG, `simulated` are options of the simulator, `changes` go into its
    /// voip-push.toml.
    pub fn start(
        installation: &Installation,
        config: &str,
        simulated: &[&str],
        changes: &[(&str, &str)],
        more: impl FnOnce(Options) -> Options,
    ) -> Rig {
        let name = Path::new(config).file_stem().and_then(|stem| stem.to_str()).expect("it has a name");
        let place = Place::new(name.trim_start_matches("kamailio_"));
        let simulator = Simulator::start(&place.scratch, simulated);
        let toml = simulator.change_config(changes);
        let options = Options::file(place, config).on(installation);
        let options = options.define("CONFIG", &format!("\"{}\"", toml.display()));
        Rig { kamailio: Kamailio::start(more(options)), simulator }
    }

    /// See [`Kamailio::stat`].
    pub fn stat(&self, name: &str) -> u64 {
        self.kamailio.stat(name)
    }

    /// The process that sends.
    pub fn sender(&self) -> libc::pid_t {
        self.kamailio.process("voip_push sender")
    }
}

/// The token of an iPhone; each number gives another. That of zeros is nobody's, which the simulator knows.
pub fn token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}
