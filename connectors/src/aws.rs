//! AWS, for every connector that needs it: region, endpoint, credentials and HTTP client from `aws.*` options,
//! and what went wrong as a sentence.

use crate::options::{OptionReader, option};
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;
use engine::connector::OptionHelp;
use engine::error::{Error, Result, nearest};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// Longest wait for one answer; a full GetRecords answer is 10 MB.
const ATTEMPT_TIMEOUT_MS: u64 = 30_000;
/// Longest piece of a server's own words that an error repeats, in characters.
const MAX_CAUSE_CHARS: usize = 300;

/// Regions for "did you mean"; others that look like a region are taken as well.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// How to reach AWS and as whom. `Debug` and `describe` never show secrets.
#[derive(Debug, Clone)]
pub struct AwsOptions {
    region: Option<String>,
    endpoint: Option<String>,
    credentials: Credentials,
}

/// `aws.credentials.provider`.
#[derive(Clone)]
enum Credentials {
    /// Environment, web identity, profile, then the metadata services of ECS and EC2.
    Auto,
    Basic {
        access_key_id: String,
        secret_key: String,
    },
    EnvVar,
    Profile {
        name: Option<String>,
        path: Option<String>,
    },
    WebIdentity {
        role_arn: Option<String>,
        session: Option<String>,
        file: Option<String>,
    },
    AssumeRole {
        role_arn: String,
        session: Option<String>,
        external_id: Option<String>,
        sts_endpoint: Option<String>,
        base: Box<Credentials>,
    },
}

