//! Where a table's database is: `jdbc:postgresql://host:port/database?parameters`.

use engine::error::{Error, Result};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

/// A database and who connects to it. Its text holds no password.
#[derive(Clone)]
pub(super) struct Target {
    pub config: Config,
    pub tls: Tls,
    /// `host:port/database`.
    pub place: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {} ({:?})", self.place, self.config.get_user().unwrap_or_default(), self.tls)
    }
}

/// How the server's certificate is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tls {
    /// No TLS.
    Off,
    /// Encrypted, whoever the server is.
    Unverified,
    /// The certificate is by a known authority; with `host`, and for the server's name.
    Verified { host: bool, root: Option<PathBuf> },
}

/// What other databases' URLs begin with behind `jdbc:`.
const OTHERS: &[(&str, &str)] = &[
    ("mysql:", "MySQL"),
    ("mariadb:", "MariaDB"),
    ("oracle:", "Oracle"),
    ("sqlserver:", "SQL Server"),
    ("db2:", "DB2"),
    ("derby:", "Derby"),
    ("trino:", "Trino"),
    ("presto:", "Presto"),
    ("oceanbase:", "OceanBase"),
    ("clickhouse:", "ClickHouse"),
    ("sqlite:", "SQLite"),
    ("h2:", "H2"),
];

const FORM: &str = "Write 'url' = 'jdbc:postgresql://host:5432/database'.";

/// Reads `url`. The text of an error holds nothing of the URL's parameters.
///
/// Errors: another database, a parameter that is not known, a password in the URL.
pub(super) fn parse(
    url: &str,
    user: Option<&str>,
    password: Option<&str>,
    timeout: Duration,
) -> Result<Target> {
    let Some(rest) = url.strip_prefix("jdbc:postgresql:") else {
        let other = url.strip_prefix("jdbc:").unwrap_or(url);
        return Err(match OTHERS.iter().find(|(prefix, _)| other.starts_with(prefix)) {
            Some((_, name)) => Error::unsupported(format!("A 'jdbc' table in {name}"), FORM),
            None => Error::user("Option 'url' of a 'jdbc' table is no URL of a database that Runnel knows: it knows PostgreSQL.")
                .with_hint(FORM),
        });
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = match place.strip_prefix("//") {
        Some(place) => place.split_once('/').unwrap_or((place, "")),
        None => ("", place),
    };
    let mut config = Config::new();
    config.connect_timeout(timeout).application_name("runnel").keepalives_idle(Duration::from_secs(60));
    let mut shown = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        config.host(&name).port(port);
        shown.push(format!("{name}:{port}"));
    }
    let user = user.map(str::to_string);
    let mut url_user = None;
    let (mut mode, mut root) = ("prefer".to_string(), None);
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = decoded(value).ok_or_else(|| {
            Error::user(format!("The parameter '{key}' of 'url' is not written as in a URL."))
                .with_hint("Write % and two hexadecimal digits for a special character.")
        })?;
        match key {
            "user" => url_user = Some(value),
            "password" => {
                return Err(Error::user("The parameter 'password' of 'url' would be shown with the table.")
                    .with_hint("Write the option 'password', which is masked."));
            }
            "ssl" if value.is_empty() || value.eq_ignore_ascii_case("true") => mode = "verify-full".into(),
            "ssl" => {}
            "sslmode" => mode = value.to_ascii_lowercase(),
            "sslrootcert" => root = Some(PathBuf::from(value)),
            "ApplicationName" => {
                config.application_name(value);
            }
            "currentSchema" => {
                config.options(format!("-c search_path={}", value.replace(' ', "")));
            }
            "options" => {
                config.options(value);
            }
            "connectTimeout" | "loginTimeout" => {
                let seconds = value.parse().map_err(|_| {
                    Error::user(format!("The parameter '{key}' of 'url' is a number of seconds."))
                })?;
                config.connect_timeout(Duration::from_secs(seconds));
            }
            // They tune Java's driver, and change nothing of what is read or written.
            "socketTimeout"
            | "tcpKeepAlive"
            | "prepareThreshold"
            | "reWriteBatchedInserts"
            | "binaryTransfer"
            | "defaultRowFetchSize"
            | "stringtype"
            | "autosave"
            | "preferQueryMode" => {}
            other => {
                return Err(Error::user(format!("The parameter '{other}' of 'url' is not known.")).with_hint(
                    "There are user, ssl, sslmode, sslrootcert, currentSchema, options, ApplicationName, connectTimeout.",
                ));
            }
        }
    }
    let Some(user) = user.or(url_user) else {
        return Err(Error::user("A 'jdbc' table needs the name of a user.")
            .with_hint("Add 'username' = '…' and 'password' = '…' to WITH."));
    };
    let database = decoded(database).unwrap_or_default();
    let database = if database.is_empty() { user.clone() } else { database };
    config.user(&user).dbname(&database);
    if let Some(password) = password {
        config.password(password);
    }
    let (ssl, tls) = match mode.as_str() {
        "disable" => (SslMode::Disable, Tls::Off),
        "allow" | "prefer" => (SslMode::Prefer, Tls::Unverified),
        "require" => (SslMode::Require, Tls::Unverified),
        "verify-ca" => (SslMode::Require, Tls::Verified { host: false, root }),
        "verify-full" => (SslMode::Require, Tls::Verified { host: true, root }),
        _ => {
            return Err(Error::user(format!("'{mode}' is no 'sslmode'."))
                .with_hint("There are disable, prefer, require, verify-ca and verify-full."));
        }
    };
    config.ssl_mode(ssl);
    Ok(Target { config, tls, place: format!("{}/{database}", shown.join(",")) })
}

