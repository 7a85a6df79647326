//! URLs of objects.

use std::net::SocketAddrV6;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::scheme::Scheme;
use super::{fault, net};
use crate::error::{DataError, Result};

/// A place in a store.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// The URL before the key, without a slash at its end, as the user wrote it.
    pub(super) root: String,
    /// As it is in the URL, without the slash at its start.
    pub(super) key: String,
    pub(super) store: Arc<dyn ObjectStore>,
}

impl Place {
    pub(super) fn of(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let scheme = match scheme {
            "s3" | "s3a" => Scheme::S3,
            "gs" => Scheme::Google,
            "az" => Scheme::Azure,
            "file" => Scheme::File,
            _ => {
                let problem = format!("a URL that begins with {scheme}:// cannot be read");
                return Err(DataError::unfit(url, problem, "use s3://, gs://, az://, file:// or a path"));
            }
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        match (scheme, bucket) {
            (Scheme::File, "") => {}
            (Scheme::File, host) => {
                let problem = format!("names the machine '{host}'");
                return Err(DataError::unfit(url, problem, "write file:/// and the whole path"));
            }
            (_, "") => return Err(DataError::unfit(url, "names no bucket", "write s3://bucket/key")),
            // The client panics when a bucket's name breaks its URL.
            (_, name) if !name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_$".contains(c)) => {
                let fix = "write its letters, digits, '-', '_' and '.' alone";
                return Err(DataError::unfit(url, format!("no bucket can be named {name:?}"), fix));
            }
            _ => {}
        }
        let root = url[..url.len() - rest.len() + bucket.len()].to_owned();
        let store = net::store(&root, || scheme.open(&root, bucket))?;
        Ok(Self { scheme, root, key: key.to_owned(), store })
    }

    /// The URL of a key.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    /// A key as the stores take it: with nothing encoded in it.
    pub(super) fn path(&self, key: &str) -> Result<Path> {
        Path::parse(key).map_err(|e| {
            let fix = "write a key without empty parts, '.' and '..'";
            DataError::unfit(&self.name(key), format!("cannot be a key: {e}"), fix)
        })
    }
}

impl Scheme {
    fn open(self, root: &str, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let settings = |e| fault::settings(root, self, &e);
        Ok(match self {
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
                    self.check_endpoint(root, builder.get_config_value(&key))?;
                }
                use AmazonS3ConfigKey::{AccessKeyId, DefaultRegion, Region, SecretAccessKey, Token};
                for key in [AccessKeyId, DefaultRegion, Region, SecretAccessKey, Token] {
                    check_text(root, key.as_ref(), builder.get_config_value(&key))?;
                }
                Arc::new(builder.build().map_err(settings)?)
            }
            Scheme::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                self.check_endpoint(root, builder.get_config_value(&GoogleConfigKey::BaseUrl))?;
                Arc::new(builder.build().map_err(settings)?)
            }
            Scheme::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                self.check_endpoint(root, builder.get_config_value(&AzureConfigKey::Endpoint))?;
                Arc::new(builder.build().map_err(settings)?)
            }
            Scheme::File => Arc::new(LocalFileSystem::new()),
        })
    }

    /// The client panics when it signs a request to what is no URL.
    fn check_endpoint(self, root: &str, endpoint: Option<String>) -> Result<()> {
        let Some(endpoint) = endpoint else { return Ok(()) };
        let host = ["http://", "https://"].iter().find_map(|start| endpoint.strip_prefix(start));
        let host = host.map(|rest| rest.split('/').next().unwrap_or_default());
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let good = match host {
            Some(host) if host.ends_with(']') => format!("{host}:0").parse::<SocketAddrV6>().is_ok(),
            Some(host) if host.starts_with('[') => host.parse::<SocketAddrV6>().is_ok(),
            Some(host) => {
                let (host, number) = host.split_once(':').unwrap_or((host, "0"));
                !host.is_empty() && host.chars().all(name) && number.parse::<u16>().is_ok()
            }
            None => false,
        };
        if good {
            return Ok(());
        }
        let (_, setting) = self.settings();
        let problem = format!("the endpoint of its store, {endpoint:?}, is no URL");
        Err(DataError::unfit(
            root,
            problem,
            format!("write http://host:port or https://host; check {setting}"),
        ))
    }
}

/// The client panics when a setting that it puts into a URL or header cannot be there.
fn check_text(root: &str, name: &str, value: Option<String>) -> Result<()> {
    match value {
        Some(value) if !value.chars().all(|c| c.is_ascii_graphic()) => {
            let problem =
                format!("{} has a space, a line break or a letter beyond ASCII", name.to_uppercase());
            Err(DataError::unfit(root, problem, "set it without"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls() {
        let check = |endpoint: &str| Scheme::S3.check_endpoint("s3://b", Some(endpoint.into()));
        for good in [
            "http://localhost:9000",
            "https://s3.example.org",
            "http://10.0.0.1/x",
            "http://[::1]:9000/",
            "http://[::1]",
        ] {
            check(good).unwrap();
        }
        for bad in [
            "",
            "localhost:9000",
            "http://",
            "http:///x",
            "http://a b",
            "http://h:99999",
            "http://[::1",
            "ftp://h",
        ] {
            let error = check(bad).unwrap_err().to_string();
            let wanted = format!(
                "s3://b: the endpoint of its store, {bad:?}, is no URL; write http://host:port or https://host"
            );
            assert!(error.starts_with(&wanted), "{error}");
        }
    }
}