impl Credentials {
    fn name(&self) -> &'static str {
        match self {
            Self::Auto => "AUTO",
            Self::Basic { .. } => "BASIC",
            Self::EnvVar => "ENV_VAR",
            Self::Profile { .. } => "PROFILE",
            Self::WebIdentity { .. } => "WEB_IDENTITY_TOKEN",
            Self::AssumeRole { .. } => "ASSUME_ROLE",
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const PROVIDERS: &[&str] =
    &["AUTO", "BASIC", "ENV_VAR", "PROFILE", "ASSUME_ROLE", "WEB_IDENTITY_TOKEN", "SYS_PROP", "CUSTOM"];

/// The `aws.*` options, for a connector's list.
pub fn help() -> Vec<OptionHelp> {
    let entry = |key: &str, default: Option<&str>, text: &str| option(key, default, false, text);
    vec![
        entry(
            "aws.region",
            None,
            "Region of the service, for example `us-east-1`; else that of the ARN or endpoint, then `AWS_REGION`.",
        ),
        entry(
            "aws.endpoint",
            None,
            "URL of the service instead of the region's own, for example `http://127.0.0.1:4568`; else `AWS_ENDPOINT_URL_KINESIS`, then `AWS_ENDPOINT_URL`.",
        ),
        entry(
            "aws.trust.all.certificates",
            Some("false"),
            "Only `false` over HTTPS; to trust a certificate of your own set the environment variable `SSL_CERT_FILE`.",
        ),
        entry(
            "aws.credentials.provider",
            Some("AUTO"),
            "`AUTO`, `BASIC`, `ENV_VAR`, `PROFILE`, `ASSUME_ROLE` or `WEB_IDENTITY_TOKEN`. `BASIC` is meant where the two keys are given.",
        ),
        entry("aws.credentials.basic.accesskeyid", None, "Access key of `BASIC`."),
        entry("aws.credentials.basic.secretkey", None, "Secret key of `BASIC`; never printed."),
        entry("aws.credentials.profile.path", None, "File of `PROFILE`, instead of `~/.aws/credentials`."),
        entry(
            "aws.credentials.profile.name",
            None,
            "Name of `PROFILE`, instead of `AWS_PROFILE` or `default`.",
        ),
        entry("aws.credentials.role.arn", None, "Role of `ASSUME_ROLE` or `WEB_IDENTITY_TOKEN`."),
        entry("aws.credentials.role.sessionName", None, "Name of the role's session."),
        entry("aws.credentials.role.externalId", None, "External id that the role asks for."),
        entry(
            "aws.credentials.role.stsEndpoint",
            None,
            "URL of the token service instead of the region's own.",
        ),
        entry(
            "aws.credentials.role.provider",
            Some("AUTO"),
            "Credentials with which the role is assumed, as `aws.credentials.provider`.",
        ),
        entry(
            "aws.credentials.role.provider.*",
            None,
            "Keys of `aws.credentials.role.provider`, for example `aws.credentials.role.provider.basic.accesskeyid`.",
        ),
        entry(
            "aws.credentials.webIdentityToken.file",
            None,
            "Token file of `WEB_IDENTITY_TOKEN`, instead of `AWS_WEB_IDENTITY_TOKEN_FILE`.",
        ),
    ]
}

impl AwsOptions {
    /// Reads the `aws.*` options. `implied_region` is the region that the table's other options tell (an ARN).
    ///
    /// Errors: a region that cannot be one, a provider that is not there, missing keys of a provider.
    pub fn read(options: &OptionReader<'_>, implied_region: Option<&str>) -> Result<Self> {
        let endpoint = options.get("aws.endpoint").map(endpoint_url).transpose()?;
        let named = options.get("aws.region").map(str::to_string);
        if let (Some(region), None) = (&named, &endpoint) {
            check_region(region)?;
        }
        let region = named
            .or_else(|| implied_region.map(str::to_string))
            .or_else(|| endpoint.as_deref().and_then(region_of_endpoint).map(str::to_string));
        if options.boolean("aws.trust.all.certificates")?
            && !endpoint.as_deref().is_some_and(|e| e.starts_with("http://"))
        {
            return Err(Error::unsupported(
                "'aws.trust.all.certificates' = 'true' over HTTPS",
                "Set the environment variable SSL_CERT_FILE to a file with the certificate to trust, or use an \
                 'aws.endpoint' that starts with http://.",
            ));
        }
        Ok(Self { region, endpoint, credentials: Credentials::read(options)? })
    }

    /// Opens nothing yet: resolves region, endpoint and credentials provider. `service` is the SDK's id in
    /// capitals (`KINESIS`), as in `AWS_ENDPOINT_URL_KINESIS`.
    ///
    /// Errors: no region is known.
    pub async fn connect(&self, service: &'static str) -> Result<Connection> {
        let endpoint = self.endpoint_for(service, &variable)?;
        let named =
            self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = match named {
            Some(region) => region,
            None => match ProfileFileRegionProvider::new().region().await {
                Some(region) => region.to_string(),
                None if endpoint.is_some() => "us-east-1".to_string(),
                None => {
                    return Err(Error::user("No AWS region is known.")
                        .with_hint("Add 'aws.region' = 'us-east-1' (or yours) to WITH, or set AWS_REGION."));
                }
            },
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            .operation_attempt_timeout(Duration::from_millis(ATTEMPT_TIMEOUT_MS))
            .build();
        let base = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .timeout_config(timeouts)
            .http_client(https_client())
            .no_credentials()
            .load()
            .await;
        let local = endpoint.as_deref().is_some_and(is_loopback);
        let provider = self.credentials.provider(&base, local).await;
        // Each connector retries by itself: it knows what may be tried again, and counts it.
        let mut config =
            base.into_builder().credentials_provider(provider).retry_config(RetryConfig::disabled());
        if endpoint.as_deref().is_some_and(|e| e.starts_with("http://")) {
            config = config.http_client(plain_client());
        }
        config.set_endpoint_url(endpoint.clone());
        let service = service.to_ascii_lowercase();
        let provider = self.credentials.name();
        Ok(Connection { config: config.build(), region, endpoint, service, provider })
    }

    /// `aws.endpoint`, else what the environment says, else none: the region's own.
    fn endpoint_for(
        &self,
        service: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(Some(endpoint.clone()));
        }
        let url =
            environment(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| environment("AWS_ENDPOINT_URL"));
        url.map(|url| endpoint_url(&url)).transpose()
    }

    /// Region and endpoint as far as the options tell them, for EXPLAIN.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.region.as_ref().map(|r| format!("region={r}")));
        parts.extend(self.endpoint.as_ref().map(|e| format!("endpoint={e}")));
        parts.join(", ")
    }
}

impl Credentials {
    fn read(options: &OptionReader<'_>) -> Result<Self> {
        let get = |key: &str| options.get(key).filter(|v| !v.is_empty()).map(str::to_string);
        let keys = (get("aws.credentials.basic.accesskeyid"), get("aws.credentials.basic.secretkey"));
        let both = keys.0.is_some() && keys.1.is_some();
        let nested = options.prefixed("aws.credentials.role.provider.");
        let kind = if options.is_set("aws.credentials.provider") || !both {
            provider_name("aws.credentials.provider", options.get("aws.credentials.provider"))?
        } else {
            "BASIC"
        };
        let get_nested = |key: &str| nested.get(key).map(|v| v.trim().to_string()).filter(|v| !v.is_empty());
        let this = Self::of(kind, "aws.credentials", &|key| get(&format!("aws.credentials.{key}")))?;
        let Self::AssumeRole { role_arn, session, external_id, sts_endpoint, .. } = this else {
            return Ok(this);
        };
        let base_key = "aws.credentials.role.provider";
        let base = provider_name(base_key, options.get(base_key))?;
        if base == "ASSUME_ROLE" {
            return Err(Error::unsupported(
                format!("'{base_key}' = 'ASSUME_ROLE' (a role assumed by an assumed role)"),
                "Write the chain of roles as a profile in ~/.aws/config and use 'PROFILE'.",
            ));
        }
        let base = Box::new(Self::of(base, base_key, &get_nested)?);
        Ok(Self::AssumeRole { role_arn, session, external_id, sts_endpoint, base })
    }