fn host_and_port(text: &str) -> Result<(String, u16)> {
    let wrong = || Error::user(format!("'{text}' in 'url' is no host and port.")).with_hint(FORM);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.filter(|p| !p.is_empty()).map_or(Ok(5432), str::parse).map_err(|_| wrong())?;
    let host = if host.is_empty() { "localhost" } else { host };
    Ok((host.to_string(), port))
}

/// `%41` becomes `A`.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host;

    fn target(url: &str) -> Result<Target> {
        parse(url, Some("me"), Some("geheim"), Duration::from_secs(60))
    }

    #[test]
    fn urls_are_read_as_javas_driver_reads_them() {
        let t = target("jdbc:postgresql://db.example:5433/shop?sslmode=require&ApplicationName=x").unwrap();
        assert_eq!(t.place, "db.example:5433/shop");
        assert_eq!(t.config.get_dbname(), Some("shop"));
        assert_eq!(t.config.get_ports(), [5433]);
        assert_eq!((t.config.get_ssl_mode(), &t.tls), (SslMode::Require, &Tls::Unverified));
        let t = target("jdbc:postgresql:shop").unwrap();
        assert_eq!(t.config.get_hosts(), [Host::Tcp("localhost".into())]);
        let t = target("jdbc:postgresql://[::1]/a%20b?ssl=true&sslrootcert=/ca.pem").unwrap();
        assert_eq!(t.config.get_hosts(), [Host::Tcp("::1".into())]);
        assert_eq!(t.config.get_dbname(), Some("a b"));
        assert_eq!(t.tls, Tls::Verified { host: true, root: Some("/ca.pem".into()) });
        let t = target("jdbc:postgresql://a:1,b/d").unwrap();
        assert_eq!(t.place, "a:1,b:5432/d");
    }

    #[test]
    fn no_text_holds_a_password() {
        let t = target("jdbc:postgresql://h/d").unwrap();
        assert!(!format!("{t:?}").contains("geheim"));
        let error = target("jdbc:postgresql://h/d?password=geheim").unwrap_err();
        assert!(!format!("{error} {:?}", error.hint()).contains("geheim"));
    }

    #[test]
    fn other_databases_are_refused_by_name() {
        let text = |url: &str| target(url).unwrap_err().message().to_string();
        assert_eq!(text("jdbc:mysql://h/d"), "A 'jdbc' table in MySQL is not supported yet.");
        assert!(text("jdbc:nosuch://h/d").contains("it knows PostgreSQL"));
        assert!(text("jdbc:postgresql://h/d?sslcert=x").contains("'sslcert'"));
        assert!(text("jdbc:postgresql://h:port/d").contains("no host and port"));
    }
}
