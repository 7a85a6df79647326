//! URLs of objects.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::{fault, net};
use crate::error::{DataError, Result};

/// Kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    S3,
    Google,
    Azure,
    File,
}

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
                return Err(DataError::file(url, problem, "use s3://, gs://, az://, file:// or a path"));
            }
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        match (scheme, bucket) {
            (Scheme::File, "") => {}
            (Scheme::File, host) => {
                let problem = format!("names the machine '{host}'");
                return Err(DataError::file(url, problem, "write file:/// and the whole path"));
            }
            (_, "") => return Err(DataError::file(url, "names no bucket", "write s3://bucket/key")),
            _ => {}
        }
        let root = url[..url.len() - rest.len() + bucket.len()].to_owned();
        let store = net::store(&root, || scheme.open(bucket).map_err(|e| fault::explain(&root, scheme, e)))?;
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
            DataError::file(&self.name(key), format!("cannot be a key: {e}"), fix)
        })
    }
}

impl Scheme {
    fn open(self, bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
        Ok(match self {
            Scheme::S3 => Arc::new(AmazonS3Builder::from_env().with_bucket_name(bucket).build()?),
            Scheme::Google => {
                Arc::new(GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).build()?)
            }
            Scheme::Azure => Arc::new(MicrosoftAzureBuilder::from_env().with_container_name(bucket).build()?),
            Scheme::File => Arc::new(LocalFileSystem::new()),
        })
    }

    /// The settings that say who asks, and where.
    pub(super) fn settings(self) -> (&'static str, &'static str) {
        match self {
            Scheme::S3 => (
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
                "AWS_REGION and AWS_ENDPOINT_URL",
            ),
            Scheme::Google => ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BASE_URL"),
            Scheme::Azure => (
                "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ENDPOINT",
            ),
            Scheme::File => ("the rights of the files", "the path"),
        }
    }
}