    /// The provider `kind`, whose keys (`basic.accesskeyid`, …) `get` knows; `prefix` stands before them.
    fn of(kind: &str, prefix: &str, get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let need = |key: &str| {
            get(key).ok_or_else(|| {
                Error::user(format!("The credentials provider {kind} needs the option '{prefix}.{key}'."))
                    .with_hint(format!("Add '{prefix}.{key}' = '…' to WITH."))
            })
        };
        Ok(match kind {
            "BASIC" => Self::Basic {
                access_key_id: need("basic.accesskeyid")?,
                secret_key: need("basic.secretkey")?,
            },
            "ENV_VAR" => Self::EnvVar,
            "PROFILE" => Self::Profile { name: get("profile.name"), path: get("profile.path") },
            "WEB_IDENTITY_TOKEN" => {
                let file = get("webIdentityToken.file");
                let role_arn = if file.is_some() { Some(need("role.arn")?) } else { get("role.arn") };
                Self::WebIdentity { role_arn, session: get("role.sessionName"), file }
            }
            "ASSUME_ROLE" => Self::AssumeRole {
                role_arn: need("role.arn")?,
                session: get("role.sessionName"),
                external_id: get("role.externalId"),
                sts_endpoint: get("role.stsEndpoint").map(|e| endpoint_url(&e)).transpose()?,
                base: Box::new(Self::Auto),
            },
            _ => Self::Auto,
        })
    }

