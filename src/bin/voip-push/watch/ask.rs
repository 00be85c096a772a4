//! Asking a server for its numbers through its own tool.
//!
//! It refuses a shell: the tool is run with its words as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Tool;

/// Numbers by name, with labels as Prometheus writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers(pub BTreeMap<String, u64>);

impl Numbers {
    /// From what kamcmd (`name: number` a line, in braces) or opensips-cli (JSON) prints.
    pub fn parse(text: &str) -> Numbers {
        let of_json = serde_json::from_str::<BTreeMap<String, Value>>(text).ok().map(|fields| {
            let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
            fields.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect()
        });
        Numbers(of_json.unwrap_or_else(|| text.lines().filter_map(line).collect()))
    }

    /// As one JSON object.
    pub fn json(&self) -> String {
        format!("{:#}", serde_json::json!(self.0))
    }
}

fn line(line: &str) -> Option<(String, u64)> {
    let (name, number) = line.trim().rsplit_once(':')?;
    Some((name.to_owned(), number.trim().parse().ok()?))
}

/// How a server is asked.
pub struct Server {
    tool: Tool,
    program: PathBuf,
    socket: Option<String>,
}

impl Server {
    /// The tool that was named, or that is installed.
    pub fn new(tool: Option<Tool>, program: Option<PathBuf>, socket: Option<String>) -> Server {
        let is_opensips = || !is_installed("kamcmd") && is_installed("opensips-cli");
        let tool = tool.unwrap_or_else(|| if is_opensips() { Tool::Opensips } else { Tool::Kamailio });
        let own = match tool {
            Tool::Kamailio => "kamcmd",
            Tool::Opensips => "opensips-cli",
        };
        Server { tool, program: program.unwrap_or_else(|| placed(own)), socket }
    }

    /// The tool's name.
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// All counters and buckets as they stand.
    pub fn ask(&self) -> Result<Numbers, String> {
        let mut numbers = Numbers::parse(&self.said("stats")?);
        if numbers.0.is_empty() {
            return Err(format!("{} has told no numbers; is voip_push.so loaded?", self.name()));
        }
        // A server with an older module does not know it.
        numbers.0.extend(Numbers::parse(&self.said("latency").unwrap_or_default()).0);
        Ok(numbers)
    }

    fn said(&self, what: &str) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        match self.tool {
            Tool::Kamailio => {
                if let Some(socket) = &self.socket {
                    command.args(["-s", socket]);
                }
                command.arg(format!("voip_push.{what}"));
            }
            Tool::Opensips => {
                command.args(["-x", "mi"]).arg(format!("voip_push:{what}"));
            }
        }
        let output = command.stdin(Stdio::null()).output();
        let name = self.program.display();
        let output = output.map_err(|error| {
            format!("{name} cannot be run: {error}; install it, or name it with --program")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
        let said = said
            .iter()
            .flat_map(|text| text.lines())
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it failed");
        Err(format!("{name}: {}; does the server run, and may you use its socket?", said.trim()))
    }
}

fn placed(name: &str) -> PathBuf {
    let beside = Path::new("/usr/sbin").join(name);
    if !is_in_path(name) && beside.is_file() { beside } else { PathBuf::from(name) }
}

fn is_installed(name: &str) -> bool {
    is_in_path(name) || Path::new("/usr/sbin").join(name).is_file()
}

fn is_in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tools_are_understood() {
        let kamcmd = "{\n\tcalls_total: 3\n\tpushes_total{provider=\"apns\",app=\"a.voip\",outcome=\"accepted\"}: 2\n\tqueued: 0\n\tbig_total: 5000000000\n}\n";
        let json = "{\"calls_total\": 3, \"pushes_total{provider=\\\"apns\\\",app=\\\"a.voip\\\",outcome=\\\"accepted\\\"}\": 2, \"queued\": 0, \"big_total\": \"5000000000\"}";
        let numbers = Numbers::parse(kamcmd);
        assert_eq!(numbers, Numbers::parse(json));
        assert_eq!(numbers.0.len(), 4);
        assert_eq!(numbers.0["pushes_total{provider=\"apns\",app=\"a.voip\",outcome=\"accepted\"}"], 2);
        assert_eq!(numbers.0["big_total"], 5_000_000_000);
        assert_eq!(Numbers::parse("error: 500 - command not found").0.len(), 0);
    }
}
