//! Kinds of stores, and the settings of each.

/// Kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    S3,
    Google,
    Azure,
    File,
}

impl Scheme {
    /// The setting that lets data come without encryption.
    pub(super) fn plain(self) -> &'static str {
        match self {
            Scheme::S3 => "AWS_ALLOW_HTTP",
            Scheme::Google => "GOOGLE_ALLOW_HTTP",
            Scheme::Azure => "AZURE_ALLOW_HTTP",
            Scheme::File => "the scheme",
        }
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