    /// The SDK's provider. `local`: the endpoint is on this machine, where any credentials do.
    async fn provider(&self, base: &SdkConfig, local: bool) -> SharedCredentialsProvider {
        let config = ProviderConfig::without_region()
            .with_region(base.region().cloned())
            .with_http_client(https_client());
        match self {
            Self::Auto if local => SharedCredentialsProvider::new(
                CredentialsProviderChain::first_try(
                    "Environment",
                    EnvironmentVariableCredentialsProvider::new(),
                )
                .or_else("WebIdentityToken", web_identity(&config))
                .or_else("Profile", ProfileFileCredentialsProvider::builder().configure(&config).build())
                .or_else("Loopback", Keys::new("local", "local", None, None, "loopback endpoint")),
            ),
            Self::Auto => SharedCredentialsProvider::new(
                DefaultCredentialsChain::builder().configure(config).build().await,
            ),
            Self::Basic { access_key_id, secret_key } => {
                SharedCredentialsProvider::new(Keys::new(access_key_id, secret_key, None, None, "BASIC"))
            }
            Self::EnvVar => SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()),
            Self::Profile { name, path } => {
                let mut builder = ProfileFileCredentialsProvider::builder().configure(&config);
                if let Some(name) = name {
                    builder = builder.profile_name(name);
                }
                if let Some(path) = path {
                    builder = builder.profile_files(credentials_file(path));
                }
                SharedCredentialsProvider::new(builder.build())
            }
            Self::WebIdentity { role_arn: Some(role_arn), session, file: Some(file) } => {
                SharedCredentialsProvider::new(
                    WebIdentityTokenCredentialsProvider::builder()
                        .configure(&config)
                        .static_configuration(StaticConfiguration {
                            web_identity_token_file: file.into(),
                            role_arn: role_arn.clone(),
                            session_name: session.clone().unwrap_or_else(|| DEFAULT_SESSION.to_string()),
                        })
                        .build(),
                )
            }
            Self::WebIdentity { .. } => SharedCredentialsProvider::new(web_identity(&config)),
            Self::AssumeRole { role_arn, session, external_id, sts_endpoint, base: inner } => {
                let mut sts = base.clone().into_builder();
                if let Some(endpoint) = sts_endpoint {
                    sts = sts.endpoint_url(endpoint);
                    if endpoint.starts_with("http://") {
                        sts = sts.http_client(plain_client());
                    }
                }
                let local = sts_endpoint.as_deref().is_some_and(is_loopback);
                let inner = Box::pin(inner.provider(base, local)).await;
                let mut builder = AssumeRoleProvider::builder(role_arn)
                    .configure(&sts.build())
                    .session_name(session.as_deref().unwrap_or(DEFAULT_SESSION));
                if let Some(id) = external_id {
                    builder = builder.external_id(id);
                }
                SharedCredentialsProvider::new(builder.build_from_provider(inner).await)
            }
        }
    }
}

// The types that replace these names are in a crate that we do not depend on.
#[allow(deprecated)]
fn credentials_file(path: &str) -> aws_config::profile::profile_file::ProfileFiles {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    ProfileFiles::builder().with_file(ProfileFileKind::Credentials, path).build()
}

fn web_identity(config: &ProviderConfig) -> WebIdentityTokenCredentialsProvider {
    WebIdentityTokenCredentialsProvider::builder().configure(config).build()
}

fn provider_name(key: &str, value: Option<&str>) -> Result<&'static str> {
    let Some(value) = value else { return Ok("AUTO") };
    match PROVIDERS.iter().find(|p| p.eq_ignore_ascii_case(value)) {
        Some(name @ (&"SYS_PROP" | &"CUSTOM")) => Err(Error::unsupported(
            format!("'{key}' = '{name}', which needs a Java process,"),
            "Use 'BASIC', 'ENV_VAR', 'PROFILE', 'ASSUME_ROLE', 'WEB_IDENTITY_TOKEN' or 'AUTO'.",
        )),
        Some(name) => Ok(name),
        None => Err(Error::user(format!("There is no credentials provider '{value}' ('{key}')."))
            .with_hint(format!("It is one of {}.", PROVIDERS[..6].join(", ")))),
    }
}

fn https_client() -> aws_sdk_kinesis::config::SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

/// For `http://` endpoints: reads no certificates.
fn plain_client() -> aws_sdk_kinesis::config::SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|v| v.trim().to_string()).filter(|v| !v.is_empty())
}

/// `text` as a URL: without spaces round it, with a scheme.
fn endpoint_url(text: &str) -> Result<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let rest = rest.trim_end_matches('/');
    if !["http", "https"].contains(&scheme) || host(rest).is_empty() || rest.contains([' ', '@']) {
        return Err(Error::user(format!("'{text}' is no endpoint."))
            .with_hint("An endpoint is a URL such as http://127.0.0.1:4568."));
    }
    Ok(format!("{scheme}://{rest}"))
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn is_loopback(url: &str) -> bool {
    let host = host(url);
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

/// `eu-west-1` of `https://kinesis.eu-west-1.amazonaws.com`.
fn region_of_endpoint(url: &str) -> Option<&str> {
    let host = host(url);
    host.contains(".amazonaws.com").then(|| host.split('.').find(|part| looks_like_region(part))).flatten()
}

fn looks_like_region(text: &str) -> bool {
    let parts = text.split('-').collect::<Vec<_>>();
    let lower = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase());
    parts.len() >= 3
        && parts[..parts.len() - 1].iter().all(lower)
        && parts
            .last()
            .is_some_and(|n| !n.is_empty() && n.len() <= 2 && n.bytes().all(|b| b.is_ascii_digit()))
}

fn check_region(region: &str) -> Result<()> {
    if looks_like_region(region) {
        return Ok(());
    }
    let hint = match nearest(region, REGIONS.iter().copied()) {
        Some(near) => format!("Did you mean '{near}'?"),
        None => {
            "A region looks like us-east-1; a service on this machine also needs 'aws.endpoint'.".to_string()
        }
    };
    Err(Error::user(format!("'{region}' is no AWS region ('aws.region').")).with_hint(hint))
}

const DEFAULT_SESSION: &str = "runnel";

/// Where and as whom a client speaks.
#[derive(Debug, Clone)]
pub struct Connection {
    /// For the SDK's clients.
    pub config: SdkConfig,
    region: String,
    endpoint: Option<String>,
    service: String,
    provider: &'static str,
}

/// What kind of trouble a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Too many or too large requests: wait and try again.
    Throttled,
    /// A server's or the network's bad moment: a retry may help.
    Transient,
    /// The shard iterator is too old.
    ExpiredIterator,
    /// The thing asked for does not exist.
    NotFound,
    /// A retry does not help.
    Permanent,
}

/// A failed request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind.
    pub trouble: Trouble,
    /// For the user.
    pub error: Error,
}

impl Connection {
    /// `region us-east-1, endpoint http://…`
    pub fn place(&self) -> String {
        let Self { region, service, .. } = self;
        match &self.endpoint {
            Some(endpoint) => format!("region {region}, endpoint {endpoint}"),
            None => {
                let end = if region.starts_with("cn-") { ".cn" } else { "" };
                format!("region {region}, endpoint https://{service}.{region}.amazonaws.com{end}")
            }
        }
    }

    /// The failure of `doing` (as in "while listing the shards of stream s"), in words that name the place and
    /// what to check.
    pub fn failure<E>(&self, doing: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let place = self.place();
        if let Some(cause) = credentials_cause(error) {
            let error = Error::user(format!("No usable AWS credentials while {doing} ({place}): {cause}."))
                .with_hint(format!(
                    "The provider is {} ('aws.credentials.provider'): check its keys, its role and the region.",
                    self.provider
                ));
            return Failure { trouble: Trouble::Permanent, error };
        }
        match error {
            SdkError::ServiceError(context) => {
                let code = context.err().code().unwrap_or("");
                let status = context.raw().status().as_u16();
                let said = context.err().message().map(shorten).filter(|m| !m.is_empty());
                let who = if code.is_empty() { format!("HTTP status {status}") } else { code.to_string() };
                let text = said.map_or_else(|| who.clone(), |said| format!("{who}: {said}"));
                self.service_failure(doing, code, status, &text)
            }
            other => {
                let cause = shorten(&root_cause(other));
                let mut trouble = Trouble::Transient;
                let told = match other {
                    SdkError::TimeoutError(_) => "no answer in time".to_string(),
                    SdkError::ResponseError(context) => {
                        let status = context.raw().status().as_u16();
                        if status < 500 {
                            trouble = Trouble::Permanent;
                        }
                        format!("an answer that is not one of AWS, HTTP status {status}")
                    }
                    _ => "no connection".to_string(),
                };
                let near = (!REGIONS.contains(&self.region.as_str()) && self.endpoint.is_none())
                    .then(|| nearest(&self.region, REGIONS.iter().copied()))
                    .flatten()
                    .map_or_else(String::new, |n| format!(" Did you mean region '{n}'?"));
                let error = Error::external(format!("While {doing} there was {told} ({place}): {cause}."))
                    .with_hint(format!(
                        "Check 'aws.region' and 'aws.endpoint' (or AWS_ENDPOINT_URL), and that the service is up and \
                         reachable from here.{near}"
                    ));
                Failure { trouble, error }
            }
        }
    }

    fn service_failure(&self, doing: &str, code: &str, status: u16, text: &str) -> Failure {
        let place = self.place();
        let message = format!("AWS refused while {doing} ({place}): {text}.");
        let (trouble, error) = match code {
            "ProvisionedThroughputExceededException" | "LimitExceededException" | "KMSThrottlingException"
            | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException"
            | "SlowDown" => (
                Trouble::Throttled,
                Error::external(message).with_hint(
                    "The stream's limits are reached: more shards, fewer readers, or a longer \
                     'scan.shard.getrecords.intervalmillis' help.",
                ),
            ),
            "ExpiredIteratorException" => (Trouble::ExpiredIterator, Error::external(message)),
            "ResourceNotFoundException" => (Trouble::NotFound, Error::user(message)),
            "ResourceInUseException" | "InternalFailure" | "InternalServerError" | "ServiceUnavailable" => {
                (Trouble::Transient, Error::external(message))
            }
            "AccessDeniedException" | "AccessDenied" => (
                Trouble::Permanent,
                Error::user(message).with_hint(
                    "Reading needs kinesis:ListShards, GetShardIterator, GetRecords and DescribeStreamSummary; writing \
                     needs kinesis:PutRecords; an encrypted stream also needs kms:Decrypt or kms:GenerateDataKey.",
                ),
            ),
            "UnrecognizedClientException" | "InvalidSignatureException" | "InvalidClientTokenId"
            | "SignatureDoesNotMatch" | "ExpiredTokenException" | "ExpiredToken" | "IncompleteSignature"
            | "IncompleteSignatureException" | "MissingAuthenticationToken" | "MissingAuthenticationTokenException"
            | "KMSAccessDeniedException" => (
                Trouble::Permanent,
                Error::user(message).with_hint(format!(
                    "The credentials come from the provider {} ('aws.credentials.provider'): check that they are those \
                     of this account, not expired, and that the region is right.",
                    self.provider
                )),
            ),
            _ if status == 429 => (Trouble::Throttled, Error::external(message)),
            _ if status >= 500 => (
                Trouble::Transient,
                Error::external(message).with_hint("The service has a bad moment, or the endpoint is not one of it."),
            ),
            _ if code.is_empty() => (
                Trouble::Permanent,
                Error::user(message).with_hint("Is the endpoint ('aws.endpoint') one of this service?"),
            ),
            _ => (Trouble::Permanent, Error::user(message)),
        };
        Failure { trouble, error }
    }
}

/// The words of a failed credentials provider somewhere under `error`.
fn credentials_cause(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(this) = next {
        if this.is::<CredentialsError>() {
            let mut text = this.to_string();
            let cause = root_cause(this);
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
            return Some(shorten(&text));
        }
        next = this.source();
    }
    None
}

/// The innermost cause, which says most.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut this = error;
    while let Some(source) = this.source() {
        this = source;
    }
    this.to_string()
}

fn shorten(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches('.');
    match text.char_indices().nth(MAX_CAUSE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::Options;

    fn read(pairs: &[(&str, &str)]) -> Result<AwsOptions> {
        let options = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Options>();
        let help = help();
        AwsOptions::read(&OptionReader::new("kinesis", &options, &help)?, None)
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let error = read(pairs).unwrap_err();
        format!("{error} {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn a_region_is_checked_unless_an_endpoint_makes_it_a_mere_name() {
        assert!(read(&[("aws.region", "eu-west-1")]).is_ok());
        assert!(read(&[("aws.region", "xx-future-9")]).is_ok(), "AWS adds regions");
        assert!(refusal(&[("aws.region", "us_east_1")]).contains("Did you mean 'us-east-1'?"));
        assert!(refusal(&[("aws.region", "<region>")]).contains("'<region>' is no AWS region"));
        assert!(read(&[("aws.region", "local"), ("aws.endpoint", "http://localhost:4567")]).is_ok());
    }

    #[test]
    fn the_region_of_an_endpoint_or_arn_is_used() {
        let options = read(&[("aws.endpoint", " https://kinesis.eu-west-1.amazonaws.com/ ")]).unwrap();
        assert_eq!(options.region.as_deref(), Some("eu-west-1"));
        assert_eq!(options.describe(), "region=eu-west-1, endpoint=https://kinesis.eu-west-1.amazonaws.com");
        let bare = read(&[("aws.endpoint", "127.0.0.1:4567")]).unwrap();
        assert_eq!(bare.endpoint.as_deref(), Some("https://127.0.0.1:4567"));
        assert!(refusal(&[("aws.endpoint", "http://")]).contains("is no endpoint"));
    }

    #[test]
    fn the_environment_tells_the_endpoint_where_the_table_does_not() {
        let of = |options: &AwsOptions, variables: &[(&str, &str)]| {
            let environment =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
            options.endpoint_for("KINESIS", &environment).unwrap()
        };
        let none = read(&[]).unwrap();
        let both = [("AWS_ENDPOINT_URL", "http://all:1"), ("AWS_ENDPOINT_URL_KINESIS", "http://mine:2/")];
        assert_eq!(of(&none, &both).as_deref(), Some("http://mine:2"));
        assert_eq!(of(&none, &both[..1]).as_deref(), Some("http://all:1"));
        assert_eq!(of(&none, &[]), None);
        let own = read(&[("aws.endpoint", "http://own:3")]).unwrap();
        assert_eq!(of(&own, &both).as_deref(), Some("http://own:3"));
    }

    #[test]
    fn providers_need_their_keys() {
        let of = |pairs: &[(&str, &str)]| read(pairs).unwrap().credentials.name();
        assert_eq!(of(&[]), "AUTO");
        let keys = [("aws.credentials.basic.accesskeyid", "a"), ("aws.credentials.basic.secretkey", "hush")];
        assert_eq!(of(&keys), "BASIC", "as in Flink, two keys are enough");
        assert_eq!(of(&keys[..1]), "AUTO");
        assert_eq!(of(&[("aws.credentials.provider", "env_var")]), "ENV_VAR");
        assert_eq!(of(&[("aws.credentials.provider", "PROFILE")]), "PROFILE");
        assert_eq!(of(&[("aws.credentials.provider", "WEB_IDENTITY_TOKEN")]), "WEB_IDENTITY_TOKEN");
        assert!(
            refusal(&[("aws.credentials.provider", "BASIC")]).contains("aws.credentials.basic.accesskeyid")
        );
        assert!(refusal(&[("aws.credentials.provider", "ASSUME_ROLE")]).contains("aws.credentials.role.arn"));
        for java in ["SYS_PROP", "CUSTOM"] {
            assert!(refusal(&[("aws.credentials.provider", java)]).contains("not supported"), "{java}");
        }
        assert!(refusal(&[("aws.credentials.provider", "BASE")]).contains("AUTO, BASIC"));
        let nested = [
            ("aws.credentials.provider", "ASSUME_ROLE"),
            ("aws.credentials.role.arn", "arn:aws:iam::1:role/r"),
            ("aws.credentials.role.provider", "BASIC"),
            ("aws.credentials.role.provider.basic.accesskeyid", "a"),
            ("aws.credentials.role.provider.basic.secretkey", "hush"),
        ];
        let options = read(&nested).unwrap();
        assert!(
            matches!(&options.credentials, Credentials::AssumeRole { base, .. } if base.name() == "BASIC")
        );
        assert!(!format!("{options:?}").contains("hush"));
        assert!(refusal(&nested[..4]).contains("aws.credentials.role.provider.basic.secretkey"));
    }

    #[test]
    fn all_certificates_are_trusted_only_where_there_are_none() {
        let trust = ("aws.trust.all.certificates", "true");
        assert!(read(&[trust, ("aws.endpoint", "http://localhost:1")]).is_ok());
        assert!(refusal(&[trust, ("aws.endpoint", "https://localhost:1")]).contains("SSL_CERT_FILE"));
    }
}
